# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import store as store_module
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    TransactionError,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.journal import UNDONE
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.text import dump_bag
from tests.unit.databag.stores import DROP, converge, router
from tests.unit.databag.support import drop, ips, merged, rules


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return router(tmp_path)


@pytest.fixture
def store(paths: Paths) -> Store:
    """Return a store inside a transaction."""
    made = Store(paths)
    made.begin("test")
    return made


def times(paths: Paths) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in paths.databags.glob("*.json")}


def test_load_of_a_fresh_router_is_empty(tmp_path: Path) -> None:
    assert Store(Paths(tmp_path)).load() == {}


def test_commit_makes_the_staged_databags_the_loaded_ones(store: Store, paths: Paths) -> None:
    before = store.load()
    after = merge(before, rules("firewallrules", {"id": 7}))
    assert store.stage(after) == ["firewallrules"]
    assert Store(paths).load() == before
    assert Store(paths).load_staged() == after
    assert store.commit() == ["firewallrules"]
    assert Store(paths).load() == after
    assert list(paths.staged.iterdir()) == []
    assert not paths.journal.exists()


def test_discard_leaves_the_committed_databags(store: Store, paths: Paths) -> None:
    before = store.load()
    store.stage(merge(before, rules("firewallrules", {"id": 7})))
    store.discard()
    assert store.commit() == []
    assert Store(paths).load() == before


def test_stage_again_replaces_what_was_staged(store: Store) -> None:
    before = store.load()
    store.stage(merge(before, ips({"public_ip": "192.0.2.99"})))
    after = merge(before, rules("firewallrules", {"id": 7}))
    assert store.stage(after) == ["firewallrules"]
    assert store.load_staged() == after


def test_commit_of_the_same_touches_no_file(store: Store, paths: Paths) -> None:
    before = times(paths)
    assert store.stage(merge(store.load(), rules("firewallrules", {"id": 1}))) == []
    assert store.stage(json.loads(json.dumps(store.load()))) == []
    assert store.commit() == []
    assert times(paths) == before


def test_stage_does_not_even_look_at_databags_that_came_out_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small drop on a router with 10,000 rules must not write them all as text to find them unchanged."""
    looked_at = []
    monkeypatch.setattr(store_module, "dump_bag", lambda bag: looked_at.append(bag["id"]) or dump_bag(bag))
    store.stage(merge(store.load(), rules("firewallrules", {"id": 7})))
    assert looked_at == ["firewallrules"]


def test_a_file_left_by_a_kill_does_not_lend_its_mode(store: Store, paths: Paths) -> None:
    (paths.lock.parent / ".transaction.json.tmp").touch(mode=0o644)
    store.resume(json.loads(paths.lock.read_text())["id"])
    assert paths.lock.stat().st_mode & 0o777 == 0o600


def test_commit_writes_only_what_differs(store: Store, paths: Paths) -> None:
    before = times(paths)
    store.stage(merge(store.load(), rules("firewallrules", {"id": 7})))
    store.commit()
    assert {name for name, when in times(paths).items() if before.get(name) != when} == {"firewallrules.json"}


def test_databags_are_private_and_as_the_original_writes_them(store: Store, paths: Paths) -> None:
    old = os.umask(0)
    try:
        store.stage(merged(drop("site2sitevpn")))
        store.commit()
    finally:
        os.umask(old)
    path = paths.databags / "site2sitevpn.json"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert paths.staged.stat().st_mode & 0o7777 == 0o700
    assert path.read_text() == json.dumps(merged(drop("site2sitevpn"))["site2sitevpn"], indent=2, sort_keys=True)


def test_databags_of_the_original_are_taken_over(paths: Paths) -> None:
    """They get our shape and mode with the first commit, though nothing in them changed."""
    path = paths.databags / "vpnuserlist.json"
    gone = {"user": "bob", "password": "x", "add": False}
    path.write_text(json.dumps({"id": "vpnuserlist", "bob": gone}))
    path.chmod(0o644)
    store = Store(paths)
    store.begin("test")
    bags = store.load()
    assert bags["vpnuserlist"] == {"id": "vpnuserlist"}
    assert store.stage(bags) == ["vpnuserlist"]
    store.commit()
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.stage(store.load()) == []


def test_load_ignores_files_that_are_no_databags(store: Store, paths: Paths) -> None:
    (paths.databags / "other.json").write_text("junk")
    (paths.databags / "ips.json.bak").write_text("junk")
    assert set(store.load()) <= set(BAGS)


def test_load_reports_a_damaged_databag_and_leaves_it(store: Store, paths: Paths) -> None:
    """The original replaces it by an empty one."""
    (paths.databags / "ips.json").write_text('{"id": "ips", ')
    with pytest.raises(DatabagError) as caught:
        store.load()
    assert str(caught.value).startswith(f"{paths.databags}/ips.json: damaged databag: not JSON")
    assert (paths.databags / "ips.json").read_text() == '{"id": "ips", '


def test_load_prefers_what_an_unfinished_commit_has_staged(store: Store, paths: Paths) -> None:
    before = store.load()
    after = merge(merge(before, rules("firewallrules", {"id": 7})), ips({"public_ip": "192.0.2.99"}))
    store.stage(after)
    paths.journal.write_text(json.dumps({"bags": ["firewallrules", "ips"]}))
    os.rename(paths.staged / "ips.json", paths.databags / "ips.json")
    assert Store(paths).load() == after


def test_begin_gives_up_what_was_only_staged(store: Store, paths: Paths) -> None:
    """And remembers it until the next commit: it may have let connections in (B18)."""
    before = store.load()
    staged = merge(before, rules("firewallrules", {"id": 7}))
    for _same in range(2):
        store.stage(staged)
        store.end()
        store = Store(paths)
        store.begin("other")
        assert store.load_staged() == before
        assert not paths.staged.exists() or list(paths.staged.iterdir()) == []
        assert list(store.undone(before)) == [staged]
    store.commit()
    assert list(store.undone(before)) == []
    assert [entry.name for entry in paths.databags.iterdir() if "undone" in entry.name] == []


def test_what_was_given_up_is_remembered_of_each_transaction_within_bounds(store: Store, paths: Paths) -> None:
    before = store.load()
    for number in range(UNDONE + 3):
        store.stage(merge(before, rules("firewallrules", {"id": 100 + number})))
        store.set_aside()
    assert len(list(store.undone(before))) == UNDONE
    assert store.load_staged() == before
    store.forget_undone()
    assert list(store.undone(before)) == []


def test_a_full_disk_does_not_keep_what_is_staged_from_being_given_up(store: Store, paths: Paths) -> None:
    before = store.load()
    store.stage(merge(before, rules("firewallrules", {"id": 7})))

    class Full(Disk):
        def rename(self, source: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, "no space left on device")

    store._journal._disk = Full()
    assert isinstance(store.set_aside(), OSError)
    assert store.load_staged() == before
    assert list(store.undone(before)) == []


@pytest.mark.parametrize("journal", ['{"bags": ["firewallrules", "ips"]}', "", "junk", '{"bags": 7}'])
def test_begin_finishes_the_commit_of_a_journal(store: Store, paths: Paths, journal: str) -> None:
    """Also of a damaged one: that it is there says that all that is staged was staged whole."""
    after = merge(merge(store.load(), rules("firewallrules", {"id": 7})), ips({"public_ip": "192.0.2.99"}))
    store.stage(after)
    paths.journal.write_text(journal)
    os.rename(paths.staged / "ips.json", paths.databags / "ips.json")
    store.end()
    other = Store(paths)
    other.begin("other")
    assert other.load() == after
    assert not paths.journal.exists()


def test_begin_removes_a_journal_of_a_commit_that_was_finished(store: Store, paths: Paths) -> None:
    before = store.load()
    paths.journal.write_text("junk")
    store.end()
    other = Store(paths)
    other.begin("other")
    assert other.load() == before
    assert not paths.journal.exists()


def test_stage_refuses_what_is_no_databag(store: Store) -> None:
    with pytest.raises(ValueError, match=r"\.\./x is no databag"):
        store.stage({"../x": {"id": "x"}})


@pytest.mark.parametrize("change", ["stage", "commit", "discard", "recover"])
def test_changes_need_a_transaction(paths: Paths, change: str) -> None:
    store = Store(paths)
    arguments = [{}] if change == "stage" else []
    with pytest.raises(TransactionError, match="no transaction was begun"):
        getattr(store, change)(*arguments)


def test_resume_goes_on_in_another_process(store: Store, paths: Paths) -> None:
    after = merge(store.load(), rules("firewallrules", {"id": 7}))
    store.stage(after)
    lock_id = json.loads(paths.lock.read_text())["id"]
    later = Store(paths)
    later.resume(lock_id)
    later.commit()
    later.end()
    assert Store(paths).load() == after
    assert not paths.lock.exists()


def test_converge_archives_the_drop(paths: Paths) -> None:
    converge(Store(paths))
    store = Store(paths)
    assert store.already_processed(DROP)
    assert set(store.load()["firewallrules"]) == {"id", "1", "101"}


def test_what_is_not_staged_is_clean_and_need_not_be_checked_again(store: Store, paths: Paths) -> None:
    """A file of ours with leftovers, of the original or an editor, is written anew: a revoked rule opens nothing."""
    store.stage(merge(store.load(), rules("firewallrules", {"id": 1}, {"id": 2})))
    store.commit()
    store.end()
    path = paths.databags / "firewallrules.json"
    left = json.loads(path.read_text())
    left["2"]["revoked"] = True
    path.write_text(json.dumps(left))
    again = Store(paths)
    again.begin("second", wait=0)
    clean = again.load()
    assert clean["firewallrules"].keys() == {"1", "id"}
    assert again.stage(clean) == ["firewallrules"]
    assert again.load_staged(checked=True) == again.load(checked=True) == clean
