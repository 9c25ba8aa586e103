# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a change into a copy of the project, run the tests that are about it, and take it out again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.places import Mutant

TIMEOUT = 150
"""Seconds that a round of tests may take: far longer, and the change made something loop or wait."""
_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2


@dataclass(frozen=True)
class Verdict:
    """What became of a change: `killed`, `hung` or `survived`, and what the tests said or why they could not."""

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
        """Return what the tests make of a change."""
        target, begun = self.tree / mutant.place.file, time.monotonic()
        original, times = target.read_bytes(), target.stat()
        try:
            target.write_text(mutant.text, encoding="utf-8")
            # Bytecode is known by its second and the size of the source, which many a change leaves alone.
            self._tried += 1
            os.utime(target, (times.st_atime, times.st_mtime + 10 * self._tried))
            for tests in rounds:
                status, said = self._pytest(tests)
                if status is None:
                    return Verdict(mutant, "hung", time.monotonic() - begun)
                if status in (_FAILED, _INTERRUPTED):
                    return Verdict(mutant, "killed", time.monotonic() - begun, _reason(said))
                if status != _PASSED:
                    raise RuntimeError(f"pytest ended with {status} for {mutant.place}:\n{said}")
        finally:
            target.write_bytes(original)
            os.utime(target, (times.st_atime, times.st_mtime))
        said = "" if rounds else "no test runs this line"
        return Verdict(mutant, "survived", time.monotonic() - begun, said)

    def _pytest(self, tests: list[str]) -> tuple[int | None, str]:
        words = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=no"]
        words += [f"--basetemp={self.tree.parents[2] / 'tmp'}", *tests]
        process = subprocess.Popen(
            words, cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            said, _nothing = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            # The tests' own children are of the same session.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, ""
        return process.returncode, said


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0].partition(" ")[2] if lines else ""
