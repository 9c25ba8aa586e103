# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.drops import deliver
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from tests.unit.databag.support import ENTRY, encode
from tests.unit.databag.test_aggregate import HEAD, NAME, file_step, script_step

SCRIPT = b"/opt/cloud/bin/update_config.py "


def entry(number: int, lease_time: int = 0) -> bytes:
    mac, ip = f"02:01:00:00:{number // 256:02x}:{number % 256:02x}", f"10.1.{number // 250}.{number % 250}"
    given = {"mac_address": mac, "ipv4_address": ip, "host_name": f"vm-{number}", "lease_time": lease_time}
    return encode("dhcpentry", {**ENTRY, **given})


def delivered(root: Path, bags: dict[str, Bag], drops: dict[str, bytes], *more: bytes) -> dict[str, Bag]:
    """Return the databags after an aggregate of drops by name, and further steps."""
    paths = Paths(root)
    paths.inbox.mkdir(parents=True, exist_ok=True)
    steps = [file_step(name.encode(), content) + script_step(SCRIPT + name.encode()) for name, content in drops.items()]
    (paths.inbox / NAME).write_bytes(HEAD + b"".join((*steps, *more)))
    return deliver(Store(paths), bags, (), str(paths.inbox / NAME)).bags


def test_deliver_of_thousands_of_known_vms_does_not_search_them_for_each_drop(tmp_path: Path) -> None:
    """A1: 8 million visits to entries would take seconds."""
    bags = delivered(tmp_path, {}, {f"e.{number}": entry(number) for number in range(2000)})
    start = time.process_time()
    found = delivered(tmp_path, bags, {f"e.{number}": entry(number, 3600) for number in range(2000)})["dhcpentry"]
    assert time.process_time() - start < 3
    assert {record["lease_time"] for key, record in found.items() if key != "id"} == {3600}
    assert len(found) == 2001


@pytest.mark.parametrize(
    ("drops", "more", "where"),
    [
        ({"a": entry(1), "b": b"{"}, (), f"{NAME}: step 4: b"),
        ({"a": entry(1)}, (script_step(SCRIPT + b"absent"),), f"{NAME}: step 3"),
        ({}, (script_step(SCRIPT),), f"{NAME}: step 1"),
    ],
)
def test_deliver_names_the_step_that_is_wrong(
    tmp_path: Path, drops: dict[str, bytes], more: tuple[bytes, ...], where: str
) -> None:
    given: dict[str, Bag] = {}
    with pytest.raises(DropError) as caught:
        delivered(tmp_path, given, drops, *more)
    assert str(caught.value).startswith(where)
    assert given == {}


def test_a_wrong_drop_that_would_be_taken_along_is_left_and_the_others_are_taken(tmp_path: Path) -> None:
    """Its own sender hears of it; the good drop of another must not pay for it, nor what comes behind it."""
    paths = Paths(tmp_path)
    paths.inbox.mkdir(parents=True)
    wrong = encode("dhcpentry", {**ENTRY, "mac_address": "x"})
    contents = {"own": entry(1), "no-json": b"{", "wrong": wrong, "good": entry(2)}
    for name, content in contents.items():
        (paths.inbox / name).write_bytes(content)
    found = deliver(Store(paths), {}, ["own"], None, ["no-json", "wrong", "gone", "good"])
    assert (found.drops, found.waiting) == (("own",), ("good",))
    assert found.bags == deliver(Store(paths), {}, ["own", "good"], None).bags
    assert {path.name for path in paths.inbox.iterdir()} == set(contents)
