# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kill the process, and fill the disk, at every single step of a transaction."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from tests.unit.databag.stores import DROP, StepDisk, at_step, converge, in_child, router
from tests.unit.databag.support import rules

KILLED = 137


def die() -> None:
    # As SIGKILL: no handler, no finally, no buffer is flushed.
    os._exit(KILLED)


def killed_at(paths: Paths, number: int) -> bool:
    """Run a converge that is killed at a step; tell whether it had that many."""

    def run() -> None:
        converge(Store(paths, disk=StepDisk(at_step(number, die))), pid=os.getpid())

    status = in_child(run)
    assert status in (0, KILLED)
    return status == KILLED


def filled_up_at(paths: Paths, number: int) -> bool:
    """Run a converge whose disk fills up at a step; tell whether it had that many."""
    full = list[int]()

    def fill_up() -> None:
        full.append(number)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(paths, disk=StepDisk(at_step(number, fill_up)))
    try:
        converge(store)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        store.end()
    return bool(full)


def both_states(root: Path) -> tuple[dict[str, Bag], dict[str, Bag]]:
    """Return the databags before and after the converge."""
    paths = router(root)
    old = Store(paths).load()
    converge(Store(paths))
    return old, Store(paths).load()


def check_whole(paths: Paths, old: dict[str, Bag], new: dict[str, Bag]) -> bool:
    """Check that the databags are one set or the other and nothing is lost; tell whether they are the new one."""
    seen = Store(paths).load()
    assert seen in (old, new)
    store = Store(paths)
    store.begin("after", wait=1)
    assert store.load() == seen
    assert not paths.journal.exists()
    assert not any(paths.staged.iterdir()) if paths.staged.exists() else True
    drop_waits = (paths.inbox / DROP).exists()
    assert drop_waits or (seen == new and store.already_processed(DROP))
    store.end()
    return seen == new


def test_a_kill_at_any_step_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    old, new = both_states(tmp_path / "model")
    states = []
    number = 0
    while killed_at(paths := router(tmp_path / str(number)), number):
        states.append(check_whole(paths, old, new))
        if (paths.inbox / DROP).exists():
            # The next run takes the drop as if nothing had happened.
            converge(Store(paths))
        assert Store(paths).load() == new
        assert Store(paths).already_processed(DROP)
        number += 1
    assert number > 25
    # There is one instant at which the commit happens: old before it, new ever after.
    assert states == sorted(states)
    assert set(states) == {False, True}


def test_a_kill_while_recovering_from_a_kill(tmp_path: Path) -> None:
    old, new = both_states(tmp_path / "model")
    recoveries = 0
    number = 0
    while killed_at(paths := router(tmp_path / f"count{number}"), number):
        number += 1
        if not paths.journal.exists():
            continue
        for again in range(20):
            paths = router(tmp_path / f"{number}-{again}")
            killed_at(paths, number - 1)
            recover = StepDisk(at_step(again, die))
            if in_child(lambda paths=paths, recover=recover: recovering(paths, recover)) == 0:
                break
            recoveries += 1
            assert check_whole(paths, old, new)
    assert recoveries > 10


def recovering(paths: Paths, disk: StepDisk) -> None:
    Store(paths, disk=disk).begin("second", pid=os.getpid(), wait=1)


def test_a_full_disk_at_any_step_is_reported_and_leaves_one_set(tmp_path: Path) -> None:
    """J3: what was committed stays, and when there is room again the drop goes through."""
    old, new = both_states(tmp_path / "model")
    number = 0
    while filled_up_at(paths := router(tmp_path / str(number)), number):
        check_whole(paths, old, new)
        if (paths.inbox / DROP).exists():
            converge(Store(paths))
        assert Store(paths).load() == new
        number += 1
    assert number > 25


def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    """The limit on file sizes fails in the middle of a write, as a full disk does."""
    paths = router(tmp_path)
    before = Store(paths).load()

    def run() -> None:
        store = Store(paths)
        store.begin("child")
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
        with pytest.raises(OSError, match="File too large"):
            store.stage(merge(before, rules("firewallrules", {"id": 7})))
        assert not any(paths.staged.iterdir())

    assert in_child(run) == 0
    assert Store(paths).load() == before


def test_a_power_cut_finds_everything_on_disk_before_what_relies_on_it(tmp_path: Path) -> None:
    """A rename may reach the disk before the content it names, unless content and directory were synced."""
    paths = router(tmp_path)
    done: list[tuple[str, Path]] = []
    converge(Store(paths, disk=StepDisk(lambda name, path: done.append((name, path)))))
    journal = done.index(("rename", paths.journal))
    staged = [i for i, (name, path) in enumerate(done) if name == "rename" and path.parent == paths.staged]
    moved = [
        i
        for i, (name, path) in enumerate(done)
        if name == "rename" and path.parent == paths.databags and path.suffix == ".json"
    ]
    forgotten = done.index(("remove", paths.journal))
    synced = [i for i, step in enumerate(done) if step == ("sync", paths.databags)]
    archived = done.index(("remove", paths.inbox / DROP))
    assert len(staged) == len(moved) == 2
    assert done.index(("sync", paths.staged), staged[-1]) < journal
    assert any(journal < i < moved[0] for i in synced)
    assert any(moved[-1] < i < forgotten for i in synced)
    assert any(forgotten < i < archived for i in synced)
    assert done.index(("sync", paths.processed)) < archived
