# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databags of a release that accepted more: the router goes on, without what no drop may say today."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import parse_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic, Router
from tests.unit.databag.support import ACL_RULE, ARGUMENTS, BODIES, FIREWALL_RULE, MAC, PEER, SITE_TO_SITE, TIER
from tests.unit.model import bags

ADDRESSES = {
    "router_guest_ip6": "2001:db8:1::1",
    "router_guest_ip6_cidr": "2001:db8:1::/64",
    "router_guest_ip6_gateway": "2001:db8:1::1",
    "router_ip6": "2001:db8::a",
    "router_ip6_cidr": "2001:db8::/64",
    "router_ip6_gateway": "2001:db8::1",
    "dns6": "2001:db8::53",
}
ARGUMENTS6 = {
    "eth0ip6": "2001:db8:1::1",
    "eth2ip6": "2001:db8::a",
    "ip6gateway": "2001:db8::1",
    "guestgw6": "2001:db8:1::1",
    "ip6dns1": "2001:db8::53",
    "ip6dns2": "2001:db8::54",
}


def adopted(name: str, bag: dict[str, Any]) -> dict[str, Any]:
    """Return a databag as it is loaded from the disk."""
    return {name: parse_bag(name, name, json.dumps(bag).encode())}


def refused(kind: str, body: dict[str, Any]) -> bool:
    try:
        parse_drop("x.json", json.dumps({"type": kind, **body}).encode())
    except DropError:
        return True
    return False


def vpc(name: str, bag: dict[str, Any]) -> Router:
    """Return the router of a VPC with a public address and one tier, and this databag."""
    found = {
        **adopted("cmdline", {"config": {"type": "vpcrouter", "name": "r-2-VM"}}),
        "ips": bags.ips(
            eth1=[bags.address("192.0.2.50", vif_mac_address=bags.mac("0b"), source_nat=True)],
            eth2=[bags.address("10.2.1.1", "guest", vif_mac_address=MAC)],
        ),
        **adopted("guestnetwork", {"eth2": [{**TIER, **ADDRESSES}]}),
        **adopted(name, bag),
    }
    return build(found, [*bags.nics(eth1="0b"), Nic("eth2", MAC)])


@pytest.mark.parametrize("field", ["ike_lifetime", "esp_lifetime"])
def test_a_connection_with_a_lifetime_of_nothing_is_not_made(field: str) -> None:
    record = {**SITE_TO_SITE, field: 0}
    assert refused("site2sitevpn", record)
    other = {**SITE_TO_SITE, "peer_gateway_ip": "203.0.113.42"}
    router = vpc("site2sitevpn", {"203.0.113.41": record, "203.0.113.42": other})
    assert [tunnel.peer for tunnel in router.vpn.tunnels] == ["203.0.113.42"]
    reason = f"{field}: expected an integer from 1 to 2147483647: it is left out"
    assert f"site-to-site VPN to 203.0.113.41: {reason}" in router.warnings


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ip6_address": "fe80::1"}, "ip6_address: expected the IPv6 address of a host"),
        (
            {"guest_ip4_cidr": "10.1.1.1/24"},
            "guest_ip4_cidr: expected a network without host bits such as 10.1.1.0/24",
        ),
        ({"guest_ip6_cidr": "::/0"}, "guest_ip6_cidr: expected the prefix of an IPv6 network such as 2001:db8::/64"),
        ({"details": {"EBGP_MultiHop": "many"}}, "details.EBGP_MultiHop: expected a number of hops from 1 to 255"),
    ],
)
def test_a_peer_with_a_value_that_no_drop_may_have_is_left_out(changes: dict[str, Any], reason: str) -> None:
    other = {**PEER, "peer_id": 3, "ip4_address": "192.0.2.3"}
    assert refused("bgppeers", {"peers": [{**PEER, **changes}]})
    router = vpc("bgppeers", {"2-2040": {**PEER, **changes}, "3-2040": other})
    assert router.bgp is not None
    assert [str(session.peer) for session in router.bgp.sessions] == ["192.0.2.3"]
    assert f"BGP peer 2-2040: {reason}: it is left out" in router.warnings


def test_peers_to_which_the_router_would_be_another_as_are_left_out() -> None:
    other = {**PEER, "peer_id": 3, "ip4_address": "192.0.2.3", "network_as_number": 65011}
    assert refused("bgppeers", {"peers": [PEER, other]})
    router = vpc("bgppeers", {"2-2040": PEER, "3-2040": other})
    assert router.bgp is not None
    assert [str(session.peer) for session in router.bgp.sessions] == ["192.0.2.2"]
    assert "BGP peer 3-2040: the router is AS 65010 to others, not 65011: it is left out" in router.warnings


@pytest.mark.parametrize("field", sorted(ADDRESSES))
@pytest.mark.parametrize("odd", ["::1", "ff02::1"])
def test_a_tier_with_an_address_that_no_drop_may_have_has_no_ipv6(field: str, odd: str) -> None:
    tier = {**TIER, **ADDRESSES, field: f"{odd}/128" if field.endswith("cidr") else odd}
    assert refused("guestnetwork", tier)
    router = vpc("guestnetwork", {"eth2": [tier]})
    assert [device.six for device in router.devices] == [None, None]
    assert [device.mtu for device in router.devices] == [1500, 1450]
    (warning,) = [line for line in router.warnings if line.startswith(f"tier on eth2: {field}: expected ")]
    assert warning.endswith(": it has no IPv6")


def test_a_tier_with_addresses_that_fit_has_ipv6() -> None:
    assert all(device.six for device in vpc("guestnetwork", {"eth2": [{**TIER, **ADDRESSES}]}).devices)


@pytest.mark.parametrize("name", sorted(ARGUMENTS6))
def test_boot_arguments_with_an_address_that_no_drop_may_have_give_no_ipv6(name: str) -> None:
    given = {**ARGUMENTS, **ARGUMENTS6, "eth0ip6prelen": "64", name: "::1"}
    assert refused("cmdline", {"cmd_line": given})
    found = adopted("cmdline", {"config": given})
    found["ips"] = bags.ips(
        eth0=[bags.address("10.1.1.1", "guest")], eth2=[bags.address("192.0.2.10", source_nat=True)]
    )
    router = build(found, bags.nics(eth0="0a", eth1="0b", eth2="0c"))
    assert [device.six for device in router.devices] == [None, None]
    assert router.settings.resolvers6 == ()
    assert router.settings.domain == "cs2cloud.internal"
    assert f"boot arguments: {name}: expected the IPv6 address of a host: they give no IPv6" in router.warnings


@pytest.mark.parametrize("name", ["firewallrules", "ipv6firewallrules"])
def test_a_rule_that_names_an_odd_network_of_guests_is_as_good_as_one_that_names_none(name: str) -> None:
    rule = {**FIREWALL_RULE, "source_cidr_list": []}
    odd = {**rule, "guest_ip6_cidr": "::/0"}
    assert refused(name, {"rules": [odd]})
    one, other = vpc(name, {"101": rule}), vpc(name, {"101": odd})
    assert (one.firewall, one.inbound6) == (other.firewall, other.inbound6)


def test_an_acl_that_names_an_odd_network_of_its_nic_is_as_good_as_one_that_names_none() -> None:
    acl = {**BODIES["networkacl"], "ingress_rules": [ACL_RULE], "mac_address": MAC}
    odd = {**acl, "nic_ip6_cidr": "::/0"}
    assert refused("networkacl", odd)
    one, other = vpc("networkacl", {"eth2": acl}), vpc("networkacl", {"eth2": odd})
    assert one.acls6["eth2"][0].rules
    assert (one.acls, one.acls6) == (other.acls, other.acls6)
