# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replay drops that a management server wrote; they lie beside the checkout, where there are any."""

from __future__ import annotations

import json
import os
import time
from copy import deepcopy
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import (
    FileStep,
    parse_aggregate,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.cmdline import parse_cmdline
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.start import Boot, take

DROPS = Path(os.environ.get("VR_REAL_DROPS") or Path(__file__).resolve().parents[4] / "shared" / "drops")
SCENARIOS = sorted(path.parent.name for path in DROPS.glob("*/ORDER"))

pytestmark = pytest.mark.skipif(not SCENARIOS, reason=f"no real drops in {DROPS}")


def arguments_of(scenario: Path) -> Drop:
    name = (scenario / "CMDLINE").read_text().strip().removesuffix(".json")
    return parse_drop("cmd_line.json", (DROPS / "cmdline" / f"{name}.json").read_bytes())


def drops_of(path: Path) -> list[Drop]:
    """Return the drop that a file is, or those that an aggregate holds."""
    if path.suffix != ".cfg":
        return [parse_drop(path.name, path.read_bytes())]
    steps = parse_aggregate(path.name, path.read_bytes())
    return [parse_drop(step.name, step.content) for step in steps if isinstance(step, FileStep)]


def files_of(scenario: Path) -> list[Path]:
    lines = [line.split(maxsplit=1) for line in (scenario / "ORDER").read_text().splitlines()]
    return [scenario / name for word, name in lines if word == "file"]


def replay(scenario: Path) -> dict[str, Bag]:
    bags = merge({}, arguments_of(scenario))
    for path in files_of(scenario):
        for drop in drops_of(path):
            bags = merge(bags, drop)
    return bags


@pytest.mark.parametrize("early", [0, 7])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_start_ends_where_a_new_router_does(name: str, early: int) -> None:
    """Whatever it was before, and when some drops came before the boot arguments."""
    arguments = arguments_of(DROPS / name)
    drops = [drop for path in files_of(DROPS / name) for drop in drops_of(path)]
    sent = [drop for drop in drops if drop.type != "vmpassword"]  # those of the life before wait for their VMs
    marked = Drop(arguments.name, arguments.type, {**arguments.body, "written": "1.2.3"})
    life = {**replay(DROPS / name), "start": {"id": "start", "boot": "before", "by": "server", "mark": "1.2.2"}}
    for drop in [*sent[:early], marked, *sent[early:]]:
        life = take(life, [drop], Boot("now", 5.0)).bags
    new = merge_all({}, [arguments, *sent])
    found = {key: bag for key, bag in life.items() if set(bag) != {"id"} and key not in ("start", "vmpassword")}
    assert found == {key: bag for key, bag in new.items() if set(bag) != {"id"}}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_real_drop_is_taken_and_changes_no_input(name: str) -> None:
    bags = merge({}, arguments_of(DROPS / name))
    for path in files_of(DROPS / name):
        drops = drops_of(path)
        before = deepcopy(bags)
        after = merge_all(bags, drops)
        assert bags == before
        assert merge_all(after, drops[-1:]) == after
        bags = after
    assert bags


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_real_drops_leave_is_read_back_unchanged(name: str) -> None:
    bags = replay(DROPS / name)
    assert {key: adopt(key, json.loads(json.dumps(bag))) for key, bag in bags.items()} == bags


@pytest.mark.parametrize("name", SCENARIOS)
def test_replaying_a_scenario_again_gives_the_same(name: str) -> None:
    """Every drop in it ends with what it says, so a second round changes nothing but metadata that was removed."""
    once = replay(DROPS / name)
    again = once
    for path in files_of(DROPS / name):
        for drop in drops_of(path):
            again = merge(again, drop)
    assert again == once


def test_every_type_is_among_the_real_drops() -> None:
    kinds = {drop.type for name in SCENARIOS for path in files_of(DROPS / name) for drop in drops_of(path)}
    assert len(kinds) == 19


@pytest.mark.parametrize("path", sorted((DROPS / "cmdline").glob("*.txt")), ids=lambda path: path.stem)
def test_parse_cmdline_reads_what_the_originals_script_reads(path: Path) -> None:
    """Except that values are whole, and that the original escapes nothing."""
    theirs = json.loads(path.with_suffix(".json").read_text())["cmd_line"]
    ours = parse_cmdline(path.read_text())["cmd_line"]
    assert isinstance(ours, dict)
    assert {name: value.rstrip("=") for name, value in ours.items()} == theirs


def test_a_thousand_forwards_and_500_vms_are_quick() -> None:
    for name in ("scale-pf-1000", "scale-vms-500-aggregate"):
        if name in SCENARIOS:
            start = time.process_time()
            replay(DROPS / name)
            assert time.process_time() - start < 5


def test_an_isolated_router_is_left_with_what_was_not_taken_away() -> None:
    if "isolated" not in SCENARIOS:
        pytest.skip("no scenario isolated")
    bags = replay(DROPS / "isolated")
    assert [record["public_ip"] for record in bags["ips"]["eth2"]] == ["192.0.2.10", "192.0.2.11"]
    assert "eth3" not in bags["ips"]
    assert bags["site2sitevpn"] == {"id": "site2sitevpn"}
    assert bags["remoteaccessvpn"] == {"id": "remoteaccessvpn"}
    assert len(bags["vmpassword"]) == 4
