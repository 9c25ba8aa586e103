# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Do the single steps on disk that the store is made of; a kill or a power cut cannot tear one."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

# Drops and databags carry passwords and keys.
PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


@dataclass(frozen=True)
class Entry:
    """Describe a regular file of a directory: name, size in bytes, time of change in nanoseconds."""

    name: str
    size: int
    changed: int


class NotAFileError(OSError):
    """Report a directory, link, pipe or device where a file was expected."""


class Disk:
    """Read, write, rename and remove; tests replace single steps by failing ones."""

    def read(self, path: Path, limit: int | None = None) -> bytes:
        """Return the content of a regular file, or FileNotFoundError; more than ``limit`` bytes are not read.

        A file longer than that comes back one byte longer than the limit.
        """
        # O_NONBLOCK: opening a pipe that someone left in the directory must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotAFileError(0, "not a regular file", str(path))
            return file.read() if limit is None else file.read(limit + 1)

    def mode(self, path: Path) -> int:
        """Return the permission bits of a file."""
        return stat.S_IMODE(os.lstat(path).st_mode)

    def exists(self, path: Path) -> bool:
        """Tell whether there is anything of that name."""
        return os.path.lexists(path)

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes, 0 when there is none."""
        return os.lstat(path).st_size if os.path.lexists(path) else 0

    def count(self, directory: Path) -> int:
        """Return how many names a directory holds, 0 if it does not exist."""
        return len(os.listdir(directory)) if directory.is_dir() else 0

    def folders(self, directory: Path) -> list[str]:
        """Return the folders of a directory whose names begin with six digits, in the order of their names."""
        found = os.listdir(directory) if directory.is_dir() else []
        return sorted(name for name in found if name[:6].isdecimal() and (directory / name).is_dir())

    def remove_folder(self, path: Path) -> None:
        """Remove a folder of files."""
        for name in os.listdir(path):
            self.remove(path / name)
        path.rmdir()

    def entries(self, directory: Path) -> list[Entry]:
        """Return the regular files of a directory, none if it does not exist."""
        if not directory.is_dir():
            return []
        found = []
        with os.scandir(directory) as listing:
            for item in listing:
                if item.is_file(follow_symlinks=False):
                    status = item.stat(follow_symlinks=False)
                    found.append(Entry(item.name, status.st_size, status.st_mtime_ns))
        return found

    def write(self, path: Path, data: bytes, *, durable: bool = True) -> None:
        """Create or truncate a private file and bring its content to the disk; remove it when that fails."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, PRIVATE_FILE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, PRIVATE_FILE)
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(descriptor)
        except OSError:
            os.unlink(path)
            raise

    def overwrite(self, path: Path, data: bytes) -> None:
        """Write over the first bytes of a file: needs no room, but a power cut may leave part of it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.pwrite(descriptor, data, 0)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in the place of another, in one step."""
        os.rename(source, target)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, FileExistsError where there is one: of several who do it one succeeds."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file, which need not be there."""
        path.unlink(missing_ok=True)

    def protect(self, path: Path) -> None:
        """Take a file from everybody but its owner; a link is left as it is."""
        if stat.S_ISREG(os.lstat(path).st_mode):
            os.chmod(path, PRIVATE_FILE)

    def make_directory(self, path: Path, mode: int = PRIVATE_DIRECTORY) -> None:
        """Create a directory and those above it, durably; one that exists keeps its mode."""
        if path.is_dir():
            return
        if not path.parent.is_dir():
            # Those above are the system's: everybody may look into /var/lib.
            self.make_directory(path.parent, 0o755)
        path.mkdir(mode, exist_ok=True)
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        """Bring the names of a directory to the disk: without it a rename may be undone by a power cut."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, data: bytes, *, durable: bool = True) -> None:
        """Give a file new content: readers see the old or the new, whatever happens."""
        temporary = path.with_name(f".{path.name}.tmp")
        self.write(temporary, data, durable=durable)
        self.rename(temporary, path)
        if durable:
            self.sync_directory(path.parent)
