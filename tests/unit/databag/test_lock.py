# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import lock as lock_module
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store
from tests.unit.databag.stores import in_child, router
from tests.unit.databag.support import rules

COMMAND = Path(__file__).resolve().parents[3] / "lib/vrlib/command.py"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return router(tmp_path)


def change_lock(paths: Paths, **changes: Any) -> None:
    lock = json.loads(paths.lock.read_text())
    assert set(changes) <= set(lock)
    paths.lock.write_text(json.dumps({**lock, **changes}).ljust(4096))


def free_again(paths: Paths) -> bool:
    """Tell whether another transaction may begin at once."""
    try:
        Store(paths).begin("other", wait=0)
    except TransactionError:
        return False
    return True


def test_begin_refuses_after_waiting(paths: Paths) -> None:
    Store(paths).begin("first", pid=os.getpid())
    start = time.monotonic()
    with pytest.raises(TransactionError) as caught:
        Store(paths).begin("second", wait=0.2)
    assert time.monotonic() - start >= 0.2
    waited = f"first (process {os.getpid()}) has not ended within 0 s"
    assert str(caught.value) == f"{waited}; /opt/cloud/bin/vr-unlock ends it"


def test_begin_waits_for_its_turn(paths: Paths) -> None:
    first = Store(paths)
    first.begin("first")
    timer = threading.Timer(0.3, first.end)
    timer.start()
    start = time.monotonic()
    Store(paths).begin("second", wait=10)
    assert 0.25 < time.monotonic() - start < 5
    timer.join()


def test_begin_takes_the_lock_of_a_killed_owner(paths: Paths) -> None:
    assert in_child(lambda: asdict(Store(paths).begin("child", pid=os.getpid())) and None) == 0
    assert paths.lock.exists()
    assert free_again(paths)


def test_begin_takes_the_lock_of_a_zombie(paths: Paths) -> None:
    """A killed owner stays in the process table until its parent looks."""
    pid = os.fork()
    if pid == 0:
        Store(paths).begin("child", pid=os.getpid())
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert free_again(paths)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, False),
        ({"boot": "another"}, True),
        ({"started": 1}, True),
        ({"expires": 0.0}, True),
        ({"pid": 0, "started": 0, "idle": 0.0}, True),
        ({"pid": 0, "started": 0}, False),
    ],
)
def test_begin_takes_the_lock_when_the_owner_is_gone(paths: Paths, changes: dict[str, Any], free: bool) -> None:
    Store(paths).begin("first", pid=os.getpid())
    change_lock(paths, **changes)
    assert free_again(paths) is free


@pytest.mark.parametrize("junk", ["", "junk", "{}", "[]", '{"id": 1}'])
def test_begin_takes_a_lock_that_is_none(paths: Paths, junk: str) -> None:
    paths.lock.write_text(junk)
    assert free_again(paths)


@pytest.mark.parametrize("noted", [{"along": ["other.json"]}, {"colour": "red"}])
def test_a_lock_of_another_release_guards_as_well(paths: Paths, noted: dict[str, Any]) -> None:
    """An upgrade changes the code beside a converge that runs."""
    Store(paths).begin("before the upgrade", pid=os.getpid())
    agenda = json.loads(paths.lock.read_text())["agenda"]
    del agenda["waiting"]
    change_lock(paths, agenda={**agenda, **noted})
    assert not free_again(paths)
    lock = json.loads(paths.lock.read_text())
    paths.lock.write_text(json.dumps({**lock, **noted}))
    assert not free_again(paths)


def test_begin_refuses_an_owner_that_does_not_exist(paths: Paths) -> None:
    with pytest.raises(TransactionError, match="there is no process"):
        Store(paths).begin("nobody", pid=2**22 + 1)


def test_a_lost_transaction_changes_nothing(paths: Paths) -> None:
    slow = Store(paths)
    slow.begin("slow", held=0.01)
    before = slow.load()
    after = merge(before, rules("firewallrules", {"id": 7}))
    slow.stage(after)
    time.sleep(0.02)
    quick = Store(paths)
    quick.begin("quick", wait=1)
    for act in (slow.commit, slow.discard, slow.recover, lambda: slow.stage(after)):
        with pytest.raises(TransactionError, match="another one has the lock"):
            act()
    slow.end()
    assert not free_again(paths)
    quick.stage(after)
    quick.commit()
    assert Store(paths).load() == after


def test_resume_renews_the_lock(paths: Paths) -> None:
    store = Store(paths)
    lock = store.begin("first", held=100)
    change_lock(paths, expires=1.0)
    renewed = store.resume(lock.id)
    assert renewed.expires >= lock.expires
    assert not free_again(paths)


def killed(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process was killed within two seconds."""
    try:
        return process.wait(2) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture
def module() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that runs for a minute, as a module does that a control node has sent."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def held_by(paths: Paths, process: subprocess.Popen[bytes], **changes: Any) -> None:
    """Let a task of a run from elsewhere hold the lock, and run in this process."""
    Store(paths).begin("playbook")
    started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    change_lock(paths, task=process.pid, started=started, **changes)


def test_a_run_from_elsewhere_holds_the_lock_by_the_process_of_its_task(
    paths: Paths, module: subprocess.Popen[bytes]
) -> None:
    """However long the task takes: the time between two tasks is not the time of a task."""
    held_by(paths, module, idle=0.0)
    assert not free_again(paths)
    assert not killed(module)
    module.kill()
    module.wait()
    assert free_again(paths)


def test_between_two_tasks_a_run_from_elsewhere_has_a_minute(paths: Paths) -> None:
    store = Store(paths)
    lock = store.begin("playbook")
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    store.pause()
    paused = json.loads(paths.lock.read_text())
    assert (paused["pid"], paused["task"]) == (0, 0)
    assert now < paused["idle"] <= now + lock_module.IDLE + 1
    assert lock_module.IDLE < 120
    with pytest.raises(
        TransactionError, match=r"playbook \(run from elsewhere\) has not ended within 0 s; .*vr-unlock"
    ):
        Store(paths).begin("other", wait=0)
    change_lock(paths, idle=0.0)
    assert free_again(paths)
    with pytest.raises(TransactionError, match="no longer ours"):
        Store(paths).resume(lock.id)


def test_the_next_task_takes_the_lock_up_again_though_it_was_late(paths: Paths) -> None:
    store = Store(paths)
    lock = store.begin("playbook")
    store.pause()
    change_lock(paths, idle=0.0)
    assert Store(paths).resume(lock.id).task == os.getpid()
    assert not free_again(paths)


def test_a_local_play_is_never_without_a_process(paths: Paths) -> None:
    store = Store(paths)
    store.begin("playbook", pid=os.getpid())
    before = paths.lock.read_bytes()
    store.pause()
    assert paths.lock.read_bytes() == before


def test_whoever_is_stuck_is_ended_before_the_lock_is_taken_from_him(
    paths: Paths, module: subprocess.Popen[bytes]
) -> None:
    """Else it would go on beside its successor, and change what that has read."""
    os.kill(module.pid, signal.SIGSTOP)
    held_by(paths, module, expires=0.0)
    assert free_again(paths)
    assert killed(module)


def test_no_waiting_time_is_longer_than_that_of_the_commands() -> None:
    """The reason must be heard by the command that the management server runs, which ends after LIMIT seconds."""
    limit = float(re.search(r"^LIMIT = (.*)$", COMMAND.read_text(), re.MULTILINE)[1])  # type: ignore[index]
    assert lock_module.IDLE < lock_module.HELD < lock_module.WAIT < limit


def test_revoke_ends_the_owner_and_lets_the_next_one_in(paths: Paths, module: subprocess.Popen[bytes]) -> None:
    held_by(paths, module)
    ended = Store(paths).revoke()
    assert ended is not None
    assert str(ended) == f"playbook (process {module.pid})"
    assert killed(module)
    assert free_again(paths)


def test_revoke_ends_an_owner_that_was_stopped_with_the_lock(paths: Paths) -> None:
    pid = os.fork()
    if pid == 0:
        Store(paths).begin("playbook")
        with paths.guard.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    assert Store(paths).revoke() is not None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert free_again(paths)


def test_revoke_waits_for_a_lock_that_is_half_written(paths: Paths) -> None:
    """On a full disk it is written over the old one, and `revoke` does not ask for the guard."""
    Store(paths).begin("first")
    whole = paths.lock.read_text()
    paths.lock.write_text(whole[:40])
    timer = threading.Timer(0.3, paths.lock.write_text, [whole])
    timer.start()
    ended = Store(paths).revoke()
    assert ended is not None
    assert ended.owner == "first"
    timer.join()
    assert free_again(paths)


def test_revoke_of_a_lock_that_is_none_ends_nobody(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_OVERWRITE", 0.1)
    paths.lock.write_text("junk")
    assert Store(paths).revoke() is None
    assert free_again(paths)


def test_revoke_without_an_owner(paths: Paths) -> None:
    assert Store(paths).revoke() is None
    assert free_again(paths)


def test_revoke_kills_nobody_who_has_the_number_of_an_owner_that_is_gone(
    paths: Paths, module: subprocess.Popen[bytes]
) -> None:
    held_by(paths, module)
    change_lock(paths, started=1)
    assert Store(paths).revoke() is not None
    assert not killed(module)


class FullDisk(Disk):
    """Take no new file."""

    def write(self, path: Path, data: bytes, *, durable: bool = True) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_way_back_needs_no_room_for_its_lock(paths: Paths) -> None:
    """Renewed over the old one, and what is struck off it is gone: else the way back would put drops into force."""
    first = Store(paths)
    lock = first.begin("playbook", Agenda(drops=("ips.json",), left=("firewall",)))
    change_lock(paths, idle=1.0)
    back = Store(paths, disk=FullDisk())
    back.resume(lock.id)
    back.agree(replace(back.lock().agenda, left=()))
    assert back.lock().idle > 1.0
    assert back.lock().agenda == Agenda(drops=("ips.json",))
    assert not back.applied("firewall")
    back.end()
    assert free_again(paths)


class ReadOnlyDisk(FullDisk):
    """Take no write at all."""

    def overwrite(self, path: Path, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_lock_that_cannot_be_renewed_is_ours_as_long_as_it_was(paths: Paths) -> None:
    lock = Store(paths).begin("playbook")
    store = Store(paths, disk=ReadOnlyDisk())
    store.resume(lock.id)
    assert store.lock().expires == lock.expires


def test_a_transaction_keeps_room_for_its_way_back(paths: Paths) -> None:
    store = Store(paths)
    store.begin("playbook")
    blocks = paths.reserve.stat().st_blocks * 512
    assert blocks >= 1024 * 1024, "zeros that take no room are no reserve"
    store.make_room()
    assert not paths.reserve.exists()


def test_resume_of_a_lost_transaction_is_refused(paths: Paths) -> None:
    with pytest.raises(TransactionError, match="transaction abc is no longer ours"):
        Store(paths).resume("abc")


def test_a_lock_that_is_never_released_is_reported(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_GUARD_WAIT", 0.1)
    with paths.guard.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransactionError, match="stays locked"):
            Store(paths).begin("other", wait=0)


def test_many_at_once_all_count(paths: Paths) -> None:
    """N10: in the original one of two concurrent changes is lost with exit status 0."""
    children = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                add_rule(paths, 100 + number)
            except BaseException:  # noqa: BLE001 the child must end here, whatever happened
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 8
    assert {str(100 + number) for number in range(8)} <= set(Store(paths).load()["firewallrules"])


def add_rule(paths: Paths, number: int) -> None:
    store = Store(paths)
    store.begin("child", pid=os.getpid(), wait=30)
    store.stage(merge(store.load(), rules("firewallrules", {"id": number})))
    store.commit()
    store.end()
