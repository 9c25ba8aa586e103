# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run commands: the one way to the system for everything that is not a file."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class CommandError(Exception):
    """A command failed; the text has the command as an operator would type it and what it said."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        self.argv, self.returncode, self.output = tuple(argv), returncode, output.strip()
        said = " ".join(self.output.split()) or "no output"
        super().__init__(f"{' '.join(argv)}: exit status {returncode}: {said[:600]}")


@dataclass(slots=True)
class Runner:
    """Run commands and keep a log of them; `log` receives one line per command. What is fed to stdin is not logged."""

    log: Callable[[str], None] = lambda _line: None
    timeout: float = 60.0
    count: int = field(default=0, init=False)

    def __call__(self, argv: Sequence[str], stdin: str | None = None, check: bool = True) -> str:
        """Return the output of a command.

        Raises CommandError when it fails and `check` is set, or does not end within the time limit (seconds).
        """
        self.count += 1
        started = time.monotonic()
        try:
            done = subprocess.run(
                list(argv), input=stdin, text=True, capture_output=True, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(argv, -1, f"no answer within {self.timeout:.0f} s") from error
        except FileNotFoundError as error:
            raise CommandError(argv, 127, "no such command") from error
        self.log(f"{' '.join(argv)} ({(time.monotonic() - started) * 1000:.0f} ms, exit status {done.returncode})")
        if check and done.returncode != 0:
            raise CommandError(argv, done.returncode, done.stderr or done.stdout)
        return done.stdout
