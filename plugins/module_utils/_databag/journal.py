# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stage databags beside the committed ones, and commit them as one set by way of a journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import PRIVATE_DIRECTORY, Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DatabagError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths

UNDONE = 16
"""How many different transactions that were given up are remembered."""


class Journal:
    """Move a set of databags into place, whole or not at all.

    Staged files are on disk before the journal that names them is, and the journal is on disk before the
    first rename. So whoever finds a journal can finish the commit, whatever is in it, and whoever finds none can
    throw the staged files away.
    """

    def __init__(self, paths: Paths, disk: Disk) -> None:
        self._paths = paths
        self._disk = disk

    def stage(self, contents: Mapping[str, bytes]) -> None:
        """Write the new databags beside the old ones, in place of any that were staged before."""
        self.discard()
        if not contents:
            return
        self._disk.make_directory(self._paths.databags, 0o755)
        self._disk.make_directory(self._paths.staged, PRIVATE_DIRECTORY)
        for name, data in contents.items():
            self._disk.replace(self._paths.staged / f"{name}.json", data)

    def staged(self) -> list[str]:
        """Return the names of the staged databags."""
        found = {entry.name for entry in self._disk.entries(self._paths.staged)}
        return [name for name in BAGS if f"{name}.json" in found]

    def committing(self) -> list[str]:
        """Return the names of the staged databags that count as committed, because there is a journal.

        That it is there says it: all that is staged was on disk before it was. What is in it is for people, so that a
        disk that damaged it does no harm.
        """
        return self.staged() if self._disk.exists(self._paths.journal) else []

    def commit(self) -> list[str]:
        """Make the staged databags the committed ones and return their names; OSError when they are not.

        Once the journal is on the disk they are, whatever fails then: `committing` reads them where they lie, and the
        next `recover` moves them.
        """
        names = self.staged()
        if names:
            try:
                self._disk.replace(self._paths.journal, json.dumps({"bags": names}).encode() + b"\n")
            except OSError:
                # It may be there without being on the disk.
                self._disk.remove(self._paths.journal)
                raise
            with suppress(OSError):
                self._finish(names)
        return names

    def recover(self) -> list[str]:
        """Finish the commit that a journal tells of, or set aside what was only staged."""
        names = self.committing()
        if self._disk.exists(self._paths.journal):
            self._finish(names)
        self.set_aside()
        return names

    def _finish(self, names: list[str]) -> None:
        for name in names:
            staged = self._paths.staged / f"{name}.json"
            if self._disk.exists(staged):
                self._disk.rename(staged, self._paths.bag(name))
        self._disk.sync_directory(self._paths.databags)
        self._disk.remove(self._paths.journal)
        self._disk.sync_directory(self._paths.databags)

    def discard(self) -> None:
        """Throw away what is staged, unless a journal has made it the committed state."""
        if self._disk.exists(self._paths.journal):
            raise DatabagError(str(self._paths.journal), "a commit is not finished: recover first")
        for entry in self._disk.entries(self._paths.staged):
            self._disk.remove(self._paths.staged / entry.name)

    def set_aside(self) -> OSError | None:
        """Give up what is staged, but remember it: what came in by it is to be cut.

        A full disk that refuses this must not keep the router from being put back: why it did is returned.
        """
        refused = None
        staged = self._content(self._paths.staged)
        known = [self._content(directory) for directory in self.undone()]
        free = [directory for directory in self._places() if not self._disk.exists(directory)]
        if staged and staged not in known and free and not self._disk.exists(self._paths.journal):
            try:
                self._disk.rename(self._paths.staged, free[0])
            except OSError as error:
                refused = error
            else:
                return None
        self.discard()
        return refused

    def undone(self) -> list[Path]:
        """Return the directories of the databags that were given up since the last commit."""
        return [directory for directory in self._places() if self._disk.exists(directory)]

    def forget_undone(self) -> None:
        """Throw away what was given up: what came in by it has been cut."""
        for directory in self.undone():
            for entry in self._disk.entries(directory):
                self._disk.remove(directory / entry.name)
            self._disk.remove_directory(directory)

    def _places(self) -> list[Path]:
        """Return where databags that were given up may be: one transaction after the other may be killed."""
        first = self._paths.undone
        return [first, *(first.with_name(f"{first.name}.{number}") for number in range(1, UNDONE))]

    def _content(self, directory: Path) -> dict[str, bytes]:
        return {entry.name: self._disk.read(directory / entry.name) for entry in self._disk.entries(directory)}
