# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a health check is: a function from a run to a status and a message."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from vrlib import bounded

LIMIT = 15.0
"""Seconds of a run: after them no check begins, and what a check starts ends before."""
Verdict = tuple[str, str]


@dataclass
class Run:
    """One run: what is expected, what the last run remembered, and what this one does."""

    kind: str
    expected: dict[str, Any]
    memory: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _states: dict[str, dict[str, str]] | None = None

    def tool(self, *argv: str, limit: float = 5.0) -> bounded.Outcome:
        """Run a program of the system within a bound."""
        return bounded.run(argv, limit=self.within(limit), most=8 * 1024 * 1024)

    def states(self) -> dict[str, dict[str, str]]:
        """Return ActiveState and NRestarts of the units that should run, asked once in a run; of all that are told."""
        if self._states is None:
            units = list(dict.fromkeys(unit for units in self.expected["units"].values() for unit in units))
            names = [f"{unit}.service" for unit in units]
            done = self.tool("systemctl", "show", "--property=ActiveState,NRestarts", *names) if names else None
            blocks = done.stdout.decode(errors="replace").split("\n\n") if done else []
            pairs = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
            # Told in the order of the question: what follows one that is cut short is told by none.
            whole = takewhile(lambda pair: {"ActiveState", "NRestarts"} <= set(pair), pairs)
            self._states = dict(zip(units, whole, strict=False))
        return self._states

    def within(self, limit: float) -> float:
        """Return the seconds that a program may take, so that it has ended when the run's time is over."""
        return max(0.1, min(limit, LIMIT - bounded.GRACE - (time.monotonic() - self.began)))

    def twice(self, name: str, verdict: Verdict) -> Verdict:
        """Turn FAILED into WARNING unless it was so in the last run, too: a moment is no failure."""
        known = self.memory.get(f"bad {name}", 0)
        self.memory[f"bad {name}"] = known + 1 if verdict[0] == "FAILED" else 0
        return ("WARNING", verdict[1]) if verdict[0] == "FAILED" and not known else verdict


Check = Callable[[Run], Verdict]
