# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make stores in a directory of their own, and disks that fail at a chosen step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from tests.unit.databag.support import BODIES, drop, encode, ips, rules

DROP = "firewall_rules.json.5a0c"


class StepDisk(Disk):
    """Call a function before each step that changes the disk, with its name and path.

    A write has a step in the middle, when only half of it is in the file.
    """

    def __init__(self, step: Callable[[str, Path], None]) -> None:
        self._step = step

    def write(self, path: Path, data: bytes, *, durable: bool = True) -> None:
        self._step("open", path)
        path.write_bytes(data[: len(data) // 2])
        self._step("write", path)
        super().write(path, data, durable=durable)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", target)
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self._step("sync", path)
        super().sync_directory(path)

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        if not path.is_dir():
            self._step("mkdir", path)
        super().make_directory(path, mode)


def at_step(number: int, act: Callable[[], None]) -> Callable[[str, Path], None]:
    """Return what acts at the step of a number, counted from 0, and lets the others pass."""
    passed = iter(range(1_000_000))

    def step(_name: str, _path: Path) -> None:
        if next(passed) == number:
            act()

    return step


def router(root: Path) -> Paths:
    """Make the directories of a router that has some databags and one drop in its inbox."""
    paths = Paths(root)
    paths.inbox.mkdir(parents=True)
    paths.lock.parent.mkdir(parents=True)
    store = Store(paths)
    store.begin("setup")
    store.stage(merge_all({}, [drop("cmdline"), ips({}), rules("firewallrules", {"id": 1})]))
    store.commit()
    store.end()
    (paths.inbox / DROP).write_bytes(encode("firewallrules", BODIES["firewallrules"]))
    return paths


def converge(store: Store, pid: int = 0) -> None:
    """Do what a converge does with the drop, which here also changes a second databag."""
    store.begin("converge", pid=pid, wait=5)
    bags = store.load()
    changes = [parse_drop(DROP, store.read_drop(DROP)), ips({"public_ip": "192.0.2.77"})]
    store.stage(merge_all(bags, changes))
    store.copy_drop(DROP)
    store.commit()
    store.remove_drops([DROP])
    store.end()


def in_child(act: Callable[[], None]) -> int:
    """Run something in a forked process and return its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001 the child must end here, whatever happened
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
