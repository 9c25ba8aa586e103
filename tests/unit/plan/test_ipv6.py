# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IPv6 of a router: who has which address, what is advertised, what may pass, and what a change takes away."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    advertising,
    interfaces,
    ipv6,
    neighbours,
    redundancy,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack6 import (
    Change6,
    Verdicts6,
    narrows,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge6 import Flow6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Announce, IpBatch
from tests.golden.cases import renderer
from tests.unit.model.bags import Record, address, cmdline, dual_stack_shared, ips, mac, nics

ROOT = Path(__file__).resolve().parents[3]
NICS = nics(eth0="00", eth1="01", eth2="02", eth3="03")
PUBLIC = address("192.0.2.10", source_nat=True, gateway="192.0.2.1")
SIX = {"eth0ip6": "2001:db8:a:1::1", "eth0ip6prelen": "64", "eth2ip6": "2001:db8:f::10", "eth2ip6prelen": "64"}
SIX |= {"ip6gateway": "2001:db8:f::1", "ip6dns1": "2001:db8:53::1", "ip6dns2": "2001:db8:53::2"}
CLIENT, VM = "2001:db8:99::10", "2001:db8:a:1::11"


def rule(number: int, traffic: str = "Ingress", policy: bool = True, **fields: Any) -> Record:
    """Return a rule of `ipv6firewallrules`."""
    found = {"id": number, "protocol": "tcp", "revoked": False, "source_cidr_list": [], "dest_cidr_list": []}
    return {**found, "traffic_type": traffic, "default_egress_policy": policy, **fields}


POLICY = rule(0, "Egress", protocol="all")


def isolated(*rules: Record, state: VrrpState = VrrpState.UNKNOWN, **arguments: str) -> Router:
    """Return the router of an isolated network with IPv6 and these rules."""
    bags = {
        "cmdline": cmdline(**{"gateway": "192.0.2.1", **SIX, **arguments}),
        "ips": ips(eth0=[address("10.1.1.1", "guest")], eth2=[PUBLIC]),
        "ipv6firewallrules": {"id": "ipv6firewallrules", **{str(r["id"]): r for r in rules}},
    }
    return build(bags, NICS, state)


def tier(device: str, number: int, **fields: Any) -> Record:
    """Return the drop of a tier with IPv6."""
    found = {"add": True, "device": device, "mac_address": mac(f"0{device[-1]}"), "network_id": number}
    found |= {"router_guest_ip6": f"2001:db8:a:{number}::1", "router_guest_ip6_gateway": f"2001:db8:a:{number}::1"}
    found |= {"router_guest_ip6_cidr": f"2001:db8:a:{number}::/64", "router_ip6": "2001:db8:f::50"}
    return found | {"router_ip6_cidr": "2001:db8:f::/48", "router_ip6_gateway": "2001:db8:f::1", **fields}


def vpc(*tiers: Record, acls: Record | None = None, **arguments: str) -> Router:
    """Return a VPC with the tiers on eth2 and eth3, whatever they have of IPv6."""
    guests = {name: [address(f"10.2.{name[-1]}.1", "guest")] for name in ("eth2", "eth3")}
    return build(
        {
            "cmdline": cmdline(type="vpcrouter", source_nat_ip="192.0.2.10", **arguments),
            "ips": ips(eth0=[address("169.254.1.1", "control")], eth1=[PUBLIC], **guests),
            "guestnetwork": {"id": "guestnetwork", **{entry["device"]: [entry] for entry in tiers}},
            "networkacl": {"id": "networkacl", **(acls or {})},
        },
        NICS,
    )


def lines(router: Router) -> list[str]:
    """Return the `ip` lines that make a router of bare NICs."""
    steps = interfaces.compare(router, interfaces.Network())
    return [line for step in steps if isinstance(step, IpBatch) for line in step.lines]


def chains(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the rules of every chain that differs from router to router."""
    return {found.name: found.rules for found in ruleset(router).chains}


def sets(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the elements of every set and map of the ruleset."""
    return {found.name: found.elements for found in ruleset(router).sets}


def test_ipv6_4_addresses_and_one_default_route() -> None:
    six = [line for line in lines(isolated()) if ":" in line]
    assert six == [
        "addr add 2001:db8:a:1::1/64 dev eth0 nodad",
        "addr add fe80::1/64 dev eth0 nodad",
        "addr add 2001:db8:f::10/64 dev eth2 nodad",
        "route replace ::/0 via 2001:db8:f::1 dev eth2 table 254 proto static",
    ]


def test_ipv6_4_new_addresses_are_announced() -> None:
    (step,) = (s for s in interfaces.compare(isolated(), interfaces.Network()) if isinstance(s, Announce))
    assert {(nic, ip) for nic, ip, _hop in step.addresses if ":" in ip} == {
        ("eth0", "2001:db8:a:1::1"),
        ("eth0", "fe80::1"),
        ("eth2", "2001:db8:f::10"),
    }


def test_ipv6_4_a_gateway_that_cannot_be_reached_breaks_nothing_else() -> None:
    router = isolated(ip6gateway="2001:db8:77::1")
    assert not [line for line in lines(router) if "::/0" in line]
    assert router.warnings == (
        "eth2: IPv6 gateway 2001:db8:77::1 is not in 2001:db8:f::/64: there is no default route",
    )
    assert [line for line in lines(isolated(ip6gateway="fe80::99")) if "::/0 via fe80::99 dev eth2" in line]


def test_ipv6_4_the_router_of_a_shared_network_is_a_host_with_somebody_elses_router() -> None:
    found = build(dual_stack_shared(), NICS)
    assert "route replace ::/0 via 2001:db8:a:1::fe dev eth0 table 254 proto static" in lines(found)
    assert advertising.guests(found) == ()
    assert dict(interfaces.wanted(found, 1).knobs)["/proc/sys/net/ipv6/conf/all/forwarding"] == "0"


def test_ipv6_5_the_public_address_has_its_own_length() -> None:
    router = vpc(tier("eth2", 1, router_guest_ip6_cidr="2001:db8:a:1::/80"))
    assert "addr add 2001:db8:f::50/48 dev eth1 nodad" in lines(router)
    assert "addr add 2001:db8:a:1::1/80 dev eth2 nodad" in lines(router)


def test_ipv6_6_a_tier_that_goes_takes_its_part_and_the_last_one_the_public_address() -> None:
    both, one, none = vpc(tier("eth2", 1), tier("eth3", 2)), vpc(tier("eth3", 2)), vpc()
    found = [sorted(nic for nic, six in ipv6.addresses(router).items() if six) for router in (both, one, none)]
    assert found == [["eth1", "eth2", "eth3"], ["eth1", "eth3"], []]
    assert [guest.nic for guest in advertising.guests(one)] == ["eth3"]


def test_ipv6_24_a_router_without_ipv6_says_nothing() -> None:
    router = vpc()
    assert ipv6.forwarding(router)[1] == "0"
    assert {value for _path, value in ipv6.knobs(router)} == {"1"}
    assert {path.rsplit("/", 1)[1] for path, _value in ipv6.knobs(router)} == {"disable_ipv6"}
    assert advertising.guests(router) == ()


def test_ipv6_3_control_nics_and_tiers_without_it_have_no_ipv6() -> None:
    knobs = dict(ipv6.knobs(vpc(tier("eth2", 1))))
    off = {path.split("/")[6] for path, value in knobs.items() if path.endswith("disable_ipv6") and value == "1"}
    assert off == {"eth0", "eth3"}


def test_what_a_nic_loses_with_ipv6_itself_is_not_taken_off_one_by_one() -> None:
    """The setting that comes before takes addresses and routes away: `ip` would find none of them."""
    before, after = vpc(tier("eth2", 1), tier("eth3", 2)), vpc(tier("eth2", 1))
    live = interfaces.network(before)
    by_hand = interfaces.Route(254, "2001:db8:77::/64", via="2001:db8:a:2::9", device="eth3", by_hand=True)
    (step,) = interfaces.compare(after, replace(live, routes=live.routes | {by_hand})) or (IpBatch(()),)
    assert isinstance(step, IpBatch)
    assert not [line for line in step.lines if ":" in line]


@pytest.mark.parametrize(
    ("route", "kept"),
    [
        (interfaces.Route(254, "2001:db8:77::/64", via="2001:db8:f::9", device="eth2", by_hand=True), True),
        (interfaces.Route(254, "2001:db8:a:1:1::/80", via="2001:db8:f::9", device="eth2", by_hand=True), False),
        (interfaces.Route(254, "::/0", via="2001:db8:f::9", device="eth2", metric=7, by_hand=True), False),
    ],
)
def test_routes_by_hand_stay_where_they_contradict_nothing(route: interfaces.Route, kept: bool) -> None:
    live = interfaces.network(isolated())
    steps = interfaces.compare(isolated(), replace(live, routes=live.routes | {route}))
    assert bool(steps) is not kept


# Advertisements


def radvd(router: Router) -> str:
    """Return radvd's file."""
    (file,) = advertising.wanted(router, renderer()).files
    return file.content


def test_ipv6_2_resolvers_in_order_and_the_mtu_where_it_is_another() -> None:
    text = radvd(isolated())
    assert text.index("RDNSS 2001:db8:53::1") < text.index("RDNSS 2001:db8:53::2")
    assert "AdvLinkMTU" not in text
    plain = vpc(tier("eth2", 1, mtu=1450, dns6="2001:db8:53::9,2001:db8:53::8"), tier("eth3", 2))
    first, second = radvd(plain).split("interface ")[1:]
    assert first.index("2001:db8:53::9") < first.index("2001:db8:53::8")
    assert "AdvLinkMTU 1450;" in first
    assert "RDNSS" not in second
    assert "AdvLinkMTU" not in second


def test_ipv6_1_the_prefix_is_the_network_and_not_the_address() -> None:
    assert "prefix 2001:db8:a:1::/64\n" in radvd(isolated(eth0ip6="2001:db8:a:1::77"))


@pytest.mark.parametrize("fields", [{"is_vr_guest_gateway": False}, {"router_guest_ip6_gateway": "2001:db8:a:1::99"}])
def test_a_router_that_is_not_the_gateway_does_not_advertise(fields: Record) -> None:
    router = vpc(tier("eth2", 1, **fields))
    assert advertising.guests(router) == ()
    assert IPv6Interface("fe80::1/64") not in ipv6.addresses(router)["eth2"]


@pytest.mark.parametrize("state", list(VrrpState))
def test_ipv6_18_only_the_primary_advertises(state: VrrpState) -> None:
    pair = isolated(state=state, redundant_router="true", guestgw="10.1.1.2", guestgw6="2001:db8:a:1::2")
    (unit,) = advertising.wanted(pair, renderer()).units
    assert unit.running is (state is VrrpState.PRIMARY)


def test_ipv6_18_vrrp_moves_what_only_one_router_may_have() -> None:
    pair = isolated(redundant_router="true", guestgw="10.1.1.2", guestgw6="2001:db8:a:1::2")
    assert ipv6.addresses(pair)["eth0"] == {IPv6Interface("2001:db8:a:1::1/64")}
    config = next(
        f.content for part in redundancy.wanted(pair, renderer()) for f in part.files if "keepalived" in f.path
    )
    assert "        2001:db8:a:1::2/64 dev eth0 -nodad\n        fe80::1/64 dev eth0 -nodad\n" in config
    assert redundancy.leaving(pair, config) == ()
    gone = isolated(redundant_router="true", guestgw="10.1.1.2", eth0ip6="null", guestgw6="null")
    assert redundancy.leaving(gone, config) == (("eth0", "2001:db8:a:1::2"), ("eth0", "fe80::1"))


def test_ipv6_18_a_gateway_without_an_own_address_is_a_gateway() -> None:
    pair = isolated(redundant_router="true", guestgw="10.1.1.2", guestgw6="2001:db8:a:1::2", eth0ip6="null")
    assert ipv6.addresses(pair)["eth0"] == frozenset()
    assert "prefix 2001:db8:a:1::/64" in radvd(pair)


def test_ipv6_19_a_transition_brings_route_daemon_and_announcements() -> None:
    pair = isolated(redundant_router="true", guestgw="10.1.1.2", guestgw6="2001:db8:a:1::2")
    change = redundancy.transition(pair)
    assert "route replace ::/0 via 2001:db8:f::1 dev eth2 table 254 proto static" in change.primary
    assert "radvd.service" in change.units
    targets = [(nic, str(IPv6Address(frame[62:78]))) for nic, frame in change.announce6]
    assert targets == [("eth0", "2001:db8:a:1::2"), ("eth0", "fe80::1"), ("eth2", "2001:db8:f::10")]
    assert "addr del 2001:db8:a:1::2/64 dev eth0" in change.withdraw


def test_ipv6_21_an_advertisement_overrides_and_is_whole() -> None:
    frame = neighbours.advertisement("02:00:00:00:00:2a", IPv6Address("2001:db8::5"))
    assert frame[:14] == bytes.fromhex("33330000000102000000002a86dd")
    assert (frame[21], frame[54]) == (255, 136)
    assert frame[58] & 0x20, "override"
    assert frame[-6:] == bytes.fromhex("02000000002a")
    pseudo = frame[22:54] + struct.pack("!II", 32, 58) + frame[54:]
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    assert (total & 0xFFFF) + (total >> 16) in (0xFFFF, 0x1FFFE)


# The filter


def test_ipv6_9_without_rules_both_ways_are_closed() -> None:
    assert chains(isolated())["inbound6"] == chains(isolated())["egress6"] == ("goto refused",)


@pytest.mark.parametrize("policy", [True, False])
def test_ipv6_8_the_policy_is_that_of_egress_rules_and_rule_0_is_it(policy: bool) -> None:
    zero = rule(0, "Egress", policy, protocol="all")
    odd = rule(5, policy=not policy)
    block = rule(7, "Egress", policy, src_port_range=[25, 25])
    egress = isolated(zero, odd, block).egress6
    assert egress.default_allow is policy
    assert [(r.allow, r.match.ports and r.match.ports.first) for r in egress.rules] == [(not policy, 25)]


def test_ipv6_8_ingress_rules_alone_say_the_policy() -> None:
    assert isolated(rule(5)).egress6.default_allow is True
    assert isolated(rule(5, policy=False)).egress6.default_allow is False


def test_ipv6_8_a_rule_for_everything_that_has_a_destination_is_not_the_policy() -> None:
    egress = isolated(POLICY, rule(8, "Egress", protocol="all", dest_cidr_list=["2001:db8:99::/48"])).egress6
    assert [(r.allow, r.match.destinations) for r in egress.rules] == [(False, ("2001:db8:99::/48",))]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"src_port_range": [22, 22]}, "tcp dport 22 accept"),
        ({"src_port_range": [0, 0]}, "meta l4proto tcp accept"),
        ({}, "meta l4proto tcp accept"),
        ({"protocol": "udp", "src_port_range": [1, 9]}, "udp dport 1-9 accept"),
        ({"protocol": "icmp", "icmp_type": -1, "icmp_code": -1}, "meta l4proto 58 accept"),
        ({"protocol": "icmp", "icmp_type": 128, "icmp_code": 0}, "icmpv6 type 128 icmpv6 code 0 accept"),
        ({"protocol": "all", "source_cidr_list": ["2001:db8:99::5/48"]}, "ip6 saddr 2001:db8:99::/48 accept"),
        ({"source_cidr_list": ["::/0"], "dest_cidr_list": [f"{VM}/128"]}, f"ip6 daddr {VM} meta l4proto tcp accept"),
    ],
)
def test_ipv6_7_every_form_of_rule(fields: Record, text: str) -> None:
    first, last = chains(isolated(rule(701, **fields)))["inbound6"]
    assert first == f'{text} comment "ipv6firewallrules 701"'
    assert last == "goto refused"


def item(kind: str, cidr: str, allowed: bool = True, **fields: Any) -> Record:
    """Return a rule of an ACL."""
    return {"type": kind, "cidr": cidr, "allowed": allowed, **fields}


def test_ipv6_11_an_acl_is_parted_by_family_in_its_order() -> None:
    given = [
        item("tcp", "203.0.113.0/24,2001:db8:99::/48", first_port=22, last_port=22),
        item("all", "10.0.0.0/8", allowed=False),
        item("all", "2001:db8:98::/48", allowed=False),
        item("protocol", "::/0,0.0.0.0/0", protocol=58),
        item("icmp", "::/0", icmp_type=128, icmp_code=-1),
    ]
    acl = {"eth2": {"mac_address": mac("02"), "ingress_rules": given, "egress_rules": []}}
    router = vpc(tier("eth2", 1), acls=acl)
    assert [rule.split(' comment "')[0] for rule in chains(router)["acl6_eth2_ingress"]] == [
        "ip6 saddr 2001:db8:99::/48 tcp dport 22 accept",
        "ip6 saddr 2001:db8:98::/48 goto refused",
        "meta l4proto 58 accept",
        "icmpv6 type 128 accept",
        "goto refused",
    ]
    assert chains(router)["acl6_eth2_egress"] == ("goto refused",)
    assert "2001" not in " ".join(chains(router)["acl_eth2_ingress"])


def test_ipv6_12_both_acls_decide_between_tiers() -> None:
    found = sets(vpc(tier("eth2", 1), tier("eth3", 2)))
    assert "eth2 . eth3 : jump acl6_eth2_egress" in found["forward6_from"]
    assert "eth2 . eth3 : jump acl6_eth3_ingress" in found["forward6_to"]
    assert "eth1 . eth2 : jump acl6_eth2_ingress" in found["forward6_to"]


def test_ipv6_16_a_prefix_is_its_nics_and_nobodys_else() -> None:
    found = sets(vpc(tier("eth2", 1), tier("eth3", 2)))["source_networks6"]
    assert "2001:db8:a:1::/64 : goto source_eth2" in found
    assert "2001:db8:a:2::/64 : goto source_eth3" in found
    assert "ff00::/8 : drop" in found


# What a change takes away


def into(port: int, vm: str = VM) -> Flow6:
    """Return a connection from outside."""
    return Flow6("tcp", IPv6Address(CLIENT), IPv6Address(vm), port)


def test_ipv6_10_what_a_rule_no_longer_admits_is_cut() -> None:
    both = isolated(rule(1, src_port_range=[22, 22]), rule(2, src_port_range=[80, 80]))
    one = isolated(rule(1, src_port_range=[22, 22]))
    change = Change6(both, one)
    assert [change.cuts(into(port)) for port in (22, 80, 443)] == [False, True, False]
    assert narrows([both], one)
    assert not narrows([one], both)
    verdicts = Verdicts6([both], one)
    ends = int(IPv6Address(CLIENT)), int(IPv6Address(VM))
    entries = [(*ends, 6, 40000, port, 0, ends[1], ends[0], port, 0) for port in (22, 80, 443, 80)]
    assert [verdicts.cuts(entry) for entry in entries] == [False, True, False, True]


def test_ipv6_10_a_changed_policy_cuts_what_left_by_it() -> None:
    out = Flow6("icmp", IPv6Address(VM), IPv6Address(CLIENT), 128)
    assert Change6(isolated(POLICY), isolated()).cuts(out)
    assert not Change6(isolated(POLICY), isolated(POLICY)).cuts(out)


def test_ipv6_10_a_tier_that_goes_takes_its_connections_along() -> None:
    acls = {
        f"eth{n}": {"mac_address": mac(f"0{n}"), "ingress_rules": [item("all", "::/0")], "egress_rules": []}
        for n in (2, 3)
    }
    both = vpc(tier("eth2", 1), tier("eth3", 2), acls=acls)
    one = vpc(tier("eth3", 2), acls={"eth3": acls["eth3"]})
    assert narrows([both], one)
    assert Change6(both, one).cuts(into(22, "2001:db8:a:1::11"))
    assert not Change6(both, one).cuts(into(22, "2001:db8:a:2::11"))


def test_fewer_neighbours_are_remembered_than_the_kernels_table_takes() -> None:
    """A VM may speak for any number: who is remembered is looked for at any rate."""
    text = tables.wanted(isolated(), renderer())[1].files[0].content
    settings = (ROOT / "roles/interfaces/files/etc/sysctl.d/60-cloudstack.conf").read_text(encoding="utf-8")
    size = int(text.partition("set neighbours6 {")[2].partition("size ")[2].split()[0])
    assert size <= int(settings.partition("ipv6.neigh.default.gc_thresh2 = ")[2].split()[0]) / 2
