# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make one archive of files and outputs that the management server fetches, without a secret in it (contract.md).

It lies directly in root's home, because the server cuts that off its path. What is asked for and not in it is said in
``fileinfo.txt``, line by line.
"""

from __future__ import annotations

import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress

from vrlib import archive_items as items
from vrlib import command as vr
from vrlib import secrets

HOME = "/root"
MOST = 20 * 1024 * 1024
WANTED_FREE = 30 * 1024 * 1024
LIMIT = 60.0
KEPT = 3600.0
"""Seconds after which the next call deletes an archive."""
MOST_ITEMS = 500
_OWN = re.compile(r"\.?diagnostics_files_[0-9]{8}-[0-9]{6}(-[0-9]+)?\.(zip|part)")


def main(args: list[str]) -> None:
    """Make the archive and print its path."""
    words = [] if args == ["null"] else args
    home = vr.at(HOME)
    _delete_old(home)
    room = os.statvfs(home)
    if room.f_bavail * room.f_frsize < WANTED_FREE:
        raise vr.CommandError(f"get_diagnostics_files.py: {HOME}: expected 30 MiB free")
    part = f"{home}/.diagnostics_files_{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.part"
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            Archive(archive, time.monotonic() + LIMIT).fill(words)
        print(_named(part, home))
    except OSError as error:
        raise vr.CommandError(f"get_diagnostics_files.py: {error.filename or HOME}: {error.strerror}") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


def _delete_old(home: str) -> None:
    """Delete archives that nobody fetched, and what killed calls left."""
    for name in os.listdir(home):
        if _OWN.fullmatch(name):
            with suppress(FileNotFoundError):
                if time.time() - os.stat(f"{home}/{name}").st_mtime > (KEPT if name.endswith(".zip") else 2 * LIMIT):
                    os.unlink(f"{home}/{name}")


def _named(part: str, home: str) -> str:
    """Give the archive its name, which is nobody else's, and return its path on the router."""
    stem = f"diagnostics_files_{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 100):
        name = f"{stem}.zip" if number == 1 else f"{stem}-{number}.zip"
        with suppress(FileExistsError):
            os.link(part, f"{home}/{name}")
            return f"{HOME}/{name}"
    raise vr.CommandError(f"get_diagnostics_files.py: {HOME}/{stem}.zip: expected less than 100 in a second")


def joined(words: list[str]) -> Iterator[str]:
    """Yield the items: what stands in brackets was split at its blanks on the way."""
    script: list[str] = []
    for word in words[:MOST_ITEMS]:
        if script or word.startswith("["):
            script.append(word)
            if word.endswith("]"):
                yield " ".join(script)
                script = []
        else:
            yield word
    if script:
        yield " ".join(script)


class Archive:
    """An archive being filled: it takes nothing that it has not looked through for secrets."""

    def __init__(self, archive: zipfile.ZipFile, end: float) -> None:
        self.archive, self.end = archive, end
        self.secrets = secrets.Secrets.of_router()
        self.names: set[str] = set()

    def fill(self, words: list[str]) -> None:
        """Add each item, and what is always added; fileinfo.txt, which comes last, says what came of it."""
        lines, full = [], ""
        for item in joined(words):
            shown = vr.one_line(item)[:300]
            try:
                lines.append(f"{shown} {full or self._item(item)}".rstrip())
            except items.RefusedError as error:
                lines.append(f"{shown} {error}")
            except items.FullError as error:
                full = f"Not added: {error}"
                lines.append(f"{shown} {full}")
        try:
            for found in items.always(self.end):
                self._add(found)
        except items.FullError as error:
            lines.append(f"Not everything is added: {error}")
        text, _count = self.secrets.hide("".join(f"{line}\n" for line in lines).encode())
        self.archive.writestr(_info("fileinfo.txt"), text)

    def _item(self, item: str) -> str:
        found, more = items.of_item(item, self.end)
        redacted = sum(self._add(member) for member in found)
        return " ".join(filter(None, (more, f"Redacted: {redacted}" if redacted else "")))

    def _add(self, found: items.Found) -> int:
        """Add a member without its secrets, and return how many there were."""
        if found.name in self.names:
            return found.redacted
        if time.monotonic() > self.end:
            raise items.FullError("the time is over")
        data, count = self.secrets.hide(found.content)
        if found.name.startswith("etc/") and not found.name.endswith(".json"):
            data, lines = secrets.redacted_lines(data)
            count += lines
        data = cut(data, items.MOST_FILE)
        size = self.archive.fp.tell() if self.archive.fp else 0
        if size + len(data) > MOST and size + len(zlib.compress(data, 1)) > MOST:
            raise items.FullError(f"the archive has {MOST // 1024 // 1024} MiB")
        self.names.add(found.name)
        self.archive.writestr(_info(found.name), data)
        return count + found.redacted


def cut(data: bytes, most: int) -> bytes:
    """Return the end of data, from the beginning of a line, behind a line that says so."""
    if len(data) <= most:
        return data
    rest = data[-most:]
    line, _break, following = rest.partition(b"\n")
    kept = following or line
    return f"[the last {len(kept)} of {len(data)} bytes that were read]\n".encode() + kept


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.gmtime()[:6])
    info.external_attr = 0o600 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
