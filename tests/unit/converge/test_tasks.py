# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the tasks of a play do to their transaction, each in a process of its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, VrError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES, SPECS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Lock, Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import RemoveFile, Step
from tests.unit.databag.stores import in_child
from tests.unit.databag.support import BODIES

DROP = "vm_dhcp_entry.json"


class Planned:
    """Let services plan steps that are no work; those named differ until they were applied."""

    def __init__(self, differing: set[str], directory: Path) -> None:
        self.differing = differing
        self.directory = directory

    def __call__(self, name: str) -> list[Step]:
        """Return the steps of a service: to remove a file, which is there as long as it differs."""
        path = self.directory / f"differs-{name}"
        if name in self.differing:
            self.differing.remove(name)
            path.touch()
        return [RemoveFile(str(path))] if path.exists() else []


@pytest.fixture(name="paths")
def _paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(log, "FILE", str(tmp_path / "router.log"))
    monkeypatch.setattr(Host, "read_ahead", lambda _system, **_what: None)
    paths = Paths(tmp_path)
    paths.inbox.mkdir(parents=True)
    (paths.inbox / DROP).write_text(json.dumps({**BODIES["dhcpentry"], "type": "dhcpentry"}))
    return paths


def differ(paths: Paths, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these services differ from what is live, and no others."""
    planned = Planned(set(names), paths.root)
    for service in SERVICES:
        monkeypatch.setitem(SERVICES, service, Service(lambda _s, _r, _c, name=service: planned(name)))


def task(paths: Paths, module: str, **parameters: Any) -> dict[str, Any]:
    """Run a module as the next task of a play does."""
    defaults = {name: option.get("default") for name, option in SPECS[module].items()}
    return ENTRIES[module](Call({**defaults, **parameters}, Renderer({}), store=Store(paths)))


def in_force(paths: Paths) -> bool:
    return "dhcpentry" in Store(paths).load()


def test_the_last_service_puts_the_databags_into_force(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    differ(paths, monkeypatch, "firewall", "dhcp_dns")
    plan = task(paths, "vr_plan", drops=[DROP])
    assert plan["services"] == ["firewall", "dhcp_dns"]
    task(paths, "vr_firewall", transaction=plan["transaction"])
    assert not in_force(paths)
    task(paths, "vr_dhcp_dns", transaction=plan["transaction"])
    assert in_force(paths)
    record = Store(paths).read_result(DROP)
    assert record is not None
    assert (record["rc"], record["changed"]) == (0, ["firewall", "dhcp_dns"])
    assert Store(paths).already_processed(DROP)


def test_without_a_service_that_differs_the_plan_does(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    differ(paths, monkeypatch)
    plan = task(paths, "vr_plan", drops=[DROP])
    assert (plan["transaction"], plan["changed"]) == (None, True)
    assert in_force(paths)


def test_the_way_back_puts_nothing_into_force(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is applied on it, and be it the service that would have been the last."""
    differ(paths, monkeypatch, "firewall", "dhcp_dns")
    transaction = task(paths, "vr_plan", drops=[DROP])["transaction"]
    task(paths, "vr_firewall", transaction=transaction)
    differ(paths, monkeypatch, "dhcp_dns")
    back = task(paths, "vr_plan", state="committed", transaction=transaction)
    assert back["services"] == ["dhcp_dns"]
    task(paths, "vr_dhcp_dns", transaction=transaction)
    assert not in_force(paths)
    refused = task(paths, "vr_abort", transaction=transaction, reason="no firewall today")
    assert refused == {"changed": True, "drops": [DROP]}
    assert (paths.failed / f"{DROP}.reason").read_text() == f"{DROP}: no firewall today\n"
    assert not in_force(paths)


def test_boot_arguments_that_somebody_else_has_taken_meanwhile_are_not_judged(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that was waited for took them: a drop that is wrong is judged alone."""
    begin = Store.begin
    boot = paths.inbox / "cmd_line.json"
    boot.write_text("{}")
    (paths.inbox / DROP).write_text("{")

    def wait(store: Store, *arguments: Any, **options: Any) -> Lock:
        lock = begin(store, *arguments, **options)
        store.copy_drop(boot.name)
        store.remove_drops([boot.name])
        return lock

    monkeypatch.setattr(Store, "begin", wait)
    with pytest.raises(VrError, match=DROP):
        task(paths, "vr_plan", drops=[DROP])
    assert Store(paths).already_processed(boot.name)
    assert {path.name for path in paths.failed.iterdir()} == {DROP, f"{DROP}.reason"}


def test_what_cannot_be_recorded_is_in_force_all_the_same(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be kept as failed."""
    differ(paths, monkeypatch)

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_result", full)
    task(paths, "vr_plan", drops=[DROP])
    assert in_force(paths)
    assert not paths.failed.exists()
    assert "in force, but not recorded" in (paths.root / "router.log").read_text()
    Store(paths).begin("the next one", wait=0)


def test_a_record_is_of_this_converge(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    differ(paths, monkeypatch)
    before = time.time()
    task(paths, "vr_plan", drops=[DROP])
    record = Store(paths).read_result(DROP)
    assert record is not None
    assert 0 <= record["duration"] <= time.time() - before + 0.01


def test_a_drop_that_was_taken_at_the_very_end_of_a_killed_converge_is_taken(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In force and archived, but without a record: whoever asks again must not hear that it failed, nor make it so."""
    differ(paths, monkeypatch)
    task(paths, "vr_plan", drops=[DROP])
    (paths.results / f"{DROP}.json").unlink()
    task(paths, "vr_plan", drops=[DROP])
    record = Store(paths).read_result(DROP)
    assert record is not None
    assert record["rc"] == 0
    assert Store(paths).already_processed(DROP)
    differ(paths, monkeypatch, "firewall")
    transaction = task(paths, "vr_plan", drops=[DROP])["transaction"]
    task(paths, "vr_abort", transaction=transaction, reason="no firewall today")
    assert Store(paths).already_processed(DROP)
    assert in_force(paths)


@pytest.mark.parametrize("step", ["write_result", "remove_drops", "end"])
def test_a_converge_that_is_killed_after_its_commit_has_taken_the_drop(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The second one, which the command that waits runs, says so: it finishes, records, and archives."""
    differ(paths, monkeypatch)

    def killed() -> None:
        monkeypatch.setattr(Store, step, lambda *_arguments: os._exit(137))
        defaults = {name: option.get("default") for name, option in SPECS["vr_plan"].items()}
        call = Call({**defaults, "drops": [DROP]}, Renderer({}), owner_pid=os.getpid(), store=Store(paths))
        ENTRIES["vr_plan"](call)

    assert in_child(killed) == 137
    assert in_force(paths)
    task(paths, "vr_plan", drops=[DROP])
    record = Store(paths).read_result(DROP)
    assert record is not None
    assert (record["rc"], record["reason"]) == (0, None)
    assert Store(paths).already_processed(DROP)


def test_so_is_an_aggregate(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    differ(paths, monkeypatch)
    aggregate = paths.inbox / "VR-1.cfg"
    store = Store(paths)
    aggregate.write_bytes(b"whatever was in it")
    store.copy_drop(aggregate.name)
    store.remove_drops([aggregate.name])
    task(paths, "vr_plan", aggregate=str(aggregate))
    record = store.read_result(aggregate.name)
    assert record is not None
    assert record["rc"] == 0
    assert store.already_processed(aggregate.name)
