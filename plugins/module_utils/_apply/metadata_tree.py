# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read and write the tree of the metadata server; `_plan/metadata.py` says what it looks like.

Two checks find damage. Every plan reads the links and the times of the directories: 15 ms for 2,000 VMs; that finds
files that were added, removed or replaced. The thorough one also looks at each file; it is part of every plan while
there are few VMs, else of the first plan after a boot (files may have been cut short) and of one every ten minutes.
"""

from __future__ import annotations

import grp
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.metadata import (
    STORE,
    WEB_ROOT,
    PublishMetadata,
    Vm,
)

FEW = 256
INTERVAL = 600.0
"""Seconds between two thorough checks of many VMs."""

MARK = "/run/cloudstack/metadata-checked"
READER = "www-data"
"""The group of the web server; others on the router may not read user data."""

FILE_MODE, DIRECTORY_MODE = 0o640, 0o2750


def links(root: str = WEB_ROOT) -> dict[str, str]:
    """Return where each name below the root leads; a name that is no link, or that no link needs, leads nowhere."""
    try:
        with os.scandir(root) as entries:
            found = {e.name: os.readlink(e.path) if e.is_symlink() else "" for e in entries if e.name != STORE}
        stored = {f"{STORE}/{name}" for name in os.listdir(f"{root}/{STORE}")}
    except FileNotFoundError:
        return {}
    return found | dict.fromkeys(sorted(stored - set(found.values())), "")


def damaged(vms: Iterable[Vm], links: dict[str, str], root: str = WEB_ROOT) -> list[str]:
    """Return the VMs whose link is right but whose directory is not."""
    linked = [vm for vm in vms if links.get(vm.address) == vm.target]
    thorough = len(linked) <= FEW or _check_is_due()
    found = [vm.address for vm in linked if not _is_intact(vm, root, thorough)]
    if thorough and not found and len(linked) > FEW:
        os.makedirs(os.path.dirname(MARK), mode=0o700, exist_ok=True)
        with open(MARK, "a", encoding="ascii"):
            os.utime(MARK)
    return found


def _check_is_due() -> bool:
    try:
        return not 0 <= time.time() - os.stat(MARK).st_mtime < INTERVAL
    except FileNotFoundError:
        return True


def _is_intact(vm: Vm, root: str, thorough: bool) -> bool:
    path = f"{root}/{vm.target}"
    try:
        if int(os.stat(path).st_mtime) != vm.stamp:
            return False
        return not thorough or _has_files(path, vm)
    except FileNotFoundError:
        return False


def _has_files(path: str, vm: Vm) -> bool:
    wanted = {name: len(content) for name, content in vm.files().items()}
    with os.scandir(path) as entries:
        live = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    return {name: found.st_size for name, found in live.items()} == wanted and all(
        int(found.st_mtime) == vm.stamp and found.st_mode == stat.S_IFREG | FILE_MODE for found in live.values()
    )


def publish(step: PublishMetadata, root: str = WEB_ROOT, reader: str = READER) -> None:
    """Write each VM's directory, switch its link, and remove what is gone and what no link needs any more."""
    group = grp.getgrnam(reader).gr_gid
    with _umask(0o027):
        os.makedirs(f"{root}/{STORE}", exist_ok=True)
        for folder in (root, f"{root}/{STORE}"):
            os.chown(folder, 0, group)
            os.chmod(folder, DIRECTORY_MODE)
        for vm in step.vms:
            _write(vm, f"{root}/{vm.target}")
            _link(vm, root)
    for name in step.gone:
        if not name.startswith(f"{STORE}/"):
            _remove(f"{root}/{name}")
    # Last, when it is known which directories no link needs: a VM whose link was lost may have got its own back.
    for name, target in links(root).items():
        if not target:
            _remove(f"{root}/{name}")


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """Give what is made the modes it is made with: commands run with the umask 077."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _write(vm: Vm, path: str) -> None:
    """Build the directory beside its place; one of this name that is there already is damaged and makes room."""
    draft, old = f"{path}.new", f"{path}.old"
    for leftover in (draft, old):
        _remove(leftover)
    os.mkdir(draft, 0o750)
    when = (vm.stamp, vm.stamp)
    for name, content in vm.files().items():
        file = os.open(f"{draft}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(file, "wb", buffering=0) as stream:
            stream.write(content)
        os.utime(f"{draft}/{name}", when)
    os.utime(draft, when)
    if os.path.lexists(path):
        os.rename(path, old)
    os.rename(draft, path)
    _remove(old)


def _link(vm: Vm, root: str) -> None:
    place = f"{root}/{vm.address}"
    if os.path.islink(place) and os.readlink(place) == vm.target:
        return
    if not os.path.islink(place):
        _remove(place)
    draft = f"{root}/{STORE}/{vm.address}.link"
    _remove(draft)
    os.symlink(vm.target, draft)
    os.rename(draft, place)


def _remove(path: str) -> None:
    """Remove a file, a link or a directory, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
