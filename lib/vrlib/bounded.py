# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a program of the system within bounds: no shell, no input, a time limit that ends all of it, capped output."""

from __future__ import annotations

import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from vrlib import command as vr

NOT_FOUND = 127
STOPPED = 124
CUT = b"\n[cut]"
GRACE = 1.0
"""Seconds that a program has to print its summary, once it was interrupted."""


class Outcome(NamedTuple):
    """What a program printed, as far as it was kept, and its status: 124 if stopped, 127 if it could not be started."""

    stdout: bytes
    stderr: bytes
    status: int


def is_operators(path: str) -> bool:
    """Tell whether a file is a program that root alone may write, in a folder of which the same is true."""
    for place in (path, os.path.dirname(path)):
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            return False
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or stat.S_ISLNK(status.st_mode):
            return False
    return os.path.isfile(path) and os.access(path, os.X_OK)


def run(argv: Sequence[str], *, limit: float, most: int) -> Outcome:
    """Run a program at most ``limit`` seconds; of either output the first ``most`` bytes are kept.

    It is in a process group of its own, which gets SIGINT when its time is over, so that ping(8) says what it has so
    far, and SIGKILL a second later.
    """
    try:
        process = subprocess.Popen(
            argv,
            env={"PATH": vr.PATH, "LC_ALL": "C", "HOME": vr.at("/root")},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return Outcome(b"", f"{argv[0]}: {error.strerror}".encode(), NOT_FOUND)
    with process:
        try:
            kept, in_time = _read(process, time.monotonic() + limit, most)
            _end(process.pid)
            status = process.wait()
        except BaseException:
            _end(process.pid)
            raise
    if not in_time:
        return Outcome(kept[0], kept[1] + f"\nstopped after {limit:.0f} s".encode(), STOPPED)
    return Outcome(kept[0], kept[1], status if status >= 0 else 128 - status)


def _read(process: subprocess.Popen[bytes], end: float, most: int) -> tuple[list[bytes], bool]:
    """Read both outputs until they are closed; tell whether that was before the end of the time."""
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    kept, in_time = [bytearray(), bytearray()], True
    with selectors.DefaultSelector() as selector:
        for number, pipe in enumerate(pipes):
            selector.register(pipe, selectors.EVENT_READ, number)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                if not in_time:
                    break
                in_time, end = False, time.monotonic() + GRACE
                os.killpg(process.pid, signal.SIGINT)
                continue
            for key, _events in selector.select(left):
                if not _keep(key.fileobj, kept[key.data], most):
                    selector.unregister(key.fileobj)
        # Closed outputs are no end: a program may go on in silence.
        while in_time and process.poll() is None:
            if time.monotonic() > end:
                in_time = False
            time.sleep(0.01)
    return [bytes(part) for part in kept], in_time


def _keep(pipe: Any, kept: bytearray, most: int) -> bool:
    """Read what there is; tell whether more may come."""
    data = os.read(pipe.fileno(), 65536)
    if len(kept) <= most:
        kept += data
        if len(kept) > most:
            kept[most:] = CUT
    return bool(data)


def _end(group: int) -> None:
    """Kill what is left of the process group, children that let go of their parent among them."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
