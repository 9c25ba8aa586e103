# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import (
    BAGS,
    Bag,
    merge,
    merge_all,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop
from tests.unit.databag.support import (
    ACL_RULE,
    ARGUMENTS,
    BALANCER,
    BODIES,
    MAC,
    TIER,
    drop,
    filled,
    ips,
    merged,
    rules,
)

OTHER = "02:00:55:00:00:03"


def listed(bags: dict[str, Bag]) -> dict[str, list[str]]:
    """Return the addresses of every device."""
    return {
        device: [record["public_ip"] for record in records]
        for device, records in bags.get("ips", {}).items()
        if device != "id"
    }


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_merge_of_every_type_gives_databags_that_name_themselves(kind: str) -> None:
    start = merged(drop("cmdline"))
    before = json.dumps(start, sort_keys=True)
    bags = merge(start, drop(kind))
    assert json.dumps(start, sort_keys=True) == before
    assert set(bags) <= set(BAGS)
    assert all(bag["id"] == name for name, bag in bags.items())
    assert kind == "cmdline" or bags != start


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_merge_twice_gives_the_very_same_objects(kind: str) -> None:
    once = merged(drop("cmdline"), drop(kind))
    twice = merge(once, drop(kind))
    assert twice == once
    assert all(twice[name] is once[name] for name in once)


def test_merge_ips_completes_the_record() -> None:
    record = merged(ips({"mtu": 1450}))["ips"]["eth2"][0]
    assert record == {
        **BODIES["ips"]["ip_address"][0],
        "device": "eth2",
        "broadcast": "192.0.2.255",
        "cidr": "192.0.2.10/24",
        "size": "24",
        "network": "192.0.2.0/24",
        "nw_type": "public",
        "mtu": "1450",
    }


def test_merge_ips_puts_the_source_nat_address_first_and_others_in_order() -> None:
    bags = merged(ips({"public_ip": "192.0.2.100"}, {"public_ip": "192.0.2.20"}, {"source_nat": True}))
    assert listed(bags) == {"eth2": ["192.0.2.10", "192.0.2.20", "192.0.2.100"]}


def test_merge_ips_has_one_source_nat_address_per_network() -> None:
    bags = merged(ips({"source_nat": True}), ips({"public_ip": "192.0.2.20", "source_nat": True}))
    assert [record["source_nat"] for record in bags["ips"]["eth2"]] == [True, False]
    assert listed(bags) == {"eth2": ["192.0.2.20", "192.0.2.10"]}


def test_merge_ips_removes_what_is_taken_away() -> None:
    """D7: the original keeps the record for ever."""
    bags = merged(ips({}, {"public_ip": "192.0.2.20"}), ips({"add": False}))
    assert listed(bags) == {"eth2": ["192.0.2.20"]}
    assert merge(bags, ips({"public_ip": "192.0.2.20", "add": False}))["ips"] == {"id": "ips"}


def test_merge_ips_of_an_unknown_nic_is_pending_and_moves_when_it_is_known() -> None:
    unknown = {"nic_dev_id": None}
    bags = merged(ips(unknown))
    assert listed(bags) == {"ethNone": ["192.0.2.10"]}
    assert listed(merge(bags, ips({"nic_dev_id": 13}))) == {"eth13": ["192.0.2.10"]}


def test_merge_ips_keeps_the_number_of_a_nic_when_the_new_record_has_none() -> None:
    assert listed(merged(ips({"nic_dev_id": 4}), ips({"nic_dev_id": None}))) == {"eth4": ["192.0.2.10"]}


def test_merge_ips_of_a_control_address_replaces_the_device() -> None:
    control = {"nw_type": "Control", "nic_dev_id": 1}
    bags = merged(ips({**control, "public_ip": "169.254.1.1"}), ips({**control, "public_ip": "169.254.1.2"}))
    assert listed(bags) == {"eth1": ["169.254.1.2"]}


def test_merge_ips_takes_the_acl_with_the_private_gateway() -> None:
    gateway = {"is_private_gateway": True, "nic_dev_id": 4, "vif_mac_address": OTHER, "public_ip": "172.20.0.2"}
    acl = drop("networkacl", device="eth4", mac_address=OTHER, private_gateway_acl=True)
    start = merged(drop("networkacl"))
    bags = merge_all(start, [ips(gateway), acl, ips({**gateway, "add": False})])
    assert bags["networkacl"] == start["networkacl"]


LEAVING = "192.0.2.10"
NO_MAC = {"vif_mac_address": None}
MOVED = {"vif_mac_address": OTHER, "nic_dev_id": 3}


def used(other: str = "192.0.2.20") -> list[Drop]:
    """Return drops by which 192.0.2.10 is used in every way there is, and another address in some."""
    nat = {"source_ip_address": LEAVING}
    balancer = {**BALANCER, "add_rules": [f"{LEAVING}:80:", f"{other}:80:"], "stat_rules": [f"{LEAVING}:8081:0/0:,"]}
    return [
        rules("forwardrules", nat, {"source_ip_address": other}),
        rules("staticnatrules", nat),
        rules("firewallrules", {"src_ip": LEAVING}, {"id": 102, "src_ip": other}),
        rules("firewallrules", {"id": 0, "src_ip": "", "traffic_type": "Egress", "protocol": "all"}),
        drop("loadbalancer", rules=[balancer]),
        drop("remoteaccessvpn", vpn_server_ip=LEAVING),
        drop("site2sitevpn", local_public_ip=LEAVING),
        drop(
            "site2sitevpn",
            local_public_ip=other,
            peer_gateway_ip="203.0.113.42",
            peer_guest_cidr_list="10.43.0.0/16",
        ),
    ]


def uses_of(bags: dict[str, Bag], address: str) -> set[str]:
    """Return the databags that use an address, which `ips` and the arguments only give; a listener must be open."""
    others = {name: bag for name, bag in bags.items() if name not in ("ips", "cmdline", "loadbalancer")}
    found = {name for name, bag in others.items() if address in json.dumps(bag)}
    opened = [rule for b in bags["loadbalancer"]["config"] for f in ("add_rules", "stat_rules") for rule in b[f]]
    return found | ({"loadbalancer"} if any(rule.startswith(f"{address}:") for rule in opened) else set())


EVERY_USE = {"forwardingrules", "firewallrules", "loadbalancer", "remoteaccessvpn", "site2sitevpn"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param([{"add": False}], id="away"),
        pytest.param([{"add": False, **MOVED}], id="away from a NIC it was not on"),
        pytest.param([{}, {"add": False}], id="put again and taken away in one drop"),
        pytest.param([{"add": False}, {"public_ip": "192.0.2.20"}], id="away, while another comes"),
    ],
)
@pytest.mark.parametrize("there", [True, False], ids=["was there", "was never there"])
def test_merge_ips_forgets_what_an_address_was_used_for(change: list[dict[str, Any]], there: bool) -> None:
    """It would be open again, for whoever has it next, as soon as it came back (apache/cloudstack#3862, #6189)."""
    before = merged(*([ips({})] if there else []), *used())
    assert uses_of(before, LEAVING) == EVERY_USE
    after = merge(before, ips(*change))
    assert uses_of(after, LEAVING) == set()
    assert uses_of(after, "192.0.2.20") == {"forwardingrules", "firewallrules", "loadbalancer", "site2sitevpn"}
    assert "0" in after["firewallrules"], "egress has no public address"
    assert after["loadbalancer"]["config"][0]["configuration"] == BALANCER["configuration"]
    assert uses_of(merge(after, ips({})), LEAVING) == set()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param([{"add": False}, MOVED], id="taken away first"),
        pytest.param([MOVED, {"add": False}], id="put first"),
        pytest.param([{**MOVED, **NO_MAC}, {"add": False, **NO_MAC}], id="put first, without MACs"),
        pytest.param([MOVED], id="put alone"),
        pytest.param([{"add": False}, {}], id="away and back on the same NIC"),
    ],
)
def test_merge_ips_keeps_what_an_address_is_used_for_when_it_moves(change: list[dict[str, Any]]) -> None:
    before = merged(ips({}), *used())
    after = merge(before, ips(*change))
    assert listed(after) == {"eth2" if change[-1] == {} else "eth3": [LEAVING]}
    assert {**after, "ips": before["ips"]} == before


def test_merge_ips_lets_rules_wait_for_their_address() -> None:
    waiting = merged(*used())
    assert uses_of(merge(waiting, ips({})), LEAVING) == EVERY_USE
    assert uses_of(merge(waiting, ips({"public_ip": "192.0.2.77"})), LEAVING) == EVERY_USE


def test_merge_ips_of_a_private_gateway_that_moves_takes_the_acl_of_the_nic_it_left() -> None:
    gateway = {"is_private_gateway": True, "nic_dev_id": 4, "vif_mac_address": MAC, "public_ip": "172.20.0.2"}
    acl = drop("networkacl", device="eth4", mac_address=MAC, private_gateway_acl=True)
    away, here = {**gateway, "add": False}, {**gateway, **MOVED}
    for change in ([away, here], [here, away]):
        bags = merged(ips(gateway), acl, ips(*change))
        assert listed(bags) == {"eth3": ["172.20.0.2"]}
        assert bags["networkacl"] == {"id": "networkacl"}


def test_merge_cmdline_forgets_what_an_address_was_used_for_that_is_no_longer_given() -> None:
    before = merged(drop("cmdline"), *used())
    assert uses_of(merge(before, drop("cmdline")), LEAVING) == EVERY_USE
    assert uses_of(merge(before, drop("cmdline", cmd_line={**ARGUMENTS, "domain": "x.y"})), LEAVING) == EVERY_USE
    moved = merge(before, drop("cmdline", cmd_line={**ARGUMENTS, "eth2ip": "192.0.2.99"}))
    assert uses_of(moved, LEAVING) == set()


def test_merge_ip_aliases_go_behind_the_address_of_the_guest_nic() -> None:
    low = {"ip_address": "10.0.5.1", "netmask": "255.255.255.128", "revoke": False, "count": 2}
    bags = merged(drop("cmdline", cmd_line={**ARGUMENTS, "nic_macs": MAC}), drop("ipaliases"))
    bags = merge(bags, drop("ipaliases", aliases=[low]))
    assert listed(bags)["eth0"] == ["10.1.1.1", "10.0.5.1", "10.1.5.1"]
    alias = bags["ips"]["eth0"][1]
    assert (alias["alias"], alias["vif_mac_address"], alias["size"]) == (True, MAC, "25")
    assert "gateway" not in alias


def test_merge_ip_aliases_removes_an_alias_and_never_the_nics_own_address() -> None:
    start = merged(drop("cmdline"))
    mask = {"netmask": "255.255.255.0", "count": 1}
    revoke = [{"ip_address": ip, "revoke": True, **mask} for ip in ("10.1.5.1", "10.1.1.1", "10.9.9.9")]
    bags = merge_all(start, [drop("ipaliases"), drop("ipaliases", aliases=revoke)])
    assert bags == start
    own = [{"ip_address": "10.1.1.1", "revoke": False, **mask}]
    assert merge(start, drop("ipaliases", aliases=own)) == start


def test_merge_ip_aliases_without_guest_nic_is_refused() -> None:
    with pytest.raises(DropError) as caught:
        merged(drop("ipaliases"))
    assert str(caught.value) == (
        "ipaliases.json: aliases[0].ip_address: expected a router with a guest NIC, got one without"
    )


def test_merge_guest_network_stores_tier_and_address() -> None:
    bags = merged(drop("guestnetwork"))
    assert [tier["network_id"] for tier in bags["guestnetwork"]["eth2"]] == [2041]
    record = bags["ips"]["eth2"][0]
    assert (record["nw_type"], record["mtu"], record["nic_dev_id"]) == ("guest", "1450", "2")
    assert (record["vif_mac_address"], record["gateway"], record["source_nat"]) == (MAC, "10.2.1.1", False)


def test_merge_guest_network_without_mtu_has_1500() -> None:
    """The original crashes."""
    assert merged(drop("guestnetwork", mtu=None))["ips"]["eth2"][0]["mtu"] == "1500"


def test_merge_guest_network_takes_changes_of_a_known_tier() -> None:
    """The original never merges a tier it knows."""
    bags = merged(drop("guestnetwork"), drop("guestnetwork", router_guest_ip="10.2.1.5", domain_name="x.y", mtu=9000))
    assert len(bags["guestnetwork"]["eth2"]) == 1
    assert bags["guestnetwork"]["eth2"][0]["domain_name"] == "x.y"
    assert listed(bags) == {"eth2": ["10.2.1.5"]}
    assert bags["ips"]["eth2"][0]["mtu"] == "9000"


@pytest.mark.parametrize("same", [{"mac_address": OTHER}, {"network_id": 9}])
def test_merge_guest_network_moves_a_tier_that_comes_back_on_another_device(same: dict[str, Any]) -> None:
    """E1: and its ACL moves along, or the next tier of that device would overwrite it."""
    bags = merged(drop("guestnetwork"), drop("networkacl"), drop("guestnetwork", device="eth13", **same))
    assert [key for key in bags["guestnetwork"] if key != "id"] == ["eth13"]
    assert listed(bags) == {"eth13": ["10.2.1.1"]}
    acl = bags["networkacl"]["eth13" if "network_id" in same else "eth2"]
    assert acl["device"] == ("eth13" if "network_id" in same else "eth2")


def test_merge_guest_network_gives_a_device_to_one_tier() -> None:
    other = {"mac_address": OTHER, "network_id": 9, "router_guest_ip": "10.2.9.1"}
    bags = merged(drop("guestnetwork"), drop("networkacl"), drop("guestnetwork", **other))
    assert [tier["network_id"] for tier in bags["guestnetwork"]["eth2"]] == [9]
    assert listed(bags) == {"eth2": ["10.2.9.1"]}
    assert bags["networkacl"] == {"id": "networkacl"}


def test_merge_guest_network_keeps_the_new_tiers_acl_that_came_first() -> None:
    other = {"mac_address": OTHER, "network_id": 9, "router_guest_ip": "10.2.9.1"}
    bags = merged(drop("guestnetwork"), drop("networkacl", mac_address=OTHER), drop("guestnetwork", **other))
    assert bags["networkacl"]["eth2"]["mac_address"] == OTHER


def test_merge_guest_network_takes_address_and_acl_with_a_removed_tier() -> None:
    """The original leaves the ACL, and an empty list."""
    other = {"mac_address": OTHER, "network_id": 9, "router_guest_ip": "10.2.9.1", "device": "eth3"}
    kept = merged(drop("guestnetwork", **other), drop("networkacl", device="eth3", mac_address=OTHER))
    bags = merge_all(kept, [drop("guestnetwork"), drop("networkacl"), drop("guestnetwork", add=False)])
    assert bags == kept


def test_merge_guest_network_takes_the_vms_with_a_removed_tier() -> None:
    """The next VM of the address must not read the last one's user data and password."""
    elsewhere = [
        drop("dhcpentry", ipv4_address="10.2.2.11"),
        drop("vmdata", vm_ip_address="10.2.2.11"),
        drop("vmpassword", ip_address="10.2.2.11"),
    ]
    mac = {"mac_address": "02:01:00:00:00:0c", "host_name": "vm-b"}
    inside = [
        drop("dhcpentry", ipv4_address="10.2.1.11", **mac),
        drop("vmdata", vm_ip_address="10.2.1.11"),
        drop("vmpassword", ip_address="10.2.1.11"),
    ]
    kept = merged(*elsewhere)
    assert merge_all(kept, [drop("guestnetwork"), *inside, drop("guestnetwork", add=False)]) == kept
    moved = merge_all(kept, [drop("guestnetwork"), *inside, drop("guestnetwork", device="eth3")])
    assert {bag: "10.2.1.11" in moved[bag] for bag in ("dhcpentry", "vmdata", "vmpassword")} == {
        "dhcpentry": True,
        "vmdata": True,
        "vmpassword": True,
    }


def test_merge_guest_network_removed_late_leaves_the_tier_that_followed_with_its_address() -> None:
    """One of the same networks on another NIC, whose drop came before the removal of the first."""
    followed = drop("guestnetwork", mac_address=OTHER, network_id=9, device="eth3")
    kept = merged(followed, drop("dhcpentry", ipv4_address="10.2.1.11"), drop("vmdata", vm_ip_address="10.2.1.11"))
    late = merged(drop("guestnetwork"), drop("networkacl"), followed, drop("dhcpentry", ipv4_address="10.2.1.11"),
                  drop("vmdata", vm_ip_address="10.2.1.11"), drop("guestnetwork", add=False))  # fmt: skip
    assert filled(late) == filled(kept)


def test_merge_guest_network_removing_an_unknown_tier_does_nothing() -> None:
    """The original stores it."""
    assert filled(merged(drop("guestnetwork", add=False))) == {}


def test_merge_network_acl_replaces_the_list_of_a_device() -> None:
    bags = merged(drop("networkacl"), drop("networkacl", ingress_rules=[], egress_rules=[{**ACL_RULE, "type": "all"}]))
    assert bags["networkacl"]["eth2"]["ingress_rules"] == []
    assert [rule["type"] for rule in bags["networkacl"]["eth2"]["egress_rules"]] == ["all"]


def test_merge_network_acl_keeps_the_order_of_rules() -> None:
    """B8: the number of a rule is its place in the list."""
    ports = [5, 1, 9, 3]
    ordered = [{**ACL_RULE, "first_port": port, "last_port": port} for port in ports]
    found = merged(drop("networkacl", ingress_rules=ordered))["networkacl"]["eth2"]["ingress_rules"]
    assert [rule["first_port"] for rule in found] == ports


def test_merge_network_acl_of_a_nic_that_moved_is_one() -> None:
    bags = merged(drop("networkacl"), drop("networkacl", device="eth5"))
    assert [key for key in bags["networkacl"] if key != "id"] == ["eth5"]


def test_tier_fixture_is_a_tier() -> None:
    assert drop("guestnetwork").body["mac_address"] == TIER["mac_address"]
