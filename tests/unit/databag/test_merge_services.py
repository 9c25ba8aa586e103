# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop
from tests.unit.databag.support import BALANCER, BODIES, ENTRY, PEER, ROUTE, drop, filled, merged

B_MAC = "02:01:00:00:00:0c"


def entry(**changes: Any) -> Drop:
    return drop("dhcpentry", **changes)


def named(bags: dict[str, Bag]) -> dict[str, str]:
    """Return the host name of every entry."""
    return {key: value["host_name"] for key, value in bags["dhcpentry"].items() if key != "id"}


def served(address: str = "10.1.1.11") -> list[Drop]:
    """Return the drops of a VM's metadata and password."""
    return [drop("vmdata", vm_ip_address=address), drop("vmpassword", ip_address=address)]


def test_merge_dhcp_entry_has_one_entry_per_mac() -> None:
    """F8: the original leaves the old address."""
    bags = merged(entry(), entry(ipv4_address="10.1.1.61"))
    assert named(bags) == {"10.1.1.61": "vm-a"}


VPC = [
    drop("cmdline", cmd_line={"type": "vpcrouter", "name": "r-9-VM"}),
    drop("guestnetwork", router_guest_ip6_cidr="2001:db8:1::/64"),
    drop("guestnetwork", device="eth3", mac_address="02:00:55:00:00:03", network_id=2042,
         router_guest_ip="10.2.2.1", router_guest_ip6_cidr="2001:db8:2::/64"),
]  # fmt: skip
ONE: dict[str, Any] = {"ipv4_address": "10.2.1.11", "default_gateway": "10.2.1.1", "host_name": "one"}
TWO: dict[str, Any] = {"ipv4_address": "10.2.2.21", "default_gateway": "10.2.2.1", "host_name": "two"}
ONE6: dict[str, Any] = {"ipv4_address": None, "ipv6_address": "2001:db8:1::11", "host_name": "one"}
TWO6: dict[str, Any] = {"ipv4_address": None, "ipv6_address": "2001:db8:2::21", "host_name": "two"}
EARLY: dict[str, Any] = {"ipv4_address": "10.2.9.11", "default_gateway": "10.2.9.1", "host_name": "early"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param(ONE, TWO, id="two tiers"),
        pytest.param(ONE6, TWO6, id="IPv6 alone"),
        pytest.param(ONE, TWO6, id="IPv4 and IPv6"),
        pytest.param(ONE, EARLY, id="a tier that comes later"),
        pytest.param(EARLY, TWO, id="a tier that came later"),
    ],
)
def test_merge_dhcp_entry_serves_one_mac_in_two_tiers(one: dict[str, Any], two: dict[str, Any]) -> None:
    """The server makes such, and lets a user give the MAC of a NIC (apache/cloudstack#7633)."""
    first, second = (next(v for k, v in e.items() if k in ("ipv4_address", "ipv6_address") and v) for e in (one, two))
    bags = merged(*VPC, entry(**one), *served(first), entry(**two), *served(second))
    assert named(bags) == {first: one["host_name"], second: two["host_name"]}
    assert {first, second} <= set(bags["vmdata"]) & set(bags["vmpassword"])
    for gone, kept in (({**one, "remove": True}, second), ({**two, "remove": True}, first)):
        left = merge(bags, entry(**gone))
        assert list(named(left)) == [kept]
        assert [set(left[name]) for name in ("vmdata", "vmpassword")] == [{"id", kept}] * 2


def test_merge_dhcp_entry_of_a_nic_that_moves_to_another_tier() -> None:
    """The entry in the new tier comes first, the removal of the old one after it."""
    moved = merged(*VPC, entry(**ONE), *served("10.2.1.11"), entry(**TWO), *served("10.2.2.21"))
    after = merge(moved, entry(**{**ONE, "remove": True}))
    expected = merged(*VPC, entry(**TWO), *served("10.2.2.21"))
    assert filled(after) == filled(expected)


def test_merge_dhcp_entry_of_a_mac_that_gets_another_address_in_its_tier() -> None:
    bags = merged(*VPC, entry(**ONE), entry(**TWO), entry(**{**ONE, "ipv4_address": "10.2.1.61"}))
    assert named(bags) == {"10.2.2.21": "two", "10.2.1.61": "one"}
    late = merge(bags, entry(**{**ONE, "remove": True}))
    assert named(late) == named(bags), "the removal of the former address comes late"


@pytest.mark.parametrize("kind", ["router", "dhcpsrvr"])
def test_merge_dhcp_entry_has_one_entry_per_mac_in_all_subnets_of_a_network(kind: str) -> None:
    """F8: several subnets, each with its gateway, are one network."""
    arguments = {"type": kind, "name": "r-9-VM", "eth0ip": "10.2.1.2", "eth0mask": "255.255.255.0"}
    assert named(merged(drop("cmdline", cmd_line=arguments), entry(**ONE), entry(**TWO))) == {"10.2.2.21": "two"}


def test_merge_dhcp_entry_has_one_entry_per_address() -> None:
    bags = merged(entry(), entry(mac_address=B_MAC, host_name="vm-b"))
    assert named(bags) == {"10.1.1.11": "vm-b"}
    assert bags["dhcpentry"]["10.1.1.11"]["mac_address"] == B_MAC


def test_merge_dhcp_entry_keeps_both_nics_of_a_vm() -> None:
    """F5: same name, another network."""
    other = {"ipv4_address": "10.2.1.11", "default_gateway": "10.2.1.1", "mac_address": B_MAC}
    assert named(merged(entry(), entry(**other))) == {"10.1.1.11": "vm-a", "10.2.1.11": "vm-a"}


def test_merge_dhcp_entry_gives_a_name_to_the_newest_vm_of_a_network() -> None:
    """F13: the older one keeps its address."""
    bags = merged(entry(), entry(ipv4_address="10.1.1.12", mac_address=B_MAC, host_name="VM-A"))
    assert named(bags) == {"10.1.1.11": "", "10.1.1.12": "VM-A"}


def test_merge_dhcp_entry_keeps_a_vm_without_ipv4() -> None:
    """The original crashes."""
    bags = merged(entry(ipv4_address=None, ipv6_address="2001:db8::13", default_gateway=None))
    assert named(bags) == {"2001:db8::13": "vm-a"}


def test_merge_dhcp_entry_removes_entry_metadata_and_password() -> None:
    kept = merged(entry(ipv4_address="10.1.1.12", mac_address=B_MAC, host_name="vm-b"), *served("10.1.1.12"))
    bags = merge_all(kept, [entry(), *served(), entry(remove=True)])
    assert bags == kept


def test_merge_dhcp_entry_removing_touches_no_other_vm() -> None:
    """F9: the address has gone to another MAC before the removal of the old VM arrives."""
    bags = merged(entry(), entry(mac_address=B_MAC, host_name="vm-b"), *served())
    after = merge(bags, entry(remove=True))
    assert after == bags


def test_merge_dhcp_entry_forgets_the_metadata_of_an_address_that_was_left() -> None:
    """The next VM of that address must not read the secrets of the last."""
    bags = merged(entry(), *served(), entry(ipv4_address="10.1.1.61"))
    assert "10.1.1.11" not in bags["vmdata"]
    assert "10.1.1.11" not in bags["vmpassword"]


def test_merge_dhcp_entry_again_keeps_metadata_and_password() -> None:
    bags = merged(entry(), *served(), entry(host_name="renamed", lease_time=3600))
    assert "10.1.1.11" in bags["vmdata"]
    assert "10.1.1.11" in bags["vmpassword"]


def test_merge_dhcp_entry_of_another_vm_forgets_what_was_the_older_ones() -> None:
    """A VM that never got a removal has left its address: who has it now must not read its password."""
    bags = merged(entry(), *served(), entry(mac_address="02:01:00:00:00:99", host_name="vm-other"))
    assert {bag: "10.1.1.11" in bags[bag] for bag in ("dhcpentry", "vmdata", "vmpassword")} == {
        "dhcpentry": True,
        "vmdata": False,
        "vmpassword": False,
    }
    same = merged(entry(), *served(), entry(mac_address="02:01:00:00:00:99"))
    assert "10.1.1.11" in same["vmdata"], "its NIC has another MAC"
    assert "10.1.1.11" in same["vmpassword"]


def test_merge_dhcp_entry_removing_an_unknown_vm_does_nothing() -> None:
    """The original stores the removal."""
    assert filled(merged(entry(remove=True))) == {}


def test_merge_dhcp_entries_of_one_run_take_linear_time() -> None:
    """A1, A3: 4,000 entries, with room for a slow machine; a search per entry takes over a second."""
    drops = [
        Drop(
            "x",
            "dhcpentry",
            {
                **ENTRY,
                "mac_address": f"02:01:00:00:{n // 256:02x}:{n % 256:02x}",
                "ipv4_address": f"10.1.{n // 250}.{n % 250}",
                "host_name": f"vm-{n}",
            },
        )
        for n in range(4000)
    ]
    start = time.process_time()
    bags = merge_all({}, drops)
    assert time.process_time() - start < 3
    assert len(named(bags)) == 4000


def test_merge_dhcp_config_keeps_the_latest_list() -> None:
    bags = merged(drop("dhcpconfig"))
    assert bags["dhcpconfig"] == {"id": "dhcpconfig", "entries": BODIES["dhcpconfig"]["entries"]}
    assert merge(bags, drop("dhcpconfig", entries=[]))["dhcpconfig"]["entries"] == []


def test_merge_vm_data_replaces_the_list_of_an_address() -> None:
    bags = merged(drop("vmdata"), drop("vmdata", vm_metadata=[["metadata", "vm-id", "7"]]))
    assert bags["vmdata"] == {"id": "vmdata", "10.1.1.11": [["metadata", "vm-id", "7"]]}
    assert merge(bags, drop("vmdata", vm_metadata=[]))["vmdata"] == {"id": "vmdata"}


def test_merge_vm_password_keeps_one_per_vm() -> None:
    """The original only remembers the last of all."""
    bags = merged(
        drop("vmpassword", password="first"),
        drop("vmpassword", ip_address="10.1.1.12", password="other"),
        drop("vmpassword", password="second"),
    )
    assert bags["vmpassword"] == {"id": "vmpassword", "10.1.1.11": "second", "10.1.1.12": "other"}


def test_merge_load_balancer_replaces_the_configuration() -> None:
    newer = {**BALANCER, "configuration": ["global", "\toption forceclose"]}
    bags = merged(drop("loadbalancer"), drop("loadbalancer", rules=[newer]))
    assert bags["loadbalancer"] == {"id": "loadbalancer", "config": [newer]}
    assert merge(bags, drop("loadbalancer", rules=None)) == bags


def test_merge_load_balancer_takes_a_drop_without_statistics() -> None:
    """The original crashes on the empty text."""
    bags = merged(drop("loadbalancer", rules=[{**BALANCER, "stat_rules": [""]}]))
    assert bags["loadbalancer"]["config"][0]["stat_rules"] == [""]


def test_merge_load_balancer_keeps_what_its_service_needs_to_repair() -> None:
    """Directives that haproxy has lost, and the password of a key, are for the service to deal with."""
    certificate = {"name": "192_0_2_11-443", "cert": "PEM\n", "key": "PEM\n", "password": "canary"}
    lines = ["\tappsession JSESSIONID len 52 timeout 3h", "\toption forceclose"]
    rule = {**BALANCER, "configuration": lines, "ssl_certs": [certificate]}
    assert merged(drop("loadbalancer", rules=[rule]))["loadbalancer"]["config"] == [rule]


def user(name: str, password: str, add: bool = True) -> dict[str, Any]:
    return {"user": name, "password": password, "add": add}


def test_merge_vpn_users_takes_a_changed_password() -> None:
    """The original ignores it."""
    bags = merged(drop("vpnuserlist"), drop("vpnuserlist", vpn_users=[user("alice", "new")]))
    assert bags["vpnuserlist"] == {"id": "vpnuserlist", "alice": user("alice", "new")}


def test_merge_vpn_users_removes_users_at_once() -> None:
    bags = merged(
        drop("vpnuserlist", vpn_users=[user("alice", "x"), user("bob", "y")]),
        drop("vpnuserlist", vpn_users=[user("alice", "x", False), user("nobody", "x", False), user("bob", "y")]),
    )
    assert set(bags["vpnuserlist"]) == {"id", "bob"}


def test_merge_site_to_site_keeps_who_waits_for_whom() -> None:
    """The original ignores `passive`."""
    assert merged(drop("site2sitevpn", passive=True))["site2sitevpn"]["203.0.113.41"]["passive"] is True


def peers(*drops: Drop) -> set[str]:
    return set(merged(*drops)["site2sitevpn"]) - {"id"}


def to(peer: str, networks: str, **fields: Any) -> Drop:
    return drop("site2sitevpn", peer_gateway_ip=peer, peer_guest_cidr_list=networks, **fields)


def test_vpn_21_a_peer_that_moved_leaves_nothing_behind() -> None:
    """The server saves the new address first, so what it removes is the new peer, and the old one stays."""
    old = to("203.0.113.41", "10.41.0.0/16")
    moved = [to("203.0.113.51", "10.41.0.0/16", create=create) for create in (False, True)]
    assert peers(old, *moved) == {"203.0.113.51"}
    assert peers(old, to("203.0.113.51", "10.9.0.0/24, 10.41.7.0/24,")) == {"203.0.113.51"}, "a part of it"


def test_merge_site_to_site_leaves_peers_with_other_networks() -> None:
    assert peers(to("203.0.113.41", "10.41.0.0/16"), to("203.0.113.42", "10.42.0.0/16,2001:db8::/48")) == {
        "203.0.113.41",
        "203.0.113.42",
    }
    both = [to(f"203.0.113.{n}", f"10.{n}.0.0/16") for n in (41, 42)]
    assert peers(*both, to("203.0.113.43", "10.41.0.0/16", create=False)) == {"203.0.113.41", "203.0.113.42"}


def test_merge_site_to_site_takes_lists_as_users_write_them() -> None:
    bag = merged(to("203.0.113.41", " 10.41.0.0/16 , 10.42.0.0/24,"))["site2sitevpn"]
    assert bag["203.0.113.41"]["peer_guest_cidr_list"] == "10.41.0.0/16,10.42.0.0/24"


@pytest.mark.parametrize("kind", ["remoteaccessvpn", "site2sitevpn"])
def test_merge_vpn_is_gone_when_removed(kind: str) -> None:
    """The original stores the removal of what it does not know, and then configures it."""
    bags = merged(drop(kind))
    assert len(bags[kind]) == 2
    assert merge(bags, drop(kind, create=False))[kind] == {"id": kind}
    assert filled(merged(drop(kind, create=False))) == {}


def test_merge_static_routes_removes_what_is_revoked_or_missing() -> None:
    """E7."""
    nets = ["172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]
    full = [{**ROUTE, "network": net} for net in nets]
    bags = merged(drop("staticroutes", routes=full))
    after = merge(bags, drop("staticroutes", routes=[full[0], {**full[1], "revoke": True}]))
    assert set(after["staticroutes"]) == {"id", nets[0]}
    assert merge(after, drop("staticroutes", routes=[]))["staticroutes"] == {"id": "staticroutes"}


def test_merge_monitor_service_keeps_what_a_refresh_leaves_out() -> None:
    refresh = {"config": None, "excluded_health_checks": "", "health_checks_enabled": True}
    bags = merged(
        drop("monitorservice", excluded_health_checks="cpu_usage_check.py"),
        drop("monitorservice", **refresh),
    )
    assert bags["monitorservice"] == {
        "id": "monitorservice",
        "config": "[dhcp]:processname=dnsmasq:,",
        "excluded_health_checks": "",
        "health_checks_enabled": True,
    }


def test_merge_bgp_peers_replaces_all_and_keeps_the_id() -> None:
    bags = merged(drop("bgppeers", peers=[PEER, {**PEER, "peer_id": 3}, {**PEER, "peer_id": None}]))
    assert set(bags["bgppeers"]) == {"id", "2-2040", "3-2040"}
    assert merge(bags, drop("bgppeers", peers=[]))["bgppeers"] == {"id": "bgppeers"}
