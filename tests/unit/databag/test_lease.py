# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import lease as lease_module
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store
from tests.unit.databag.stores import in_child, router
from tests.unit.databag.support import rules


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return router(tmp_path)


def change_lease(paths: Paths, **changes: Any) -> None:
    lease = json.loads(paths.lease.read_text())
    assert set(changes) <= set(lease)
    paths.lease.write_text(json.dumps({**lease, **changes}))


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
    assert str(caught.value) == f"first (process {os.getpid()}) has not ended within 0 s"


def test_begin_waits_for_its_turn(paths: Paths) -> None:
    first = Store(paths)
    first.begin("first")
    timer = threading.Timer(0.3, first.end)
    timer.start()
    start = time.monotonic()
    Store(paths).begin("second", wait=10)
    assert 0.25 < time.monotonic() - start < 5
    timer.join()


def test_begin_takes_over_from_a_killed_owner(paths: Paths) -> None:
    assert in_child(lambda: asdict(Store(paths).begin("child", pid=os.getpid())) and None) == 0
    assert paths.lease.exists()
    assert free_again(paths)


def test_begin_takes_over_from_a_zombie(paths: Paths) -> None:
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
        ({"pid": 0, "expires": 0.0}, True),
        ({"pid": 0}, False),
    ],
)
def test_begin_takes_over_when_the_owner_is_gone(paths: Paths, changes: dict[str, Any], free: bool) -> None:
    Store(paths).begin("first", pid=os.getpid())
    change_lease(paths, **changes)
    assert free_again(paths) is free


@pytest.mark.parametrize("junk", ["", "junk", "{}", "[]", '{"id": 1}'])
def test_begin_takes_a_lease_that_is_none(paths: Paths, junk: str) -> None:
    paths.lease.write_text(junk)
    assert free_again(paths)


def test_begin_refuses_an_owner_that_does_not_exist(paths: Paths) -> None:
    with pytest.raises(TransactionError, match="there is no process"):
        Store(paths).begin("nobody", pid=2**22 + 1)


def test_a_lost_transaction_changes_nothing(paths: Paths) -> None:
    slow = Store(paths)
    slow.begin("slow", ttl=0.01)
    before = slow.load()
    after = merge(before, rules("firewallrules", {"id": 7}))
    slow.stage(after)
    time.sleep(0.02)
    quick = Store(paths)
    quick.begin("quick", wait=1)
    for act in (slow.commit, slow.discard, slow.recover, lambda: slow.stage(after)):
        with pytest.raises(TransactionError, match="another one has taken over"):
            act()
    slow.end()
    assert not free_again(paths)
    quick.stage(after)
    quick.commit()
    assert Store(paths).load() == after


def test_resume_renews_the_lease(paths: Paths) -> None:
    store = Store(paths)
    lease = store.begin("first", ttl=100)
    change_lease(paths, expires=1.0)
    renewed = store.resume(lease.id)
    assert renewed.expires >= lease.expires
    assert not free_again(paths)


def test_resume_of_a_lost_transaction_is_refused(paths: Paths) -> None:
    with pytest.raises(TransactionError, match="transaction abc is no longer ours"):
        Store(paths).resume("abc")


def test_a_lock_that_is_never_released_is_reported(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_LOCK_WAIT", 0.1)
    with paths.lock.open("w") as lock:
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


def test_note_adds_up_over_the_tasks_of_a_transaction(paths: Paths) -> None:
    first = Store(paths)
    lease = first.begin("playbook")
    first.note({"ingest": 0.5, "model": 0.25}, 3)
    second = Store(paths)
    second.resume(lease.id)
    second.note({"model": 0.25, "commit": 1.0}, 2)
    noted = second.lease()
    assert noted.phases == {"ingest": 0.5, "model": 0.5, "commit": 1.0}
    assert noted.commands == 5


def test_note_is_gone_with_the_transaction(paths: Paths) -> None:
    store = Store(paths)
    store.begin("first")
    store.note({"ingest": 0.5}, 3)
    store.end()
    assert store.begin("second").phases == {}


def test_the_agenda_goes_from_task_to_task_until_its_last_service(paths: Paths) -> None:
    first = Store(paths)
    lease = first.begin("playbook", Agenda(drops=("ips.json",), keep=False, started=1.5))
    first.agree(replace(first.lease().agenda, services=("firewall", "dhcp_dns"), left=("firewall", "dhcp_dns")))
    second = Store(paths)
    second.resume(lease.id)
    assert not second.applied("firewall")
    third = Store(paths)
    third.resume(lease.id)
    assert third.applied("dhcp_dns")
    assert not third.applied("dhcp_dns")
    assert third.lease().agenda == Agenda(
        drops=("ips.json",), keep=False, started=1.5, services=("firewall", "dhcp_dns"), left=()
    )


def test_a_service_that_was_not_planned_ends_nothing(paths: Paths) -> None:
    """On the way back nothing is left: what is applied then must not put anything into force."""
    store = Store(paths)
    store.begin("playbook", Agenda(services=("firewall",)))
    assert not store.applied("firewall")
    assert not store.applied("metadata")


def test_files_of_an_agenda_are_all_that_end_with_it() -> None:
    assert Agenda(drops=("a", "b"), along=("c",), aggregate="VR-1.cfg").files == ("a", "b", "c", "VR-1.cfg")
    assert Agenda().files == ()
