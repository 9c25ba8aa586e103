# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let commands that converge take turns, and take the drops of those who wait together: one converge for all.

A command that waits with a drop says so in a file of its own. Whoever has the turn takes the drops of the others along,
and these find the records of theirs. A drop that is wrong is not taken along but refused in its own turn; a converge
that fails with several drops judges none of them, and each is converged alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from vrlib import command as vr
from vrlib import converge

WAITING = "/run/cloudstack/waiting"
MAX_WAITING = 200


class BusyError(vr.CommandError):
    """Report that somebody else has the turn for too long."""


@contextmanager
def turn(limit: float, done: Callable[[], bool] = lambda: False) -> Iterator[float]:
    """Wait for this command's turn, at most ``limit`` seconds; yield how many of them are left.

    The wait ends without the turn as soon as ``done`` says that there is nothing left to do. The turn only keeps a
    crowd of interpreters out of memory. That two converges do not meet is the store's work.
    """
    os.makedirs(vr.at("/run/cloudstack"), mode=0o700, exist_ok=True)
    end = time.monotonic() + limit
    with open(vr.at("/run/cloudstack/queue.lock"), "a", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if done():
                    break
                if time.monotonic() > end:
                    raise BusyError(f"another converge did not finish within {limit:.0f} s") from None
                time.sleep(0.05)
        yield max(end - time.monotonic(), 1.0)


def take(request: converge.Request, limit: float) -> dict[str, Any] | None:
    """Have a drop taken and return its result record; None if it was taken before, CommandError if it is refused."""
    before = converge.identity(request.name)

    def taken() -> bool:
        return converge.identity(request.name) not in (None, before)

    with _waiting(request), turn(limit, taken) as left:
        if taken():
            return converge.accepted(converge.read_record(request.name))
        if not vr.is_due(request.name):
            return None
        return _converge(request._replace(waiting=_others(request)), left)


def _converge(request: converge.Request, limit: float) -> dict[str, Any]:
    """Converge together with those that wait; alone if that fails."""
    end = time.monotonic() + limit
    try:
        return converge.converge(request, limit)
    except converge.UnjudgedError:
        _set_apart(request.waiting)
        return converge.converge(request._replace(waiting=()), max(end - time.monotonic(), 1.0))


@contextmanager
def _waiting(request: converge.Request) -> Iterator[None]:
    """Tell whoever has the turn of this drop; the lock says that somebody still waits for it."""
    os.makedirs(vr.at(WAITING), mode=0o700, exist_ok=True)
    path = vr.at(f"{WAITING}/{os.getpid()}")
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([request.name, request.keep]))
        file.flush()
        try:
            yield
        finally:
            _unlink(path)


def _others(request: converge.Request) -> tuple[str, ...]:
    """Return the drops that wait and are to be kept, or not, as this one; those that came first are first."""
    found = [name for _path, name, keep in _registered() if keep == request.keep and name != request.name]
    return tuple(dict.fromkeys(found))[:MAX_WAITING]


def _registered() -> Iterator[tuple[str, str, bool]]:
    """Yield file, drop and whether it is to be kept of all who wait; what a killed command left is removed."""
    for path in _in_order():
        with suppress(FileNotFoundError), open(path, encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # Empty while it is being written: whoever has only just come is for the next converge.
                if text := file.read():
                    name, keep = json.loads(text)
                    yield path, name, keep
            else:
                _unlink(path)


def _in_order() -> list[str]:
    """Return the files of those who wait, the oldest first."""
    found = []
    with os.scandir(vr.at(WAITING)) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.path))
    return [path for _changed, path in sorted(found)]


def _set_apart(names: Sequence[str]) -> None:
    """See to it that these drops are not taken along again."""
    for path, name, _keep in _registered():
        if name in names:
            _unlink(path)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
