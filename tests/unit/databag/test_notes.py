# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a transaction notes in its lock, for those of its tasks that come later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store
from tests.unit.databag.stores import router


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return router(tmp_path)


def test_note_adds_up_over_the_tasks_of_a_transaction(paths: Paths) -> None:
    first = Store(paths)
    lock = first.begin("playbook")
    first.note({"ingest": 0.5, "model": 0.25}, 3)
    second = Store(paths)
    second.resume(lock.id)
    second.note({"model": 0.25, "commit": 1.0}, 2)
    noted = second.lock()
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
    lock = first.begin("playbook", Agenda(drops=("ips.json",), keep=False, started=1.5))
    first.agree(replace(first.lock().agenda, services=("firewall", "dhcp_dns"), left=("firewall", "dhcp_dns")))
    second = Store(paths)
    second.resume(lock.id)
    assert not second.applied("firewall")
    third = Store(paths)
    third.resume(lock.id)
    assert third.applied("dhcp_dns")
    assert not third.applied("dhcp_dns")
    assert third.lock().agenda == Agenda(
        drops=("ips.json",), keep=False, started=1.5, services=("firewall", "dhcp_dns"), left=()
    )
