# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever is asked for and not built is told, by name; what was taken away again is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import NO_ACL, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.unbuilt import UNBUILT
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset
from tests.unit.model.bags import address, cmdline, egress, firewall, ingress, ips, nics

Body = dict[str, Any]
REMOTE: Body = {
    "type": "remoteaccessvpn",
    "create": True,
    "vpn_server_ip": "192.0.2.10",
    "ip_range": "10.1.2.2-10.1.2.8",
    "local_ip": "10.1.2.1",
    "preshared_key": "secret",
}
PEER: Body = {"peer_id": 1, "peer_as_number": 64512, "ip4_address": "192.0.2.2", "network_id": 7}
PEER |= {"network_as_number": 65010, "guest_ip4_cidr": "10.1.1.0/24", "details": {}}
RULE6: Body = {"id": 701, "protocol": "tcp", "src_port_range": [22, 22], "revoked": False, "already_added": False}
RULE6 |= {"source_cidr_list": ["2001:db8::/48"], "dest_cidr_list": [], "purpose": "Ipv6Firewall"}
RULE6 |= {"traffic_type": "Ingress", "default_egress_policy": True, "guest_ip6_cidr": "2001:db8:a:1::/64"}
USER: Body = {"user": "alice", "password": "secret", "add": True}
MONITOR: Body = {"type": "monitorservice", "health_checks_enabled": True, "excluded_health_checks": ""}


def warnings(*drops: Body) -> tuple[str, ...]:
    """Return what a router without databags says once it has taken the drops."""
    parsed = (parse_drop(f"drop.{n}", json.dumps(drop).encode()) for n, drop in enumerate(drops))
    return build(merge_all({}, parsed), []).warnings


def arguments(**given: str) -> Body:
    return {"type": "cmdline", "cmd_line": {"type": "router", "name": "r-1-VM", **given}}


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        (REMOTE, "remoteaccessvpn (192.0.2.10)"),
        ({"type": "vpnuserlist", "vpn_users": [USER]}, "vpnuserlist (alice)"),
        ({"type": "bgppeers", "peers": [PEER]}, "bgppeers (1-7)"),
        ({"type": "ipv6firewallrules", "rules": [RULE6]}, "ipv6firewallrules (701)"),
        (MONITOR, "monitorservice (health checks)"),
        ({"type": "monitorservice", "config": "[dhcp]:processname=dnsmasq:,"}, "monitorservice (services)"),
        (arguments(is_routed="true"), "is_routed=true (boot arguments)"),
        (arguments(eth0ip6="2001:db8::1", eth0ip6prelen="64"), "IPv6 addresses (eth0ip6)"),
        (arguments(guestgw6="2001:db8::1"), "IPv6 addresses (guestgw6)"),
        (arguments(userdata="H4sIAAAA"), "userdata (userdata)"),
        (arguments(sshonguest="true"), "sshonguest (sshonguest)"),
        (arguments(baremetalnotificationapikey="secret"), "baremetal (baremetalnotificationapikey)"),
        (arguments(ntpserverlist="192.0.2.123"), "ntpserverlist (ntpserverlist)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_asked_for_in_vain_is_told(drop: Body, named: str) -> None:
    (warning,) = warnings(drop)
    assert warning.startswith(f"not built yet: {named}: ")
    assert "secret" not in warning


def test_the_same_drop_again_is_told_again() -> None:
    """It changes no databag and is asked for all the same."""
    assert warnings(REMOTE, REMOTE) == warnings(REMOTE)


def test_a_tier_with_ipv6_is_told() -> None:
    tier = {"type": "guestnetwork", "add": True, "device": "eth2", "mac_address": "02:00:00:00:00:02"}
    tier |= {"router_guest_ip": "10.2.1.1", "router_guest_netmask": "255.255.255.0"}
    assert warnings(tier) == ()
    (warning,) = warnings(tier | {"router_guest_ip6": "2001:db8::1", "router_guest_ip6_cidr": "2001:db8::/64"})
    assert "IPv6 addresses (guestnetwork eth2)" in warning


@pytest.mark.parametrize(
    "drops",
    [
        (REMOTE, {**REMOTE, "create": False}),
        ({**REMOTE, "create": False},),
        ({"type": "vpnuserlist", "vpn_users": [USER]}, {"type": "vpnuserlist", "vpn_users": [{**USER, "add": False}]}),
        ({"type": "bgppeers", "peers": [PEER]}, {"type": "bgppeers", "peers": []}),
        ({"type": "bgppeers", "peers": []},),
        tuple({"type": "ipv6firewallrules", "rules": [RULE6 | {"revoked": gone}]} for gone in (False, True)),
        (MONITOR, MONITOR | {"health_checks_enabled": False}),
        (arguments(is_routed="true"), arguments(is_routed="false")),
        (arguments(is_routed="null", eth0ip6="null", ip6firewall="false", userdata="", sshonguest="false"),),
    ],
    ids=str,
)
def test_what_was_taken_away_or_never_asked_for_is_not_told(drops: tuple[Body, ...]) -> None:
    assert warnings(*drops) == ()


def acl(*cidrs: str) -> dict[str, Any]:
    items = [{"type": "tcp", "first_port": 80, "last_port": 80, "cidr": cidr, "allowed": True} for cidr in cidrs]
    return {"networkacl": {"eth2": {"mac_address": "02:00:00:00:00:02", "ingress_rules": [], "egress_rules": items}}}


def forward(sources: str) -> dict[str, Any]:
    record = {"type": "forward", "public_ip": "192.0.2.10", "internal_ip": "10.1.1.11", "protocol": "tcp"}
    record |= {"public_ports": "80:80", "internal_ports": "80:80", "source_cidr_list": sources}
    return {"forwardingrules": {"id": "forwardingrules", "192.0.2.10": [record]}}


@pytest.mark.parametrize(
    ("bags", "named"),
    [
        ({"firewallrules": firewall(ingress(source_cidr_list=["::/0"]))}, "firewallrules 1"),
        ({"firewallrules": firewall(egress(False, dest_cidr_list=["2001:db8::/32", "::/0"]))}, "firewallrules 1"),
        (acl("10.0.0.0/8", "::/0"), "networkacl eth2 egress[1]"),
        (forward("2001:db8::/32"), "forwardingrules 192.0.2.10 80:80"),
    ],
)
def test_a_rule_for_ipv6_only_does_not_vanish_without_a_word(bags: dict[str, Any], named: str) -> None:
    (warning,) = build(bags, []).warnings
    assert f"rules for IPv6 only ({named})" in warning


def test_a_rule_with_both_kinds_of_network_is_in_force() -> None:
    bags = {"firewallrules": firewall(ingress(source_cidr_list=["0.0.0.0/0", "::/0"])), **acl("0.0.0.0/0,::/0")}
    assert build({**bags, **forward("0.0.0.0/0,::/0")}, []).warnings == ()


def test_a_long_list_is_cut() -> None:
    rules = firewall(*(ingress(source_cidr_list=["::/0"]) for _number in range(1000)))
    (warning,) = build({"firewallrules": rules}, []).warnings
    assert "firewallrules 5 and 995 more)" in warning
    assert len(warning) < 300


def test_kinds_are_told_apart() -> None:
    """README.md has a row for each."""
    assert len({unbuilt.kind for unbuilt in UNBUILT}) == len(UNBUILT)


def test_nothing_is_told_of_an_ordinary_router() -> None:
    assert build({"cmdline": cmdline(eth0ip="10.1.1.1", eth0mask="255.255.255.0")}, []).warnings == ()


ROUTED_NICS = nics(eth0="00", eth1="01", eth2="02")
PUBLIC = address("192.0.2.10", source_nat=True, gateway="192.0.2.1")


def translations(router: Router) -> dict[str, tuple[str, ...]]:
    """Return every map of addresses that the ruleset of a router translates by."""
    found = ruleset(router).sets
    return {s.name: s.elements for s in found if s.name.startswith(("forwards", "static_nat", "nic_source"))}


@pytest.mark.parametrize("routed", ["true", "1", "TRUE", "false", "null"])
def test_a_routed_network_is_not_translated(routed: str) -> None:
    """Whatever the databags of NAT hold; a network that is not routed shows that they do hold something."""
    guest = address("10.1.1.1", "guest")
    bags = {
        "cmdline": cmdline(is_routed=routed, gateway="192.0.2.1"),
        "ips": ips(eth0=[guest], eth2=[PUBLIC]),
        **forward("0.0.0.0/0"),
    }
    found = translations(build(bags, ROUTED_NICS))
    translating = [name for name, elements in found.items() if elements]
    assert translating == ([] if routed in ("true", "1", "TRUE") else ["forwards_tcp", "nic_source"])


def test_a_routed_vpc_is_closed_but_for_what_rules_allow() -> None:
    """In both directions, with an ACL and without: its addresses are known outside, and nothing hides them."""
    inner = ips(eth1=[address("10.2.1.1", "guest")], eth2=[address("10.2.2.1", "guest")])
    bags = {"ips": inner, **acl("10.0.0.0/8")}
    given = {"eth1": NO_ACL, "eth2": build({**bags, "cmdline": cmdline(type="vpcrouter")}, ROUTED_NICS).acls["eth2"]}
    router = build({**bags, "cmdline": cmdline(type="vpcrouter", is_routed="true")}, ROUTED_NICS)
    assert set(router.acls) == set(given)
    for name, (towards, leaving) in router.acls.items():
        assert (towards.default_allow, leaving.default_allow) == (False, False), name
        assert (towards.rules, leaving.rules) == (given[name][0].rules, given[name][1].rules)
