# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the aggregate file that vr_cfg.sh is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError, one_line

# 10,000 VMs with metadata make 14 MB; user data may be 32 KB each.
MAX_AGGREGATE_BYTES = 256 * 1024 * 1024

_FILE_PATH = re.compile(r"/var/cache/cloud/[A-Za-z0-9_-][A-Za-z0-9._-]{0,239}")
_COMMAND = re.compile(r"/opt/cloud/bin/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_HEAD = (b"<version>", b"1.0", b"</version>")


@dataclass(frozen=True)
class FileStep:
    """Hold a file to be taken as a drop: absolute path and content, byte for byte as sent."""

    path: str
    content: bytes

    @property
    def name(self) -> str:
        """Return the name that the drop has in the inbox."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class ScriptStep:
    """Hold a command line: a command in /opt/cloud/bin and its arguments, which no shell sees."""

    command: str
    args: list[str]


def parse_aggregate(name: str, data: bytes) -> list[FileStep | ScriptStep]:
    """Parse an aggregate (contract.md); raise DropError naming the step, counted from 1.

    The format is one of lines: a comment, ``<version>``, ``1.0``, ``</version>``, then ``<file>``, path,
    content, ``</file>`` or ``<script>``, command line, ``</script>``. Content may span lines; it ends at
    ``</file>``.
    """
    if len(data) > MAX_AGGREGATE_BYTES:
        raise DropError(name, "$", f"at most {MAX_AGGREGATE_BYTES} bytes", f"{len(data)} bytes")
    reader = _Reader(name, data)
    if not reader.line("a comment line").startswith(b"#"):
        reader.refuse("a comment line", "another first line")
    for expected in _HEAD:
        if reader.line(expected.decode()) != expected:
            reader.refuse(expected.decode(), "another line")
    return list(_steps(reader))


def _steps(reader: _Reader) -> Iterator[FileStep | ScriptStep]:
    while not reader.at_end():
        reader.where = f"step {reader.begun() + 1}"
        tag = reader.line("<file> or <script>")
        if tag == b"<file>":
            path = reader.text("the path of a file in /var/cache/cloud", _FILE_PATH)
            yield FileStep(path, reader.until(b"</file>"))
        elif tag == b"<script>":
            yield _script(reader)
        else:
            reader.refuse("<file> or <script>", one_line(tag.decode("utf-8", "replace")))


def _script(reader: _Reader) -> ScriptStep:
    line = reader.line("a command line")
    if not line.isascii():
        reader.refuse("a command line", "one that is not ASCII")
    command, *args = line.decode().split() or [""]
    if not _COMMAND.fullmatch(command):
        reader.refuse("a command in /opt/cloud/bin", one_line(command))
    if reader.line("</script>") != b"</script>":
        reader.refuse("</script>", "another line")
    return ScriptStep(command, args)


class _Reader:
    """Walk through the lines of an aggregate without copying what is not asked for."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data
        self._at = 0
        self._begun = 0
        self.where = "head"

    def refuse(self, expected: str, got: str) -> NoReturn:
        """Raise the error of the place that was reached."""
        raise DropError(self._name, self.where, expected, got)

    def begun(self) -> int:
        """Return the number of steps begun before this one, and count it."""
        self._begun += 1
        return self._begun - 1

    def at_end(self) -> bool:
        """Skip empty lines and tell whether nothing is left."""
        while self._data.startswith(b"\n", self._at):
            self._at += 1
        return self._at >= len(self._data)

    def line(self, expected: str) -> bytes:
        """Return the next line, without its end; what is expected there is said when the file ends."""
        if self._at >= len(self._data):
            self.refuse(expected, "the end of the file")
        end = self._data.find(b"\n", self._at)
        end = len(self._data) if end < 0 else end
        found = self._data[self._at : end]
        self._at = end + 1
        return found

    def text(self, expected: str, pattern: re.Pattern[str]) -> str:
        """Return the next line as text that matches."""
        found = self.line(expected).decode("utf-8", "replace")
        if not pattern.fullmatch(found) or ".." in found:
            self.refuse(expected, one_line(found))
        return found

    def until(self, tag: bytes) -> bytes:
        """Return everything before the next line that is only ``tag``."""
        if self._data.startswith(tag + b"\n", self._at):
            self._at += len(tag) + 1
            return b""
        end = self._data.find(b"\n" + tag + b"\n", self._at)
        last = self._data[-len(tag) - 1 :] == b"\n" + tag
        if end < 0 and not last:
            self.refuse(tag.decode(), "the end of the file")
        end = len(self._data) - len(tag) - 1 if end < 0 else end
        found = self._data[self._at : end]
        self._at = end + len(tag) + 2
        return found
