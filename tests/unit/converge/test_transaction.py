# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.transaction import (
    abort,
    begun,
    commit,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store
from tests.unit.databag.support import rules

DROP = "firewall_rules.json"


@pytest.fixture(name="store")
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(log, "FILE", str(tmp_path / "router.log"))
    store = Store(Paths(tmp_path))
    store.paths.inbox.mkdir(parents=True)
    for name in (DROP, "other.json"):
        (store.paths.inbox / name).write_text("{}")
    return store


def begin(store: Store, **about: object) -> str:
    """Begin a transaction of one drop with a rule staged; return its id."""
    agenda = Agenda(**{"drops": (DROP,), "started": time.time(), "begun": time.monotonic(), **about})
    lock = store.begin("playbook", agenda)
    store.stage(merge(store.load(), rules("firewallrules", {"id": 1})))
    return lock.id


def test_a_record_is_told_as_no_work_of_the_service_that_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, tuple[str, ...]]]] = []
    monkeypatch.setattr(log, "_about", {})
    monkeypatch.setattr(log, "to_journal", lambda line, _priority, fields: told.append((line, dict(fields))))
    transaction = begin(store)
    log.about(service="routing")
    commit(store)
    ((line, fields),) = told
    assert line.startswith(f"{DROP}: done")
    assert fields == {"TRANSACTION": (transaction,), "DROP": (DROP,), "SERVICE": ()}


def test_commit_puts_into_force_archives_and_records_what_the_transaction_was_about(store: Store) -> None:
    begin(store, services=("firewall",), pending=("eth3: no such NIC yet",), warnings=("a route",))
    store.note({"ingest": 0.5}, 3)
    assert commit(store) == ["firewallrules"]
    record = store.read_result(DROP)
    assert record is not None
    assert (record["rc"], record["reason"], record["drops"], record["commands"]) == (0, None, 1, 3)
    assert (record["changed"], record["pending"]) == (["firewall"], ["eth3: no such NIC yet"])
    assert record["warnings"] == ["a route"]
    assert f"{DROP}: warning: a route" in (store.paths.root / "router.log").read_text()
    assert record["phases"]["ingest"] == 0.5
    assert "commit" in record["phases"]
    assert store.already_processed(DROP)
    assert "1" in Store(store.paths).load()["firewallrules"]


def test_the_log_says_why_what_was_given_up_is_not_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    given = begin(store)

    def refused(_source: Path, _target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(store._disk, "rename", refused)
    assert begun(Call({"transaction": given}, lambda *_given: "", store=store)) == given
    log = (store.paths.root / "router.log").read_text()
    assert "what was staged is not remembered: [Errno 30] Read-only file system" in log


def test_a_record_says_how_long_it_took_whatever_the_clock_says(store: Store) -> None:
    """The clock was set to a year later, and back, while the converge ran."""
    for number, year in enumerate((-31_536_000, 31_536_000)):
        begin(store, drops=(), started=time.time() + year, begun=time.monotonic() - 2)
        commit(store)
        record = store.read_result("converge")
        assert record is not None, number
        assert 2 <= record["duration"] < 60


def test_commit_keeps_no_copy_unless_it_is_told_to(store: Store) -> None:
    begin(store, keep=False)
    commit(store)
    assert not (store.paths.inbox / DROP).exists()
    assert not store.already_processed(DROP)


def test_abort_keeps_the_drop_with_a_reason_that_names_it(store: Store) -> None:
    begin(store, services=("firewall",))
    abort(store, "nft said no")
    record = store.read_result(DROP)
    assert record is not None
    assert (record["rc"], record["reason"], record["changed"]) == (1, f"{DROP}: nft said no", [])
    assert (store.paths.failed / f"{DROP}.reason").read_text() == f"{DROP}: nft said no\n"
    assert "firewallrules" not in Store(store.paths).load()


def test_abort_judges_nobody_when_drops_were_taken_along(store: Store) -> None:
    """Each is converged alone after that, and finds itself where it was."""
    begin(store, waiting=("other.json",))
    abort(store, "nft said no")
    assert store.read_result(DROP) is None
    assert {path.name for path in store.paths.inbox.iterdir()} >= {DROP, "other.json"}
    store.begin("the next one", wait=0)


def test_a_service_that_was_not_planned_ends_nothing(store: Store) -> None:
    """On the way back nothing is left: what is applied then must not put anything into force."""
    store.begin("playbook", Agenda(services=("firewall",)))
    assert not store.applied("firewall")
    assert not store.applied("metadata")


def test_files_of_an_agenda_are_all_that_end_with_it() -> None:
    assert Agenda(drops=("a", "b"), waiting=("c",), aggregate="VR-1.cfg").files == ("a", "b", "c", "VR-1.cfg")
    assert Agenda().files == ()
