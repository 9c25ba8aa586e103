# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read drops from the inbox, and put them where they belong once their fate is known; keep results."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import MAX_AGGREGATE_BYTES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import (
    PRIVATE_DIRECTORY,
    Disk,
    Entry,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError, one_line
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Limits, Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import MismatchError

# Leaves room for ``.reason`` and the dot and ``.tmp`` of a temporary name within the 255 bytes of a file
# system.
_LONGEST_NAME = 240
_DIGITS = 6
SELDOM = 32
"""At how many files more the sizes of all are looked at."""


def check_name(name: str) -> str:
    """Return the name of a drop, or DropError when it is more than the plain name of a file."""
    expected = f"the plain name of a file, at most {_LONGEST_NAME} bytes"
    try:
        kinds.safe_name(name)
    except MismatchError:
        raise DropError.of_value("drop", "name", expected, name) from None
    if not name or len(name.encode()) > _LONGEST_NAME:
        raise DropError.of_value("drop", "name", expected, name)
    return name


class Archive:
    """Hold inbox, processed/, failed/ and results/."""

    def __init__(self, paths: Paths, disk: Disk, limits: Limits) -> None:
        self._paths = paths
        self._disk = disk
        self._limits = limits

    def read_drop(self, name: str) -> bytes:
        """Return the bytes of a drop or aggregate; DropError for a bad name, no file, or too much of it."""
        path = self._paths.inbox / check_name(name)
        try:
            data = self._disk.read(path, MAX_AGGREGATE_BYTES)
        except OSError as error:
            raise DropError(name, "$", f"a file in {self._paths.inbox}", error.strerror or "none") from error
        if len(data) > MAX_AGGREGATE_BYTES:
            raise DropError(name, "$", f"at most {MAX_AGGREGATE_BYTES} bytes", "more")
        return data

    def already_processed(self, name: str) -> bool:
        """Tell whether a drop was committed and has not been sent again since."""
        return not self._disk.exists(self._paths.inbox / check_name(name)) and self._disk.exists(
            self._paths.processed / f"{name}.gz"
        )

    def copy(self, name: str) -> None:
        """Copy a drop to processed/, before it is committed: a full disk then refuses it as a whole.

        Done again after a kill it ends the same; while the drop is in the inbox the copy means nothing.
        """
        data = gzip.compress(self._disk.read(self._paths.inbox / check_name(name)), compresslevel=1, mtime=0)
        self._disk.make_directory(self._paths.processed, PRIVATE_DIRECTORY)
        self._disk.replace(self._paths.processed / f"{name}.gz", data)

    def remove(self, names: Collection[str]) -> None:
        """Remove committed drops from the inbox, and the oldest copies; nothing of this needs room."""
        if not names:
            return
        for name in names:
            self._disk.remove(self._paths.inbox / check_name(name))
        self._disk.sync_directory(self._paths.inbox)
        copies = [f"{name}.gz" for name in names]
        self._prune(self._paths.processed, copies, self._limits.processed_files, self._limits.processed_bytes)

    def fail(self, name: str, reason: str) -> None:
        """Move a refused drop to failed/, then write its reason, which may not fit a full disk.

        No copy in processed/ is left of it, nor of an earlier one of its name: that would tell that it was taken.
        """
        copy = self._paths.processed / f"{check_name(name)}.gz"
        if self._disk.exists(copy):
            self._disk.remove(copy)
        self._disk.make_directory(self._paths.failed, PRIVATE_DIRECTORY)
        inbox = self._paths.inbox / name
        if self._disk.exists(inbox):
            self._disk.protect(inbox)
            self._disk.rename(inbox, self._paths.failed / name)
            self._disk.sync_directory(self._paths.failed)
            self._disk.sync_directory(self._paths.inbox)
        self._disk.replace(self._paths.failed / f"{name}.reason", reason.encode("utf-8", "replace") + b"\n")
        self._prune(self._paths.failed, [name, f"{name}.reason"], self._limits.failed_files, self._limits.failed_bytes)

    def write_result(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep the result record of a drop, aggregate or converge; in memory when the disk does not take it.

        Whoever waits for it must hear what is true, be the disk as it may. One in memory is newer than one on disk.
        """
        file, limits = f"{check_name(name)}.json", self._limits
        data = json.dumps(record, sort_keys=True).encode() + b"\n"
        unwritten = self._paths.unwritten / file
        try:
            self._keep(self._paths.results, file, data, limits.result_files, limits.result_bytes)
        except OSError:
            self._keep(self._paths.unwritten, file, data, limits.unwritten_files, limits.unwritten_bytes)
            return
        if self._disk.exists(unwritten):
            self._disk.remove(unwritten)

    def _keep(self, directory: Path, file: str, data: bytes, most_files: int, most_bytes: int) -> None:
        self._disk.make_directory(directory, PRIVATE_DIRECTORY)
        # Not durable: whoever waits for it is gone after a power cut.
        self._disk.replace(directory / file, data, durable=False)
        self._prune(directory, [file], most_files, most_bytes)

    def read_result(self, name: str) -> dict[str, Any] | None:
        """Return the latest result record of that name, or None."""
        path = self._paths.unwritten / f"{check_name(name)}.json"
        if not self._disk.exists(path):
            path = self._paths.results / path.name
        try:
            data = self._disk.read(path)
        except FileNotFoundError:
            return None
        try:
            record = json.loads(data)
        except ValueError as error:
            raise OSError(0, f"no result record: {one_line(str(error))}", str(path)) from None
        return record if isinstance(record, dict) else None

    def keep_former(self, contents: Mapping[str, bytes], boot: str) -> None:
        """Write databags into a folder that is numbered and named after a boot; the oldest folders go first.

        The number tells the order: a clock may have been put back. Whoever is killed here begins the same folder again.
        """
        known = self._disk.folders(self._paths.former)
        folder = next((name for name in known if name.endswith(f"-{boot}")), None)
        if folder is None:
            folder = f"{max((int(name[:_DIGITS]) for name in known), default=0) + 1:0{_DIGITS}}-{boot}"
        for name in [name for name in known if name != folder][: -(self._limits.former_folders - 1)]:
            self._disk.remove_folder(self._paths.former / name)
        self._disk.make_directory(self._paths.former, PRIVATE_DIRECTORY)
        self._disk.make_directory(self._paths.former / folder, PRIVATE_DIRECTORY)
        for name, data in contents.items():
            self._disk.replace(self._paths.former / folder / f"{name}.json", data)

    def _prune(self, directory: Path, newest: Collection[str], most_files: int, most_bytes: int) -> None:
        """Remove the oldest until both caps hold; a drop and its reason go together, the newest drop stays.

        Which ones that are we know better than a clock that may have been put back since the others were written. To
        look at 2,000 files takes 10 ms, so with small files it is done at every 32nd: what is kept may be over its cap
        of bytes by a quarter meanwhile, and is cut to a little below the cap of files.
        """
        count = self._disk.count(directory)
        small = all(self._disk.size(directory / name) <= most_bytes // (4 * SELDOM) for name in newest)
        if small and count <= most_files and count % SELDOM >= len(newest):
            return
        groups: dict[str, list[Entry]] = {}
        for entry in self._disk.entries(directory):
            groups.setdefault(entry.name.removesuffix(".reason"), []).append(entry)
        own = [groups.pop(name, []) for name in newest]
        oldest = sorted(groups.values(), key=lambda group: max(entry.changed for entry in group))
        by_age = [group for group in (*oldest, *own) if group]
        size = sum(entry.size for group in by_age for entry in group)
        room = most_files - (most_files // SELDOM if count > most_files else 0)
        for group in by_age[:-1]:
            if count <= room and size <= most_bytes:
                return
            for entry in group:
                self._disk.remove(directory / entry.name)
                count, size = count - 1, size - entry.size
