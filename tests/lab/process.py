# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run commands of the host for the lab; what fails says what was run and what it printed."""

from __future__ import annotations

import logging
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger("lab")

Word = str | Path | int | float


class LabError(Exception):
    """Say that the lab itself, not the router under test, is in trouble."""


class CommandError(LabError):
    """Carry a command that failed, with everything it printed."""

    def __init__(self, argv: Sequence[str], returncode: int, stdout: str, stderr: str) -> None:
        """Keep the parts, and make one readable message of them."""
        self.argv, self.returncode, self.stdout, self.stderr = list(argv), returncode, stdout, stderr
        printed = "\n".join(part.strip() for part in (stdout, stderr) if part.strip())
        super().__init__(f"{shlex.join(argv)}: exit {returncode}\n{printed[-4000:]}")


def run(
    *command: Word, check: bool = True, timeout: float = 60, stdin: str | bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, text in and out; ``timeout`` is in seconds, and passing it is an error of the lab."""
    argv = [str(word) for word in command]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        raw = subprocess.run(argv, input=data or b"", capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shlex.join(argv)}: no end after {timeout} s") from error
    done = subprocess.CompletedProcess(
        argv, raw.returncode, raw.stdout.decode(errors="replace"), raw.stderr.decode(errors="replace")
    )
    log.debug("%s -> %s", shlex.join(argv), done.returncode)
    if check and done.returncode:
        raise CommandError(argv, done.returncode, done.stdout, done.stderr)
    return done


def wait_for(condition: Callable[[], bool], timeout: float, what: str) -> float:
    """Wait until something is so; return the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout:
            raise LabError(f"{what}: not within {timeout} s")
        # Most conditions start processes: to ask without a pause would take a core from what is waited for.
        time.sleep(0.1)
    return time.monotonic() - started
