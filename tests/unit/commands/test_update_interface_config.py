# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""update_interface_config.sh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Router


RECORD = {
    "public_ip": "192.0.2.10",
    "device": "eth2",
    "netmask": "255.255.255.0",
    "gateway": "192.0.2.1",
    "nw_type": "public",
    "add": True,
}
DROP = "/var/cache/cloud/update_interface_config.json."


@pytest.fixture
def linked(router: Router) -> Router:
    """Return a router with 192.0.2.10/24 on eth2, MTU 1500."""
    addresses = [{"ifname": "eth2", "addr_info": [{"local": "192.0.2.10", "prefixlen": 24}]}]
    router.put("/ip.json", json.dumps(addresses))
    router.tool("ip", f'echo "$@" >>{router.path("/asked.txt")}; [ "$1" = link ] || cat {router.path("/ip.json")}')
    router.put("/sys/class/net/eth2/mtu", "1500\n")
    router.put("/sys/class/net/eth2/address", "1e:00:2d:00:00:0a\n")
    return router


def bag(router: Router, name: str, *records: dict[str, Any]) -> None:
    router.put(f"/etc/cloudstack/{name}.json", json.dumps({"id": name, "eth2": records}))


def sent(router: Router, mtu: str = "1450") -> dict[str, Any]:
    """Run the command with a playbook that changes the MTU and keeps a copy of the drop; return the drop."""
    copy = f"cp {router.path(DROP)}* {router.path('/drop.json')}"
    playbook = router.path("/opt/cloudstack/venv/bin/ansible-playbook")
    playbook.rename(playbook.with_name("real"))
    text = playbook.with_name("real").read_text().replace("venv/bin/ansible-playbook", "venv/bin/real")
    playbook.with_name("real").write_text(text)
    router.put(
        "/opt/cloudstack/venv/bin/ansible-playbook",
        f'#!/bin/sh\n{copy}\nexec {playbook.with_name("real")} "$@"\n',
        0o755,
    )
    router.plan({"write": {"/sys/class/net/eth2/mtu": mtu}})
    done = router.run("update_interface_config.sh", "192.0.2.10", "24", mtu, "15")
    assert (done.returncode, done.stdout, done.stderr) == (0, "eth2\n", "")
    return dict(json.loads(router.path("/drop.json").read_text()))


def test_the_record_of_the_address_is_sent_again_with_the_new_mtu(linked: Router) -> None:
    bag(linked, "ips", RECORD)
    drop = sent(linked)
    assert drop["type"] == "ips"
    (record,) = drop["ip_address"]
    assert RECORD.items() <= record.items()
    assert (record["mtu"], record["vif_mac_address"], record["nic_dev_id"]) == (1450, "1e:00:2d:00:00:0a", 2)
    assert linked.calls()[0]["values"]["vr_keep"] is False
    assert list(linked.path("/var/cache/cloud").iterdir()) == []


def test_all_addresses_of_the_nic_are_sent_with_the_new_mtu(linked: Router) -> None:
    """The server names them in any order, and a NIC has one MTU; it is known by its MAC where that is known (E1)."""
    same = {**RECORD, "public_ip": "192.0.2.9", "device": "eth7", "vif_mac_address": "1e:00:2d:00:00:0a"}
    other = {**RECORD, "public_ip": "192.0.2.8", "vif_mac_address": "1e:00:2d:00:00:0b"}
    gone = {**RECORD, "public_ip": "192.0.2.7", "add": False}
    bag(linked, "ips", same, other, gone, RECORD)
    records = sent(linked)["ip_address"]
    assert [(record["public_ip"], record["mtu"]) for record in records] == [("192.0.2.9", 1450), ("192.0.2.10", 1450)]


@pytest.mark.parametrize("field", ["router_guest_ip", "router_guest_gateway"])
def test_the_mtu_of_a_tier_is_in_its_own_drop(linked: Router, field: str) -> None:
    """Of a pair the primary has the gateway's address as well."""
    tier = {field: "192.0.2.10", "device": "eth2", "mac_address": "02:00:00:00:00:01", "mtu": 1500}
    bag(linked, "guestnetwork", tier)
    bag(linked, "ips", RECORD)
    assert sent(linked) == {**tier, "mtu": 1450, "type": "guestnetwork", "add": True}


def test_an_address_of_no_databag_is_an_error(linked: Router) -> None:
    """The next converge takes it away."""
    line = linked.fails("update_interface_config.sh", "192.0.2.10", "24", "1450", "1")
    assert line == "eth2: 192.0.2.10 is in no databag"
    assert linked.calls() == []


def test_an_mtu_that_is_there_changes_nothing(linked: Router) -> None:
    bag(linked, "ips", RECORD)
    done = linked.run("update_interface_config.sh", "192.0.2.10", "24", "1500", "15")
    assert (done.returncode, done.stdout) == (0, "eth2\n")
    assert linked.calls() == []


def test_an_mtu_that_did_not_come_is_a_failure(linked: Router) -> None:
    bag(linked, "ips", RECORD)
    line = linked.fails("update_interface_config.sh", "192.0.2.10", "24", "1450", "15")
    assert line == "eth2: MTU is 1500 and not 1450 after the change"


def test_a_failing_converge_is_told(linked: Router) -> None:
    bag(linked, "ips", RECORD)
    linked.plan({"record": {"rc": 1, "reason": "no space"}})
    assert linked.fails("update_interface_config.sh", "192.0.2.10", "24", "1450", "15") == "no space"


@pytest.mark.parametrize(("address", "prefix"), [("198.51.100.20", "24"), ("192.0.2.10", "25"), ("192.0.2.1", "24")])
def test_an_address_that_is_not_there_has_the_text_the_server_knows(linked: Router, address: str, prefix: str) -> None:
    done = linked.run("update_interface_config.sh", address, prefix, "1450", "2")
    assert (done.returncode, done.stdout) == (1, f"Interface with IP {address} not found\n")
    assert linked.path("/asked.txt").read_text().count("address") == 2


@pytest.mark.parametrize(
    "args", [(), ("192.0.2.10", "24", "1450"), ("192.0.2.10", "24", "-1", "15"), ("192.0.2.10", "x", "1450", "15")]
)
def test_wrong_arguments_are_one_line(linked: Router, args: tuple[str, ...]) -> None:
    assert linked.fails("update_interface_config.sh", *args).startswith("usage: ")


@pytest.mark.parametrize("mtu", ["0", "67", "65536"])
def test_an_impossible_mtu_is_refused(linked: Router, mtu: str) -> None:
    assert "expected 68 to 65535" in linked.fails("update_interface_config.sh", "192.0.2.10", "24", mtu, "1")


def test_a_damaged_databag_is_told(linked: Router) -> None:
    linked.put("/etc/cloudstack/ips.json", "{")
    assert "ips.json: damaged databag" in linked.fails("update_interface_config.sh", "192.0.2.10", "24", "1450", "1")


@pytest.mark.parametrize(("scope", "found"), [("link", "eth2\n"), ("global", "Interface with IP 10.1.1.1 not found\n")])
def test_a_gateway_address_that_vrrp_moves_is_found_by_the_length_of_its_network(
    linked: Router, scope: str, found: str
) -> None:
    moved = {"local": "10.1.1.1", "prefixlen": 32, "scope": scope}
    linked.put("/ip.json", json.dumps([{"ifname": "eth2", "addr_info": [moved]}]))
    assert linked.run("update_interface_config.sh", "10.1.1.1", "24", "1500", "1").stdout == found
