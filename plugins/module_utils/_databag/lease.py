# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let one transaction run at a time, whatever started it and however its owner ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._phases import Phases

_POLL = 0.05
# Whoever holds the lock writes a few files; a minute is a very full disk queue.
_LOCK_WAIT = 60.0
# proc(5): a process that is a zombie or dead holds nothing any more.
_GONE = frozenset("ZXx")


@dataclass(frozen=True)
class Agenda:
    """Say what a transaction takes in, and what it has still to do.

    ``drops``, ``along`` and ``aggregate`` are files of the inbox; ``keep`` says whether a copy of them is kept.
    It began at ``started``, in seconds since the epoch, and at ``begun``, in seconds of CLOCK_MONOTONIC, which no
    change of the time of day moves. ``services`` are those that differ; ``left`` are those of them that are not
    applied yet, and none on the way back. ``pending`` and ``warnings`` are for the record.
    """

    drops: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    aggregate: str | None = None
    keep: bool = True
    started: float = 0.0
    begun: float = 0.0
    services: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files of the inbox that end with the transaction."""
        return (*self.drops, *self.along, *filter(None, (self.aggregate,)))


@dataclass(frozen=True)
class Lease:
    """Say who runs the transaction.

    ``started`` is the start time of the process in clock ticks since boot (proc(5), stat, field 22): it tells
    the owner from a later process of the same number. ``expires`` is in seconds of CLOCK_BOOTTIME, which no
    change of the time of day moves. With ``pid`` 0 (a module run over ssh, whose process ends with each task)
    the expiry alone tells that the owner is gone. ``phases`` (seconds) and ``commands`` (processes started) are what
    the tasks of the transaction have noted so far, for its record. What it is about goes with it from task to task.
    """

    id: str
    owner: str
    pid: int
    started: int
    boot: str
    expires: float
    ttl: float
    phases: Phases = field(default_factory=Phases)
    commands: int = 0
    agenda: Agenda = field(default_factory=Agenda)


class Leases:
    """Hand out the one lease, which outlives the processes that use it: a lock is held for moments only."""

    def __init__(self, paths: Paths, disk: Disk, proc: Path = Path("/proc")) -> None:
        self._paths = paths
        self._disk = disk
        self._proc = proc

    def acquire(self, owner: str, pid: int, wait: float, ttl: float, agenda: Agenda) -> Lease:
        """Wait for the lease and take it; TransactionError after ``wait`` seconds.

        A lease whose owner was killed, belongs to another boot, or has not renewed in time, is taken over.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._locked(max(deadline, time.monotonic() + _LOCK_WAIT)):
                held = self._read()
                if held is None or not self._alive(held):
                    return self._write(self._new(owner, pid, ttl, agenda))
            if time.monotonic() >= deadline:
                raise TransactionError(f"{held.owner} (process {held.pid}) has not ended within {wait:.0f} s")
            time.sleep(_POLL)

    @contextmanager
    def held(self, lease_id: str) -> Iterator[Lease]:
        """Keep others from taking over while the block runs; TransactionError when one has done so."""
        with self.undisturbed():
            lease = self._read()
            if lease is None or lease.id != lease_id:
                raise TransactionError(f"transaction {lease_id} is no longer ours: another one has taken over")
            yield lease

    def renew(self, lease: Lease) -> Lease:
        """Start the time to live again; only inside ``held``."""
        return self._write(replace(lease, expires=_now() + lease.ttl))

    def note(self, lease: Lease, phases: Mapping[str, float], commands: int) -> None:
        """Add to what the transaction has noted; only inside ``held``."""
        self._write(replace(lease, phases=lease.phases.plus(phases), commands=lease.commands + commands))

    def agree(self, lease: Lease, agenda: Agenda) -> None:
        """Change what the transaction is about; only inside ``held``."""
        self._write(replace(lease, agenda=agenda))

    def release(self, lease_id: str) -> None:
        """Give the lease back; one that was taken over is left to its new owner."""
        with self.undisturbed():
            lease = self._read()
            if lease is not None and lease.id == lease_id:
                self._disk.remove(self._paths.lease)

    def undisturbed(self) -> AbstractContextManager[None]:
        """Hold the lock: nobody commits or takes over while the block runs."""
        return self._locked(time.monotonic() + _LOCK_WAIT)

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Hold the lock; a holder that was stopped cannot make us wait for ever."""
        self._disk.make_directory(self._paths.lock.parent, 0o755)
        descriptor = os.open(self._paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise TransactionError(f"{self._paths.lock} stays locked")
                time.sleep(_POLL)
            yield
        finally:
            os.close(descriptor)

    def _new(self, owner: str, pid: int, ttl: float, agenda: Agenda) -> Lease:
        started = self._start_time(pid) if pid else 0
        if started is None:
            raise TransactionError(f"{owner}: there is no process {pid}")
        return Lease(os.urandom(16).hex(), owner, pid, started, self._boot(), _now() + ttl, ttl, agenda=agenda)

    def _read(self) -> Lease | None:
        try:
            return _parse(self._disk.read(self._paths.lease))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            # Written whole or not at all, so this is no lease of ours: it guards nothing.
            return None

    def _write(self, lease: Lease) -> Lease:
        # Not durable: a lease means nothing after a power cut.
        self._disk.replace(self._paths.lease, json.dumps(asdict(lease)).encode(), durable=False)
        return lease

    def _alive(self, lease: Lease) -> bool:
        if lease.boot != self._boot() or _now() >= lease.expires:
            return False
        return lease.pid == 0 or self._start_time(lease.pid) == lease.started

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


def _parse(data: bytes) -> Lease:
    stored: dict[str, Any] = json.loads(data)
    agenda: dict[str, Any] = stored["agenda"]
    lists = {name: tuple(value) for name, value in agenda.items() if isinstance(value, list)}
    return Lease(**{**stored, "phases": Phases(stored["phases"]), "agenda": Agenda(**{**agenda, **lists})})


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
