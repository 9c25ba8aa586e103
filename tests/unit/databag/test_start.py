# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A start by the management server begins with empty databags, and nothing that is sent in its boot is lost."""

from __future__ import annotations

import itertools
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.drops import deliver
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import start
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DatabagError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import START, Bag, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.start import Boot, take
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store, parse_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.text import dump_bag
from tests.unit.databag.stores import StepDisk, at_step, in_child
from tests.unit.databag.support import ARGUMENTS, ENTRY, TIER, drop, filled, rules

FIRST, SECOND, THIRD = (Boot(f"boot{number}", 5.0) for number in range(3))


def arguments(mark: str | None, **changes: str) -> Drop:
    """Return boot arguments; those of the hypervisor's agent have the mark of their writing."""
    marked = {} if mark is None else {"written": mark}
    return drop("cmdline", cmd_line={**ARGUMENTS, **changes}, **marked)


def rule(number: int) -> Drop:
    return rules("firewallrules", {"id": number})


def entry(host: int, **changes: Any) -> Drop:
    given = {"mac_address": f"02:01:00:00:00:{host:02x}", "ipv4_address": f"10.1.1.{host}", "host_name": f"vm-{host}"}
    return drop("dhcpentry", **{**ENTRY, **given, **changes})


def password(host: int, text: str = "secret") -> Drop:
    return drop("vmpassword", ip_address=f"10.1.1.{host}", password=text)


def life(*steps: tuple[Boot, list[Drop]], bags: dict[str, Bag] | None = None) -> dict[str, Bag]:
    """Return the databags after converges, each in a boot and with some drops; they go through their files."""
    found = bags or {}
    for boot, drops in steps:
        taken = take(found, drops, boot).bags
        found = {name: parse_bag(name, name, dump_bag(bag)) for name, bag in taken.items()}
        assert found == taken
    return found


def known(bags: dict[str, Bag]) -> set[str]:
    """Return the numbers of the firewall rules."""
    return set(bags.get("firewallrules", {})) - {"id"}


BEFORE = life((FIRST, [arguments("a")]), (FIRST, [rule(1), rule(2)]))
"""A router that the server started, with two rules; the second is revoked while it is stopped."""


def test_a_start_begins_empty_and_its_later_parts_take_nothing_away() -> None:
    started = take(BEFORE, [arguments("b")], SECOND)
    assert started.started
    assert known(started.bags) == set()
    bags = life((SECOND, [rule(1)]), (SECOND, [rule(3)]), bags=started.bags)
    assert known(bags) == {"1", "3"}


def test_what_comes_with_the_arguments_is_kept() -> None:
    assert known(life((SECOND, [arguments("b"), rule(1)]), bags=BEFORE)) == {"1"}


def test_a_reboot_without_arguments_keeps_everything_and_so_does_the_next() -> None:
    bags = life((SECOND, []), (SECOND, [rule(3)]), (THIRD, []), (THIRD, [rule(4)]), bags=BEFORE)
    assert known(bags) == {"1", "2", "3", "4"}


def test_a_reboot_with_nothing_sent_writes_nothing() -> None:
    assert take(BEFORE, [], SECOND).bags == BEFORE


def test_a_drop_of_a_started_router_writes_nothing_about_the_start() -> None:
    assert take(BEFORE, [rule(3)], FIRST).bags[START] is BEFORE[START]


def test_arguments_that_come_late_lose_nothing_of_their_boot() -> None:
    """Drops, one converge of several, and a removal of what is of the life before."""
    gone = rules("firewallrules", {"id": 4, "revoked": True})
    early = [(SECOND, [rule(3)]), (SECOND, [rule(4), entry(11)]), (SECOND, [gone])]
    bags = life(*early, bags=BEFORE)
    assert known(bags) == {"1", "2", "3"}
    bags = life((SECOND, [arguments("b"), rule(5)]), bags=bags)
    assert known(bags) == {"3", "5"}
    assert "10.1.1.11" in bags["dhcpentry"]
    assert "drops" not in bags[START], "secrets among them are gone"


@pytest.mark.parametrize("mark", ["b", "c"])
def test_arguments_that_come_twice_in_a_boot_empty_once(mark: str) -> None:
    """Identical ones, whose writing was not deleted yet, and others."""
    bags = life((SECOND, [arguments("b")]), (SECOND, [rule(1)]), bags=BEFORE)
    again = take(bags, [arguments(mark, domain="changed.example")], SECOND)
    assert not again.started
    assert known(again.bags) == {"1"}
    assert again.bags["cmdline"]["config"]["domain"] == "changed.example"


@pytest.mark.parametrize("mark", ["b", "c"])
def test_arguments_that_were_taken_but_not_deleted_are_no_start_after_a_reboot(mark: str) -> None:
    """`c` was written a second time, merged, and not deleted either."""
    bags = life((SECOND, [arguments("b")]), (SECOND, [rule(1)]), (SECOND, [arguments(mark)]), bags=BEFORE)
    later = take(bags, [arguments(mark)], THIRD)
    assert not later.started
    assert known(life((THIRD, [rule(4)]), bags=later.bags)) == {"1", "4"}


def test_arguments_that_could_not_be_taken_before_a_reboot_are_a_start_after_it() -> None:
    assert take(BEFORE, [arguments("b")], THIRD).started


def test_arguments_without_a_mark_are_a_drop_like_any() -> None:
    """Somebody changes them by hand: update_config.py cmd_line.json."""
    for boot in (FIRST, SECOND):
        changed = take(BEFORE, [arguments(None, domain="other.example")], boot)
        assert not changed.started
        assert known(changed.bags) == {"1", "2"}


def test_arguments_that_come_very_late_are_merged() -> None:
    """What was sent in this boot is not written down for ever; then nothing is emptied either."""
    late = Boot(SECOND.name, start.PATIENCE + 1)
    bags = life((SECOND, [rule(3)]), (late, [rule(4)]), bags=BEFORE)
    assert "drops" not in bags[START]
    after = take(bags, [arguments("b")], late)
    assert not after.started
    assert known(after.bags) == {"1", "2", "3", "4"}


def test_arguments_that_come_very_late_when_nothing_was_sent_are_a_start() -> None:
    assert take(BEFORE, [arguments("b")], Boot(SECOND.name, start.PATIENCE * 100)).started


def test_a_flood_before_the_arguments_is_not_written_down_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "MOST_DROPS", 3)
    bags = life(*((SECOND, [rule(number)]) for number in range(10, 14)), bags=BEFORE)
    assert "drops" not in bags[START]
    bags = life((SECOND, [arguments("b")]), (SECOND, [rule(20)]), bags=bags)
    assert known(bags) == {"1", "2", "10", "11", "12", "13", "20"}


def test_an_early_drop_that_does_not_fit_the_arguments_is_told_and_stops_nothing() -> None:
    """An alias of a guest network that the arguments no longer give."""
    alias = drop("ipaliases")
    bags = life((SECOND, [alias, rule(3)]), bags=BEFORE)
    found = take(bags, [arguments("b", type="vpcrouter")], SECOND)
    assert found.left_out == ("ipaliases.json",)
    assert known(found.bags) == {"3"}


def test_the_order_in_which_arguments_and_drops_come_does_not_matter() -> None:
    """One boot, the same five converges in every order: late arguments end where early ones do."""
    steps: list[tuple[Boot, list[Drop]]] = [(SECOND, [rule(number)]) for number in (3, 4)]
    steps += [(SECOND, [arguments("b")]), (SECOND, [entry(11)]), (SECOND, [entry(12), rule(5)])]
    ends = [life(*order, bags=BEFORE) for order in itertools.permutations(steps)]
    for bags in ends:
        bags.pop(START)
        assert filled(bags) == filled(ends[0])
    assert known(ends[0]) == {"3", "4", "5"}


def test_passwords_and_leases_wait_for_their_vms() -> None:
    """No drop says them again."""
    tier = drop("guestnetwork", **TIER)
    bags = life((FIRST, [entry(11), entry(12), password(11), password(12), tier]), bags=BEFORE)
    bags = life((SECOND, [arguments("b")]), bags=bags)
    assert set(bags["vmpassword"]) == {"id", "10.1.1.11", "10.1.1.12"}
    assert set(bags["dhcpentry"]) == {"id"}
    assert set(bags[START]["away"]["vms"]) == {"10.1.1.11", "10.1.1.12"}
    assert len(bags[START]["away"]["tiers"]) == 1
    bags = life((SECOND, [entry(11), tier]), bags=bags)
    assert set(bags["vmpassword"]) == {"id", "10.1.1.11", "10.1.1.12"}
    assert bags[START]["away"] == {"vms": {"10.1.1.12": {"mac": "02:01:00:00:00:0c", "name": "vm-12"}}, "tiers": []}


def test_a_second_start_before_everything_was_sent_forgets_no_vm() -> None:
    bags = life((FIRST, [entry(11), entry(12), password(12)]), (SECOND, [arguments("b")]), bags=BEFORE)
    bags = life((SECOND, [entry(11)]), (THIRD, [arguments("c")]), bags=bags)
    assert set(bags[START]["away"]["vms"]) == {"10.1.1.11", "10.1.1.12"}
    assert "10.1.1.12" in bags["vmpassword"]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"mac_address": "02:01:00:00:00:77"}, True),
        ({"host_name": "renamed"}, True),
        ({"mac_address": "02:01:00:00:00:77", "host_name": "stranger"}, False),
    ],
)
def test_an_address_that_is_another_vms_now_does_not_give_it_the_password(
    changes: dict[str, str], kept: bool, late: bool
) -> None:
    steps = [(SECOND, [arguments("b")]), (SECOND, [entry(11, **changes)])]
    bags = life((FIRST, [entry(11), password(11)]), *(reversed(steps) if late else steps), bags=BEFORE)
    assert ("10.1.1.11" in bags["vmpassword"]) is kept


def test_a_new_password_of_a_new_vm_is_kept() -> None:
    bags = life((FIRST, [entry(11), password(11, "old")]), (SECOND, [arguments("b")]), bags=BEFORE)
    stranger = entry(11, mac_address="02:01:00:00:00:77", host_name="stranger")
    assert life((SECOND, [stranger, password(11, "new")]), bags=bags)["vmpassword"]["10.1.1.11"] == "new"


@pytest.mark.parametrize(
    "note",
    [
        {"by": "nobody"},
        {"drops": [{"name": "a", "body": []}]},
        {"drops": [{"name": "../a", "body": rule(1).body}]},
        {"away": {"vms": {"10.1.1.11": {"mac": "x"}}, "tiers": []}},
        {"away": {"vms": {}, "tiers": ["::/0"]}},
    ],
)
def test_a_note_that_is_damaged_is_a_damaged_databag(note: dict[str, Any]) -> None:
    with pytest.raises(DatabagError):
        parse_bag(START, ".start.json", json.dumps(note).encode())


@pytest.mark.parametrize("body", [{"type": "unknown"}, {"type": ["ips"]}, {**rule(1).body, "rules": [{}]}, {}])
def test_a_drop_that_was_written_down_and_does_not_fit_any_more_goes_alone(body: dict[str, Any]) -> None:
    kept = {"name": "b", "body": rule(1).body}
    note = {"boot": "x", "by": "open", "drops": [{"name": "a", "body": body}, kept]}
    assert parse_bag(START, ".start.json", json.dumps(note).encode())["drops"] == [kept]


# On disk.


def router(root: Path) -> Paths:
    paths = Paths(root)
    paths.inbox.mkdir(parents=True)
    return paths


def commit(paths: Paths, bags: dict[str, Bag]) -> None:
    store = Store(paths)
    store.begin("test")
    store.stage(bags)
    store.commit()
    store.end()


def test_a_boot_has_one_name_until_the_next(tmp_path: Path) -> None:
    paths = router(tmp_path)
    first = Store(paths).boot()
    assert Store(paths).boot().name == first.name
    assert 0 <= Store(paths).boot().age < 60
    paths.boot.unlink()  # /run is empty after a reboot
    assert Store(paths).boot().name != first.name
    assert [path.name for path in paths.boot.parent.iterdir()] == ["boot"]


def test_who_names_a_boot_at_the_same_time_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = router(tmp_path)
    store, other = Store(paths), Store(paths)
    link, found = store._disk.link, []

    def lose(source: Path, target: Path) -> None:
        if not found:
            found.append("the other one is first")
            found[0] = other.boot().name
        link(source, target)

    monkeypatch.setattr(store._disk, "link", lose)
    assert store.boot().name == found[0]


def test_the_note_comes_into_force_with_the_databags_and_is_nobodys_to_read(tmp_path: Path) -> None:
    paths = router(tmp_path)
    commit(paths, BEFORE)
    note = paths.databags / ".start.json"
    assert Store(paths).load() == BEFORE
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert not (paths.databags / "start.json").exists()


def test_former_databags_are_kept_for_people_three_times(tmp_path: Path) -> None:
    """The oldest go, whatever the clock says; the same boot again takes no second place."""
    paths = router(tmp_path)
    for number in range(1, 6):
        for _try in range(2):
            paths.boot.parent.mkdir(parents=True, exist_ok=True)
            paths.boot.write_text(f"boot{number} 0\n")
            store = Store(paths)
            store.begin("test")
            store.keep_former(merge_all({}, [rule(number)]))
            store.end()
    folders = sorted(path.name for path in paths.former.iterdir())
    assert folders == ["000003-boot3", "000004-boot4", "000005-boot5"]
    kept = paths.former / folders[0] / "firewallrules.json"
    assert "3" in json.loads(kept.read_text())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.former.stat().st_mode) == 0o700


def test_bytes_of_a_command_line_keep_their_mark() -> None:
    """What vr-boot writes passes the schema."""
    body = {"type": "cmdline", "cmd_line": {"type": "router", "name": "r-1-VM"}, "written": "1.2.3"}
    assert parse_drop("cmd_line.json", json.dumps(body).encode()).body["written"] == "1.2.3"


def converge(store: Store, name: str) -> None:
    """Do what a converge does with a drop: boot arguments that lie in the inbox come first."""
    store.begin("converge", pid=os.getpid(), wait=5)
    before = store.load()
    found = deliver(store, before, [name], None)
    if found.former:
        store.keep_former(found.former)
    store.stage(found.bags)
    for taken in found.drops:
        if not store.already_processed(taken):
            store.copy_drop(taken)
    store.commit()
    store.remove_drops(found.drops)
    store.end()


def send(paths: Paths, name: str, sent: Drop) -> None:
    (paths.inbox / name).write_bytes(json.dumps(sent.body).encode())


def started_in(root: Path, number: int) -> Paths | None:
    """Start a router, killed at a step; None when there was no step of that number."""
    paths = router(root)
    commit(paths, BEFORE)
    send(paths, "cmd_line.json", arguments("b"))
    disk = StepDisk(at_step(number, lambda: os._exit(137)))
    return paths if in_child(lambda: converge(Store(paths, disk=disk), "cmd_line.json")) == 137 else None


def test_a_kill_at_any_step_of_a_start_loses_nothing_and_opens_nothing(tmp_path: Path) -> None:
    """What comes next is a drop, then the same arguments again, as vr-boot had no time to delete the agent's file."""
    number = 0
    while paths := started_in(tmp_path / str(number), number):
        assert known(Store(paths).load()) in ({"1", "2"}, set()), number
        send(paths, "firewall_rules.json.3", rule(3))
        converge(Store(paths), "firewall_rules.json.3")
        assert known(Store(paths).load()) == {"3"}, number
        send(paths, "cmd_line.json", arguments("b"))
        converge(Store(paths), "cmd_line.json")
        assert known(Store(paths).load()) == {"3"}, number
        (folder,) = paths.former.iterdir()
        kept = {path.stem: parse_bag(path.stem, path.name, path.read_bytes()) for path in folder.glob("*.json")}
        assert kept == {name: bag for name, bag in BEFORE.items() if name != START}, number
        number += 2  # each is a process, and costs as many fsyncs
    assert number > 40


def test_arguments_that_end_a_life_are_not_taken_along(tmp_path: Path) -> None:
    """The converge of somebody else's drop sets nothing aside for them."""
    paths = router(tmp_path)
    for name, sent in (("along.1", arguments("b")), ("along.2", rule(3))):
        send(paths, name, sent)
    found = deliver(Store(paths), BEFORE, [], None, ["along.1", "along.2"])
    assert (found.waiting, known(found.bags), found.former) == (("along.2",), {"1", "2", "3"}, None)
