# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let one transaction run at a time, whatever started it and however its owner ends."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.phases import Phases

WAIT = 540.0
"""Seconds that a transaction waits for its turn: less than the commands do, so that they hear the reason."""
HELD = 300.0
"""Seconds that a living process keeps the lock without renewing it: five times what one command of a step may take."""
IDLE = 60.0
"""Seconds that a run from a control node keeps the lock between two of its tasks, when it has no process here."""
BREAKER = "/opt/cloud/bin/vr-unlock"

_POLL = 0.05
# So many bytes, or a multiple of it: a lock that says a little more still fits where the old one was.
_ROOM = 4096
# Whoever holds the guard writes a few files; a minute is a very full disk queue.
_GUARD_WAIT = 60.0
# How long a lock may be half written, in seconds.
_OVERWRITE = 2.0
# proc(5): a process that is a zombie or dead holds nothing any more.
_GONE = frozenset("ZXx")


@dataclass(frozen=True)
class Agenda:
    """Say what a transaction takes in, and what it has still to do.

    ``drops``, ``waiting`` and ``aggregate`` are files of the inbox; ``keep`` says whether a copy of them is kept.
    It began at ``started``, in seconds since the epoch, and at ``begun``, in seconds of CLOCK_MONOTONIC, which no
    change of the time of day moves. ``services`` are those that differ; ``left`` are those of them that are not
    applied yet, and none on the way back. ``cuts`` are those, now, that cut what a transaction that was given up has
    let in. ``pending`` and ``warnings`` are for the record.
    """

    drops: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    aggregate: str | None = None
    keep: bool = True
    started: float = 0.0
    begun: float = 0.0
    services: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files of the inbox that end with the transaction."""
        return (*self.drops, *self.waiting, *filter(None, (self.aggregate,)))


@dataclass(frozen=True)
class Lock:
    """Say who runs the transaction.

    ``pid`` is the process that lives as long as the transaction, 0 when it is not on this machine: then ``task`` is the
    one that runs a task of it now, 0 between two tasks. ``started`` is the start time of either in clock ticks since
    boot (proc(5), stat, field 22): it tells the process from a later one of the same number. ``expires`` and ``idle``
    are in seconds of CLOCK_BOOTTIME, which no change of the time of day moves: how long a process that lives keeps the
    lock, and how long a run from elsewhere keeps it that has none. ``phases`` (seconds) and ``commands`` (processes
    started) are what the tasks have noted so far, for the record. What it is about goes with it from task to task.
    """

    id: str
    owner: str
    pid: int
    task: int
    started: int
    boot: str
    expires: float
    idle: float
    held: float
    phases: Phases = field(default_factory=Phases)
    commands: int = 0
    agenda: Agenda = field(default_factory=Agenda)

    @property
    def process(self) -> int:
        """Return the process that holds the lock, 0 when there is none at this moment."""
        return self.pid or self.task

    def __str__(self) -> str:
        return f"{self.owner} ({f'process {self.process}' if self.process else 'run from elsewhere'})"


class Locks:
    """Hand out the one lock, which outlives the processes that use it.

    It is a file. A second file, the guard, is locked by flock(2) for the moments in which the first is read or written.
    """

    def __init__(self, paths: Paths, disk: Disk, proc: Path = Path("/proc")) -> None:
        self._paths = paths
        self._disk = disk
        self._proc = proc

    def acquire(self, owner: str, pid: int, wait: float, held: float, agenda: Agenda) -> Lock:
        """Wait for the lock and take it; TransactionError after ``wait`` seconds.

        A lock is free whose owner was killed, that belongs to another boot, or that was not renewed in time. A process
        that still lives then is stuck, and is ended first: it must not go on beside its successor.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._guarded(max(deadline, time.monotonic() + _GUARD_WAIT)):
                found = self._read()
                if found is None or not self._alive(found):
                    if found is not None:
                        self._end_process(found)
                    return self._write(self._new(owner, pid, held, agenda))
            if time.monotonic() >= deadline:
                raise TransactionError(f"{found} has not ended within {wait:.0f} s; {BREAKER} ends it")
            time.sleep(_POLL)

    def revoke(self) -> Lock | None:
        """End whoever holds the lock, and take it from him; return what it was, None when nobody has it.

        His process is ended before the guard is taken, which he may have stopped with.
        """
        found = self._read_unguarded()
        if found is None:
            return None
        self._end_process(found)
        self.release(found.id)
        return found

    @contextmanager
    def held(self, lock_id: str) -> Iterator[Lock]:
        """Keep the lock ours while the block runs; TransactionError when it is another one's by now."""
        with self.undisturbed():
            lock = self._read()
            if lock is None or lock.id != lock_id:
                raise TransactionError(f"transaction {lock_id} is no longer ours: another one has the lock")
            yield lock

    def renew(self, lock: Lock) -> Lock:
        """Start the time to live again, held by this process if it is not by one of the owner; only inside ``held``.

        The old times stay where the disk takes no write: the way back begins with this.
        """
        return self._rewrite(self._by_this_process(lock))

    def pause(self, lock: Lock) -> Lock:
        """Say that this process ends before the next task of a run from elsewhere begins; only inside ``held``."""
        return lock if lock.pid else self._rewrite(replace(lock, task=0, started=0, idle=_now() + IDLE))

    def note(self, lock: Lock, phases: Mapping[str, float], commands: int) -> None:
        """Add to what the transaction has noted; only inside ``held``."""
        self._write(replace(lock, phases=lock.phases.plus(phases), commands=lock.commands + commands))

    def agree(self, lock: Lock, agenda: Agenda) -> None:
        """Change what the transaction is about; only inside ``held``."""
        self._write(replace(lock, agenda=agenda))

    def release(self, lock_id: str) -> None:
        """Give the lock back; one that is another one's by now is left to him."""
        with self.undisturbed():
            lock = self._read()
            if lock is not None and lock.id == lock_id:
                self._disk.remove(self._paths.lock)

    def undisturbed(self) -> AbstractContextManager[None]:
        """Hold the guard: nobody commits or takes the lock while the block runs."""
        return self._guarded(time.monotonic() + _GUARD_WAIT)

    @contextmanager
    def _guarded(self, deadline: float) -> Iterator[None]:
        """Hold the guard; a holder that was stopped cannot make us wait for ever."""
        self._disk.make_directory(self._paths.guard.parent, 0o755)
        descriptor = os.open(self._paths.guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_guard(descriptor):
                if time.monotonic() >= deadline:
                    raise TransactionError(f"{self._paths.guard} stays locked; {BREAKER} ends who has it")
                time.sleep(_POLL)
            yield
        finally:
            os.close(descriptor)

    def _new(self, owner: str, pid: int, held: float, agenda: Agenda) -> Lock:
        started = self._start_time(pid) if pid else 0
        if started is None:
            raise TransactionError(f"{owner}: there is no process {pid}")
        lock = Lock(os.urandom(16).hex(), owner, pid, 0, started, self._boot(), 0.0, 0.0, held, agenda=agenda)
        return self._by_this_process(lock)

    def _by_this_process(self, lock: Lock) -> Lock:
        now = _now()
        renewed = replace(lock, expires=now + lock.held, idle=now + IDLE)
        if lock.pid:
            return renewed
        return replace(renewed, task=os.getpid(), started=self._start_time(os.getpid()) or 0)

    def _read(self) -> Lock | None:
        try:
            return _parse(self._disk.read(self._paths.lock))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            # Nobody's, or cut short by a power cut or by a kill while it was written over the old one on a full disk.
            return None

    def _read_unguarded(self) -> Lock | None:
        """Read the lock without the guard, whose holder may be writing it over the old one at this moment."""
        deadline = time.monotonic() + _OVERWRITE
        while (found := self._read()) is None and self._disk.exists(self._paths.lock):
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL)
        return found

    def _write(self, lock: Lock) -> Lock:
        """Write the lock, on a full disk over the old one: what is struck off it must be gone on the way back."""
        data = json.dumps(asdict(lock)).encode()
        data += b" " * (-len(data) % _ROOM)
        try:
            # Not durable: a lock means nothing after a power cut.
            self._disk.replace(self._paths.lock, data, durable=False)
        except OSError:
            size = self._disk.size(self._paths.lock)
            if size < len(data):
                raise
            self._disk.overwrite(self._paths.lock, data.ljust(size))
        return lock

    def _rewrite(self, lock: Lock) -> Lock:
        with suppress(OSError):
            self._write(lock)
        return lock

    def _alive(self, lock: Lock) -> bool:
        if lock.boot != self._boot():
            return False
        if self._runs(lock):
            return _now() < lock.expires
        return lock.pid == 0 and _now() < lock.idle

    def _runs(self, lock: Lock) -> bool:
        return lock.process != 0 and self._start_time(lock.process) == lock.started

    def _end_process(self, lock: Lock) -> None:
        """Kill the process that holds a lock, and wait until it is gone; never this one, nor what started it."""
        if lock.boot != self._boot() or lock.process in (0, os.getpid(), os.getppid()):
            return
        try:
            handle = os.pidfd_open(lock.process)
        except ProcessLookupError:
            return
        try:
            # Looked at only now: the handle is of this process, whoever has its number later.
            if self._runs(lock):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], _GUARD_WAIT)
        finally:
            os.close(handle)

    def _boot(self) -> str:
        return (self._proc / "sys/kernel/random/boot_id").read_text().strip()

    def _start_time(self, pid: int) -> int | None:
        try:
            line = (self._proc / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field is the command in parentheses and may hold blanks and parentheses itself.
        fields = line.rpartition(")")[2].split()
        return None if fields[0] in _GONE else int(fields[19])


def _parse(data: bytes) -> Lock:
    """Return the lock in a file. What only another release notes in it is ignored: it is a lock as well."""
    stored = _known(Lock, json.loads(data))
    noted = _known(Agenda, stored["agenda"])
    agenda: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in noted.items()}
    return Lock(**{**stored, "phases": Phases(stored["phases"]), "agenda": Agenda(**agenda)})


def _known(kind: type[Lock] | type[Agenda], noted: dict[str, Any]) -> dict[str, Any]:
    known = {one.name for one in fields(kind)}
    return {name: value for name, value in noted.items() if name in known}


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _try_guard(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
