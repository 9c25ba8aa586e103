# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replace the collection on a router by the one of an archive.

A tree is a dictionary: path below the collection to mode and content. Only the standard library is used: the router
may not have been provisioned yet.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import tarfile
from pathlib import Path, PurePosixPath

Tree = dict[str, tuple[int, bytes]]

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""renameat2(2)."""


def read(archive: str) -> Tree:
    """Return the tree of an archive; a name that leads out of it is a ValueError, as is a damaged archive."""
    tree: Tree = {}
    try:
        with tarfile.open(archive) as opened:
            for member in opened.getmembers():
                path = PurePosixPath(member.name)
                content = opened.extractfile(member)
                if content is None or path.is_absolute() or ".." in path.parts:
                    raise ValueError(f"{archive}: expected files below the collection, got {member.name!r}")
                tree[str(path)] = (member.mode & 0o777, content.read())
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive}: {error}") from error
    return tree


def installed(dest: str) -> Tree:
    """Return the tree of an installed collection without its bytecode; empty when there is none."""
    tree: Tree = {}
    for path in sorted(Path(dest).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            tree[str(path.relative_to(dest))] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return tree


def differences(before: Tree, after: Tree) -> list[str]:
    """Return one line for each file that comes (+), goes (-) or changes (!)."""
    lines = [f"+ {path}" for path in after.keys() - before.keys()]
    lines += [f"- {path}" for path in before.keys() - after.keys()]
    lines += [f"! {path}" for path in after.keys() & before.keys() if before[path] != after[path]]
    return sorted(lines, key=lambda line: line[2:])


def exchange(tree: Tree, dest: str) -> None:
    """Write the tree beside the directory and change the two in one step; the former tree is removed then."""
    new = f"{dest}.new"
    shutil.rmtree(new, ignore_errors=True)
    _write(tree, new)
    if os.path.lexists(dest):
        _swap(new, dest)
    else:
        os.rename(new, dest)
    if os.path.islink(new):  # the collection was a link to a checkout: that stays
        os.unlink(new)
    else:
        shutil.rmtree(new, ignore_errors=True)


def _write(tree: Tree, directory: str) -> None:
    for name, (mode, content) in tree.items():
        path = Path(directory, name)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    for folder, _folders, _names in os.walk(directory):
        os.chmod(folder, 0o755)  # noqa: S103  # whatever the umask is, others may read it


def _swap(new: str, dest: str) -> None:
    """Exchange two directories; where a file system cannot (overlayfs, EXDEV), one is moved after the other."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(dest), RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), dest)
    shutil.rmtree(dest)
    os.rename(new, dest)
