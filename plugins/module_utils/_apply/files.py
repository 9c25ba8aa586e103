# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read and replace files of the router."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import time
from collections.abc import Iterable
from typing import TextIO

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import LiveFile
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File

_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EIO)
"""Nothing there, a link, a socket or a pipe that nobody writes to, a broken disk; see open(2)."""

MAX_BYTES = 64 * 1024 * 1024
"""Of the files that a router is made of none is longer."""


def read(path: str) -> LiveFile | None:
    """Return content and permission bits of a file, None when there is none: no link, directory, pipe or device is one.

    What is there in its place, or cannot be read any more, is replaced like a file with other content.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return None
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
            return LiveFile(file.read(), stat.S_IMODE(status.st_mode))
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    finally:
        os.close(descriptor)


def read_all(paths: Iterable[str]) -> dict[str, LiveFile]:
    """Return the files that are there, by path."""
    found = ((path, read(path)) for path in paths)
    return {path: file for path, file in found if file is not None}


def read_knobs(paths: Iterable[str]) -> dict[str, str]:
    """Return the kernel settings that this kernel has, by path."""
    return {path: file.content.strip() for path, file in read_all(paths).items()}


def candidate(file: File) -> str:
    """Write the wanted content beside the file and return where; the caller renames or removes it."""
    path = f"{file.path}.new"
    _make_directory(os.path.dirname(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            _fill(stream, file)
    except OSError:
        # Half a file takes the room that the way back needs.
        os.unlink(path)
        raise
    return path


def _fill(stream: TextIO, file: File) -> None:
    stream.write(file.content)
    stream.flush()
    if file.owner:
        known = pwd.getpwnam(file.owner)
        os.fchown(stream.fileno(), known.pw_uid, known.pw_gid)
    os.fchmod(stream.fileno(), file.mode)
    if file.durable:
        os.fsync(stream.fileno())


def _make_directory(path: str) -> None:
    """Make a directory that daemons can read, whatever the umask of the caller."""
    if not os.path.isdir(path):
        _make_directory(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103 - dnsmasq, nginx and others read below it as themselves


def replace(file: File) -> None:
    """Put a file in place by rename; one that is a mount point (a container's resolv.conf) is written in place.

    A directory in the place of what guards the boot must not stay there: it is kept under another name.
    """
    path = candidate(file)
    try:
        if file.durable and os.path.isdir(file.path) and not os.path.islink(file.path):
            os.rename(file.path, f"{file.path}.aside-{time.time_ns()}")
        os.rename(path, file.path)
    except OSError as error:
        os.unlink(path)
        if error.errno != errno.EBUSY:
            raise
        with open(file.path, "w", encoding="utf-8") as stream:
            _fill(stream, file)
    if file.durable:
        sync_directory(os.path.dirname(file.path))


def sync_directory(path: str) -> None:
    """Bring names to the disk: a file system may bring a rename there before the content, or never (XFS)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_knob(path: str, value: str) -> None:
    """Write a kernel setting."""
    with open(path, "w", encoding="ascii") as file:
        file.write(value)
