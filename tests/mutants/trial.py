# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a change into a copy of the project, run the tests that are about it, and take it out again."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import hypothesis  # noqa: F401 - loaded before the fork, so that no trial need load it
import jinja2  # noqa: F401
import pytest

from tests.mutants.places import Mutant

TIMEOUT = 400
"""Seconds that a round of tests may take: far longer, and the change made something loop or wait."""
_PASSED, _NOTICED = 0, (1, 2)
_LOG = "mutant.log"


@dataclass(frozen=True)
class Verdict:
    """What became of a change: `killed`, `hung` or `survived`, and which test said so."""

    mutant: Mutant
    outcome: str
    seconds: float
    said: str = ""


class Bench:
    """A copy of the project that changes are tried in, one after the other."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._tried = 0

    def tried(self, mutant: Mutant, rounds: list[list[str]]) -> Verdict:
        """Return what the tests make of a change.

        A test of a later round that notices one is asked again without it: on a busy machine it may fail by itself.
        """
        begun = time.monotonic()
        outcome, said = self._changed(mutant, rounds)
        late = outcome == "killed" and said and said.partition("::")[0] not in rounds[0]
        if late and self._pytest([said]) in _NOTICED:
            outcome, said = "survived", f"{said} fails without the change, too"
        if outcome == "killed" and not said and (status := self._pytest(rounds[0])) != _PASSED:
            raise RuntimeError(f"pytest ended with {status} without {mutant.place}, too: see {self.tree / _LOG}")
        return Verdict(mutant, outcome, time.monotonic() - begun, said)

    def _changed(self, mutant: Mutant, rounds: list[list[str]]) -> tuple[str, str]:
        """Run the tests with the change in place; return the outcome, and which test noticed it."""
        target = self.tree / mutant.place.file
        original, times = target.read_bytes(), target.stat()
        try:
            target.write_text(mutant.text, encoding="utf-8")
            # Bytecode is known by its second and the size of the source, which many a change leaves alone.
            self._tried += 1
            os.utime(target, (times.st_atime, times.st_mtime + 10 * self._tried))
            for tests in rounds:
                status = self._pytest(tests)
                if status is None:
                    return "hung", ""
                if status in _NOTICED:
                    return "killed", self._reason()
                # What a conftest.py cannot import is a usage error to pytest: no test has a name by then.
                if status != _PASSED:
                    return "killed", ""
        finally:
            target.write_bytes(original)
            os.utime(target, (times.st_atime, times.st_mtime))
        return "survived", ""

    def _pytest(self, tests: list[str]) -> int | None:
        """Run tests in a fork of this process; return pytest's exit status, None when it had to be killed."""
        child = os.fork()
        if not child:
            os._exit(self._run(tests))
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else _NOTICED[0]
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def _run(self, tests: list[str]) -> int:
        """Be the child: a session of its own, the copy as its world, and none of the checkout's own modules."""
        os.setsid()
        os.chdir(self.tree)
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.path[:] = [str(self.tree), *(path for path in sys.path if path not in ("", os.environ["CHECKOUT"]))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "ansible_collections")]:
            del sys.modules[name]
        words = ["-q", "-x", "--no-header", "--tb=short", f"--basetemp={self.tree.parents[2] / 'tmp'}"]
        return int(pytest.main([*words, *tests]))

    def _reason(self) -> str:
        lines = (self.tree / _LOG).read_text(errors="replace").splitlines()
        found = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        return found[0].split(" - ")[0].partition(" ")[2] if found else ""
