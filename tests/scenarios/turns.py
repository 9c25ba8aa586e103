# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turns of tests that run in several processes: many at once, or one that measures and has the machine to itself."""

from __future__ import annotations

import fcntl
from pathlib import Path


class Turns:
    """Two locks in a directory: who waits for the machine alone holds the first, so that nobody else begins."""

    def __init__(self, directory: Path) -> None:
        """Open the locks; processes meet in the directory."""
        directory.mkdir(parents=True, exist_ok=True)
        self._door, self._room = ((directory / name).open("w", encoding="ascii") for name in ("door", "room"))
        self.alone = False
        """Whether this process has the machine to itself."""

    def take(self, *, alone: bool) -> None:
        """Wait until a test may begin; one that is alone already just goes on."""
        if alone and self.alone:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self.alone = alone

    def give(self, *, next_alone: bool) -> None:
        """End a test; measurements that follow each other are not interrupted by others."""
        if not (self.alone and next_alone):
            fcntl.flock(self._room, fcntl.LOCK_UN)
            self.alone = False
