# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run commands: the one way to the system for everything that is not a file."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO


class CommandError(Exception):
    """A command failed; the text has the command as an operator would type it and what it said."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        self.argv, self.returncode, self.output = tuple(argv), returncode, output.strip()
        said = " ".join(self.output.split()) or "no output"
        super().__init__(f"{' '.join(argv)}: exit status {returncode}: {said[:600]}")


def conceal(text: str, hidden: Iterable[str]) -> str:
    """Return a text without the words that no message may repeat; the longest first, one may be a part of another."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that runs, and the files that it writes to."""

    process: subprocess.Popen[bytes]
    output: BinaryIO
    errors: BinaryIO


@dataclass(slots=True)
class Runner:
    """Run commands and keep a log of them; `log` receives one line per command. What is fed to stdin is not logged."""

    log: Callable[[str], None] = lambda _line: None
    timeout: float = 60.0
    count: int = field(default=0, init=False)
    _ahead: dict[tuple[tuple[str, ...], str | None], _Command] = field(default_factory=dict, init=False)

    def __call__(self, argv: Sequence[str], stdin: str | None = None, check: bool = True) -> str:
        """Return the output of a command.

        Raises CommandError when it fails and `check` is set, or does not end within the time limit (seconds).
        """
        asked = time.monotonic()
        command = self._ahead.pop((tuple(argv), stdin), None) or self._start(argv, stdin)
        with command.output, command.errors, command.process as process:
            if not ends(process, self.timeout):
                process.kill()
                raise CommandError(argv, -1, f"no answer within {self.timeout:.0f} s")
            status = process.wait()
            said, complaint = _content(command.output), _content(command.errors)
        self.log(f"{' '.join(argv)} ({(time.monotonic() - asked) * 1000:.0f} ms, exit status {status})")
        if check and status != 0:
            raise CommandError(argv, status, complaint or said)
        return said

    def ahead(self, argv: Sequence[str], stdin: str | None = None) -> None:
        """Start a command that only reads: the next call with the same words waits for this one and has its output.

        What is logged then is how long it was waited for.
        """
        self._ahead[tuple(argv), stdin] = self._start(argv, stdin)

    def forget(self) -> None:
        """End what was started ahead and is not wanted any more: it is older than what was changed since."""
        for (argv, _stdin), command in self._ahead.items():
            with command.output, command.errors, command.process as process:
                process.kill()
            self.log(f"{' '.join(argv)} (started ahead, not needed)")
        self._ahead.clear()

    def _start(self, argv: Sequence[str], stdin: str | None) -> _Command:
        """Start a command; what it writes goes to files, because nft writes a list to a pipe word by word."""
        self.count += 1
        output, errors = _memory("stdout"), _memory("stderr")
        with _memory("stdin", stdin or "") as given:
            try:
                process = subprocess.Popen(list(argv), stdin=given, stdout=output, stderr=errors)
            except FileNotFoundError as error:
                raise CommandError(argv, 127, "no such command") from error
        return _Command(process, output, errors)


def ends(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Tell whether a process ends within seconds; Popen.wait with a limit looks every 50 ms only, too late for 5 ms."""
    handle = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(limit * 1000))
    finally:
        os.close(handle)


def _memory(name: str, content: str = "") -> BinaryIO:
    """Return a file that is in memory only: what goes in and out may be a secret."""
    file = os.fdopen(os.memfd_create(name), "w+b")
    file.write(content.encode())
    file.seek(0)
    return file


def _content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
