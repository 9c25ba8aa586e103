# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Name every file and directory of the databags, and how much of what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import START


@dataclass(frozen=True)
class Paths:
    """Name every file and directory of the databags; ``root`` is a prefix for tests."""

    root: Path = Path("/")

    @property
    def databags(self) -> Path:
        """Return the directory of the committed databags."""
        return self.root / "etc/cloudstack"

    @property
    def boot(self) -> Path:
        """Return the file that holds the name of this boot; it is gone with the next one."""
        return self.root / "run/cloudstack/boot"

    @property
    def former(self) -> Path:
        """Return the directory of the databags that starts by the management server have set aside."""
        return self.root / "var/lib/cloudstack/former"

    def bag(self, name: str) -> Path:
        """Return the file of a committed databag; what is noted about the start is hidden: nobody but we edits it."""
        return self.databags / (f".{name}.json" if name == START else f"{name}.json")

    @property
    def staged(self) -> Path:
        """Return the directory of databags that wait for their commit."""
        return self.databags / ".staged"

    @property
    def undone(self) -> Path:
        """Return the directory of databags that were staged and given up after a part of them may have been applied.

        Those of other transactions are beside it, with a number at the end of their names.
        """
        return self.databags / ".undone"

    @property
    def journal(self) -> Path:
        """Return the file that names the databags of a commit under way."""
        return self.databags / ".journal"

    @property
    def inbox(self) -> Path:
        """Return the directory that the management server copies drops to."""
        return self.root / "var/cache/cloud"

    @property
    def processed(self) -> Path:
        """Return the directory of committed drops, each ``<name>.gz``."""
        return self.inbox / "processed"

    @property
    def failed(self) -> Path:
        """Return the directory of refused drops, each with ``<name>.reason``."""
        return self.inbox / "failed"

    @property
    def results(self) -> Path:
        """Return the directory of result records."""
        return self.root / "var/lib/cloudstack/results"

    @property
    def unwritten(self) -> Path:
        """Return the directory, in memory, of result records that the disk did not take."""
        return self.root / "run/cloudstack/results"

    @property
    def reserve(self) -> Path:
        """Return the file that keeps room on the disk for the way back from a converge that failed."""
        return self.root / "var/lib/cloudstack/.reserve"

    @property
    def lock(self) -> Path:
        """Return the file that says who runs the transaction."""
        return self.root / "var/lib/cloudstack/transaction.json"

    @property
    def guard(self) -> Path:
        """Return the file that is locked (flock(2)) while somebody reads or writes the lock."""
        return self.root / "var/lib/cloudstack/transaction.lock"


@dataclass(frozen=True)
class Limits:
    """Cap what is kept, by count and by bytes; the oldest goes first, the newest stays (J4)."""

    processed_files: int = 2000
    processed_bytes: int = 64 * 1024 * 1024
    failed_files: int = 200
    failed_bytes: int = 64 * 1024 * 1024
    result_files: int = 2000
    result_bytes: int = 16 * 1024 * 1024
    unwritten_files: int = 200
    unwritten_bytes: int = 1024 * 1024
    former_folders: int = 3
