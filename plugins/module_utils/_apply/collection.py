# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replace the collection on a router, and with it the commands, by the one of an archive.

A tree is a dictionary: path below the collection to mode and content. Only the standard library is used: the router
may not have been provisioned yet.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

Tree = dict[str, tuple[int, bytes]]
Links = dict[str, str]
"""Paths on the router, and the directories of the collection that they lead to."""

PREFIX = "collection-"
QUEUE = "/run/cloudstack/queue.lock"
"""Held by whoever converges on the router itself (lib/vrlib/queue.py)."""
PATIENCE = 600.0
"""Seconds; no command of the management server takes longer."""

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
    """Return the tree of an installed collection without bytecode and forwarders; empty when there is none."""
    tree: Tree = {}
    for path in sorted(Path(dest).rglob("*")):
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
            tree[str(path.relative_to(dest))] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return tree


def differences(before: Tree, after: Tree) -> list[str]:
    """Return one line for each file that comes (+), goes (-) or changes (!)."""
    lines = [f"+ {path}" for path in after.keys() - before.keys()]
    lines += [f"- {path}" for path in before.keys() - after.keys()]
    lines += [f"! {path}" for path in after.keys() & before.keys() if before[path] != after[path]]
    return sorted(lines, key=lambda line: line[2:])


def linked(links: Links, dest: str) -> bool:
    """Tell whether each link leads to its directory of the collection."""
    return all(os.path.islink(path) and os.readlink(path) == f"{dest}/{part}" for path, part in links.items())


def exchange(tree: Tree, dest: str, home: str) -> None:
    """Put a tree under a directory of its own in `home`, and change the link `dest` to it in one step.

    Commands and links reach all of a release by `dest`, so all of it changes at once. Whoever has begun with the former
    tree (a daemon, a command that has not imported everything yet) goes on with it: it is kept until the next exchange.
    """
    os.makedirs(home, mode=0o755, exist_ok=True)
    os.makedirs(os.path.dirname(dest), mode=0o755, exist_ok=True)
    former = os.path.realpath(dest)
    if _is_directory(dest):
        former = tempfile.mkdtemp(prefix=f"{PREFIX}former-", dir=home)
    new = tempfile.mkdtemp(prefix=PREFIX, dir=home)
    try:
        _write(tree, new)
        _forward(os.path.realpath(dest), new)
        os.sync()  # else a power cut may find the link on the disk and the files empty
        with _between_converges():
            _link(new, dest, former)
    except OSError:  # each further try would take what is left of a full disk
        if os.path.realpath(dest) != new:
            shutil.rmtree(new)
        raise
    for path in Path(home).glob(f"{PREFIX}*"):
        if str(path) not in (new, former):
            shutil.rmtree(path)


def link(links: Links, dest: str) -> None:
    """Have each path lead to its directory of the collection; what was there before is replaced."""
    for path, part in links.items():
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        if not linked({path: part}, dest):
            _link(f"{dest}/{part}", path)


@contextmanager
def _between_converges() -> Iterator[None]:
    """Keep converges of the router's own from beginning, once the one that runs has ended (lib/vrlib/queue.py).

    A converge reads its tasks one after the other. One from a control node brings the collection along.
    """
    if not os.path.isdir(os.path.dirname(QUEUE)):  # no router yet
        yield
        return
    end = time.monotonic() + PATIENCE
    with open(QUEUE, "a", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, f"a converge has not ended within {PATIENCE:.0f} s") from None
                time.sleep(0.05)
        yield


def _write(tree: Tree, directory: str) -> None:
    for name, (mode, content) in tree.items():
        path = Path(directory, name)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    for folder, _folders, _names in os.walk(directory):
        os.chmod(folder, 0o755)  # noqa: S103  # whatever the umask is, others may read it


def _forward(former: str, new: str) -> None:
    """Leave links in bin/ to programs that the former release had there, and the new one has in libexec/.

    Units that were loaded and files that were written before the upgrade name them there. A reboot before the next
    converge has keepalived read such a file.
    """
    for name in os.listdir(f"{former}/bin") if os.path.isdir(f"{former}/bin") else ():
        if os.path.isfile(f"{new}/libexec/{name}") and not os.path.lexists(f"{new}/bin/{name}"):
            os.symlink(f"../libexec/{name}", f"{new}/bin/{name}")


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _link(target: str, path: str, aside: str = "") -> None:
    """Make a link in the place of a link, or of a directory, which is moved aside then, or removed."""
    draft = f"{path}.new"
    if _is_directory(draft):  # a former directory, of whoever was killed meanwhile
        shutil.rmtree(draft)
    with suppress(FileNotFoundError):
        os.unlink(draft)
    os.symlink(target, draft)
    if _is_directory(path):
        _swap(draft, path, aside)
    else:
        os.rename(draft, path)


def _swap(draft: str, path: str, aside: str) -> None:
    """Exchange a link with a directory; where a file system cannot (overlayfs), one is moved after the other."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(draft), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE) == 0:
        _put_away(draft, aside)
        return
    number = ctypes.get_errno()
    if number not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), path)
    _put_away(path, aside)
    os.rename(draft, path)


def _put_away(directory: str, aside: str) -> None:
    """Move a directory over an empty one; remove it where none is given, or on another file system."""
    if aside:
        try:
            os.rename(directory, aside)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    shutil.rmtree(directory)
