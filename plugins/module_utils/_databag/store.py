# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep databags, drops and results on disk.

All I/O of this package is in six modules: this one puts together disk.py (single steps), journal.py (the
commit), lock.py (one transaction at a time), archive.py (drops and results) and this_boot.py (which boot it is).
Everything else is pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.archive import Archive
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import PRIVATE_FILE, Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    TransactionError,
    hidden,
    one_line,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.journal import Journal
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.lock import (
    HELD,
    WAIT,
    Agenda,
    Lock,
    Locks,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS, Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Limits, Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    ABSENT,
    MismatchError,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.start import Boot
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.text import dump_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.this_boot import identify

__all__ = ["Agenda", "Limits", "Lock", "Paths", "Store"]

_RESERVE = 1024 * 1024
"""Bytes; the files of a router with 10,000 rules are about as large, and each that is put back frees another."""


class Store:
    """Load databags, change them in a transaction, and look after drops and results.

    Reading needs no transaction. Changing goes ``begin``, ``stage``, then ``commit`` or ``discard``, then
    ``end``; later processes of the same transaction ``resume`` it by the id of its lock. DatabagError: a
    stored databag is damaged; TransactionError: the transaction is not (or no longer) ours; OSError: the disk
    is full or broken, and the old databags are still there.
    """

    def __init__(self, paths: Paths | None = None, limits: Limits | None = None, disk: Disk | None = None) -> None:
        self.paths = paths or Paths()
        self._disk = disk or Disk()
        self._journal = Journal(self.paths, self._disk)
        self._locks = Locks(self.paths, self._disk)
        self._archive = Archive(self.paths, self._disk, limits or Limits())
        self._lock_id: str | None = None
        self._loaded: dict[str, Bag] = {}

    def load(self, *, checked: bool = False) -> dict[str, Bag]:
        """Return the committed databags that exist, in clean shape. They must not be changed in place.

        With ``checked`` the caller knows that this transaction has loaded and staged: then what is not staged is our
        own and clean, and is taken as it is. What is staged may replace something unclean.
        """
        with self._locks.undisturbed():
            trusted = frozenset(BAGS) - set(self._journal.staged()) if checked else frozenset[str]()
            return self._load(self._journal.committing(), trusted)

    def load_staged(self, committed: Mapping[str, Bag] | None = None, *, checked: bool = False) -> dict[str, Bag]:
        """Return the databags as a commit would leave them; what `load` just returned need not be read again."""
        trusted = frozenset(BAGS) if checked else frozenset[str]()
        with self._locks.undisturbed():
            staged = [*self._journal.committing(), *self._journal.staged()]
            if committed is None:
                return self._load(staged, trusted)
            found = {name: self._load_one(name, staged=True, trusted=checked) for name in staged}
            return {**committed, **{name: bag for name, bag in found.items() if bag is not None}}

    def begin(
        self, owner: str, agenda: Agenda | None = None, *, pid: int = 0, wait: float = WAIT, held: float = HELD
    ) -> Lock:
        """Wait for our turn, take the lock, and finish or undo what a killed owner left.

        ``pid`` is the process that lives as long as the transaction: ansible-playbook, not the worker it
        forks for a task. Without one this process holds the lock, and IDLE seconds after it nobody. No process
        holds it longer than ``held`` seconds after the last ``resume``.
        """
        lock = self._locks.acquire(owner, pid, wait, held, agenda or Agenda())
        self._lock_id = lock.id
        try:
            self.recover()
            self._reserve()
        except Exception:
            # Whoever asks next must hear the reason, and not wait for us first.
            self.end()
            raise
        return lock

    def _reserve(self) -> None:
        """Keep room on the disk for the way back; on a disk that has none the converge is tried all the same."""
        if self._disk.size(self.paths.reserve) < _RESERVE:
            with suppress(OSError):
                self._disk.write(self.paths.reserve, bytes(_RESERVE), durable=False)

    def make_room(self) -> None:
        """Give the room free that was kept for the way back; the next ``begin`` keeps some again."""
        with suppress(OSError):
            self._disk.remove(self.paths.reserve)

    def resume(self, lock_id: str) -> Lock:
        """Go on with a transaction that another process began, and renew its lock."""
        self._lock_id = lock_id
        with self._ours() as lock:
            return self._locks.renew(lock)

    def pause(self) -> None:
        """Leave the transaction to its next task, which runs in a process that is not there yet."""
        if self._lock_id is not None:
            with self._ours() as lock:
                self._locks.pause(lock)

    def revoke(self) -> Lock | None:
        """End the converge that holds the router; return its lock, None when there is none.

        What it left is finished or undone by the next ``begin``, and put right by the converge that follows.
        """
        return self._locks.revoke()

    def note(self, phases: Mapping[str, float], commands: int) -> None:
        """Add to what the transaction has spent, in seconds by phase and in processes."""
        with self._ours() as lock:
            self._locks.note(lock, phases, commands)

    def agree(self, agenda: Agenda) -> None:
        """Change what the transaction is about."""
        with self._ours() as lock:
            self._locks.agree(lock, agenda)

    def applied(self, service: str) -> bool:
        """Strike a service off what is left; tell whether it was the last."""
        with self._ours() as lock:
            left = tuple(name for name in lock.agenda.left if name != service)
            self._locks.agree(lock, replace(lock.agenda, left=left))
            return not left and service in lock.agenda.left

    def lock(self) -> Lock:
        """Return the lock, with what was noted in it and what the transaction is about."""
        with self._ours() as lock:
            return lock

    def end(self) -> None:
        """Give the lock back. What is staged and not committed will be thrown away by the next owner."""
        if self._lock_id is not None:
            self._locks.release(self._lock_id)
            self._lock_id = None

    def recover(self) -> list[str]:
        """Finish a commit that was cut short, or discard what was staged; ``begin`` has done it."""
        with self._ours():
            return self._journal.recover()

    def stage(self, bags: Mapping[str, Bag]) -> list[str]:
        """Write the databags that differ from the committed ones beside them, and return their names."""
        with self._ours():
            contents = self._changed(bags)
            self._journal.stage(contents)
            return list(contents)

    def commit(self) -> list[str]:
        """Make the staged databags the committed ones, all or none, and return their names."""
        with self._ours():
            self._loaded = {}
            names = self._journal.commit()
            self._journal.forget_undone()
            return names

    def discard(self) -> None:
        """Throw away what is staged."""
        with self._ours():
            self._journal.discard()

    def set_aside(self) -> OSError | None:
        """Give up what is staged, but remember it until what came in by it has been cut; return why it is not."""
        with self._ours():
            return self._journal.set_aside()

    def undone(self, committed: Mapping[str, Bag]) -> Iterator[dict[str, Bag]]:
        """Yield the databags of each transaction that was given up after a part of it may have been applied."""
        with self._locks.undisturbed():
            for directory in self._journal.undone():
                paths = {name: directory / f"{name}.json" for name in BAGS}
                found = {name: path for name, path in paths.items() if self._disk.exists(path)}
                bags = {name: parse_bag(name, str(path), self._disk.read(path)) for name, path in found.items()}
                yield {**committed, **bags}

    def forget_undone(self) -> None:
        """Forget what was given up: what came in by it has been cut."""
        with self._ours():
            self._journal.forget_undone()

    def boot(self) -> Boot:
        """Return which boot of the router this is."""
        return identify(self.paths, self._disk)

    def keep_former(self, bags: Mapping[str, Bag]) -> None:
        """Keep the databags of a life that ends, for people to look at; done twice in one boot it is the same."""
        with self._ours():
            self._archive.keep_former({name: dump_bag(bag) for name, bag in bags.items()}, self.boot().name)

    def read_drop(self, name: str) -> bytes:
        """Return the bytes of a drop or aggregate in the inbox; DropError for a bad name or no file."""
        return self._archive.read_drop(name)

    def already_processed(self, name: str) -> bool:
        """Tell whether a drop was committed and has not been sent again since."""
        return self._archive.already_processed(name)

    def copy_drop(self, name: str) -> None:
        """Copy a drop or aggregate that is about to be committed to processed/."""
        self._archive.copy(name)

    def remove_drops(self, names: Collection[str]) -> None:
        """Remove committed drops and aggregates from the inbox."""
        self._archive.remove(names)

    def fail(self, name: str, reason: str) -> None:
        """Move a refused drop or aggregate to failed/, with its reason."""
        self._archive.fail(name, reason)

    def write_result(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep the result record of a drop, aggregate or converge."""
        self._archive.write_result(name, record)

    def read_result(self, name: str) -> dict[str, Any] | None:
        """Return the latest result record of that name, or None."""
        return self._archive.read_result(name)

    @contextmanager
    def _ours(self) -> Iterator[Lock]:
        """Hold the guard around a change, sure that the lock is still ours."""
        if self._lock_id is None:
            raise TransactionError("no transaction was begun")
        with self._locks.held(self._lock_id) as lock:
            yield lock

    def _load(self, from_staged: Iterable[str], trusted: Collection[str]) -> dict[str, Bag]:
        preferred = set(from_staged)
        bags = {}
        for name in BAGS:
            bag = self._load_one(name, staged=name in preferred, trusted=name in trusted)
            if bag is not None:
                bags[name] = bag
        return bags

    def _load_one(self, name: str, *, staged: bool, trusted: bool) -> Bag | None:
        """Read one databag. A staged one that a commit has just moved is found in its new place."""
        committed = self.paths.bag(name)
        for path in (self.paths.staged / f"{name}.json", committed) if staged else (committed,):
            try:
                data = self._disk.read(path)
                private = self._disk.mode(path) == PRIVATE_FILE
            except FileNotFoundError:
                continue
            stored = read_object(str(path), data)
            bag = stored if trusted else parse_bag(name, str(path), data)
            # One that is not private comes from the original, and so does one with leftovers: both are written anew.
            if private and path == committed and bag == stored:
                self._loaded[name] = bag
            return bag
        return None

    def _changed(self, bags: Mapping[str, Bag]) -> dict[str, bytes]:
        contents = {}
        for name, bag in bags.items():
            if name not in BAGS:
                raise ValueError(f"{name} is no databag")
            if self._loaded.get(name) is bag:
                continue
            data = dump_bag(bag)
            if data != self._committed(name):
                contents[name] = data
        return contents

    def _committed(self, name: str) -> bytes | None:
        """Return the file of a databag as ours would write it, or None when it has to be written anyway."""
        path = self.paths.bag(name)
        if not self._disk.exists(path) or self._disk.mode(path) != PRIVATE_FILE:
            return None
        return self._disk.read(path)


def parse_bag(name: str, file: str, data: bytes) -> Bag:
    """Return the databag in a file in clean shape; DatabagError naming the file when it is damaged."""
    try:
        return adopt(name, read_object(file, data))
    except MismatchError as error:
        got = hidden(error.got) if error.secret and error.got is not ABSENT else one_line(error.got)
        raise DatabagError(file, f"{error.where()}: expected {error.expected}, got {got}") from None


def read_object(file: str, data: bytes) -> dict[str, Any]:
    """Return the JSON object in a file; DatabagError when there is none."""
    try:
        stored = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DatabagError(file, f"not JSON ({reason}, {len(data)} bytes)") from None
    if not isinstance(stored, dict):
        raise DatabagError(file, "not a JSON object")
    return stored
