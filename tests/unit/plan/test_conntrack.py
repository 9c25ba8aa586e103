# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was allowed and is no longer is cut, and nothing else (B18)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    Role,
    Router,
    RuleList,
    StaticNat,
    StaticRoute,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import Change
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import (
    Pattern,
    patterns,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import (
    Entry,
    Verdicts,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow
from tests.unit.plan.samples import CLIENT, FIRST, SECOND, VM1, VM2, device, isolated, rule, rules, vpc, with_settings

THIRD = IPv4Address("192.0.2.11")
GATEWAY = IPv4Address("10.1.1.1")
OTHER = IPv4Address("198.18.0.9")
SSH = Forward(FIRST, VM1, "tcp", Ports(2222, 2222), Ports(22, 22))
WEB = Forward(FIRST, VM2, "tcp", Ports(80, 80), Ports(80, 80))
RANGE = Forward(FIRST, VM2, "udp", Ports(9000, 9005), Ports(8000, 8005))
FROM_CLIENT = rule(protocol="tcp", ports=2222, sources=("203.0.113.0/24",), label="1")
FROM_ALL = rule(protocol="tcp", ports=(1, 65535), label="2")
WHOLE = RuleList((rule(label="3"),))


def flow(
    source: IPv4Address,
    destination: IPv4Address,
    port: int,
    reply: tuple[IPv4Address, int] | None = None,
    protocol: str = "tcp",
    seen_as: IPv4Address | None = None,
) -> Flow:
    """Return a flow; `reply` is the VM and port it was led to, `seen_as` the address its source was given."""
    inner, inner_port = reply or (destination, port)
    return Flow(protocol, source, destination, 40000, port, inner, seen_as or source, inner_port)


def router(**fields: object) -> Router:
    """Return an isolated router that lets all enter by its addresses, and all leave."""
    return isolated(
        **{
            "firewall": {FIRST: WHOLE, SECOND: WHOLE, THIRD: WHOLE},
            "egress": RuleList(default_allow=True),
            "forwards": (SSH, WEB, RANGE),
            "static_nats": (StaticNat(SECOND, VM1),),
            **fields,
        }
    )


SSH_IN = flow(CLIENT, FIRST, 2222, (VM1, 22))
SSH_IN_OTHER = flow(OTHER, FIRST, 2222, (VM1, 22))
WEB_IN = flow(CLIENT, FIRST, 80, (VM2, 80))
RANGE_IN = flow(CLIENT, FIRST, 9003, (VM2, 8003), "udp")
STATIC_IN = flow(CLIENT, SECOND, 443, (VM1, 443))
STATIC_PING = flow(CLIENT, SECOND, 8, (VM1, 8), "icmp")
STATIC_OUT = flow(VM1, CLIENT, 443, seen_as=SECOND)
WEB_OUT = flow(VM2, CLIENT, 80, seen_as=FIRST)
DNS_OUT = flow(VM2, CLIENT, 53, protocol="udp", seen_as=FIRST)
PING_OUT = flow(VM2, CLIENT, 8, protocol="icmp", seen_as=FIRST)
HAIRPIN = flow(VM2, FIRST, 2222, (VM1, 22), seen_as=GATEWAY)
INSIDE = flow(VM1, VM2, 5432)
TO_ROUTER = flow(VM1, GATEWAY, 53, protocol="udp")
FROM_ROUTER = flow(FIRST, IPv4Address("203.0.113.53"), 53, protocol="udp")
MANAGEMENT = flow(IPv4Address("169.254.0.1"), IPv4Address("169.254.3.101"), 3922)
EVERY = {name: found for name, found in list(globals().items()) if isinstance(found, Flow)}
OUT = {"WEB_OUT", "DNS_OUT", "PING_OUT", "STATIC_OUT"}
IN_BY_FIRST = {"SSH_IN", "SSH_IN_OTHER", "WEB_IN", "RANGE_IN"}


NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


def narrowed(old: Router, new: Router) -> bool:
    """Tell whether the connections would be listed at all."""
    return bool(patterns((old,), new))


def entry_of(item: Flow) -> Entry:
    """Return the flow as the kernel's list has it."""
    number = NUMBERS.get(item.protocol) or int(item.protocol)
    ends = [int(ip) for ip in (item.source, item.destination, item.reply_source, item.reply_destination)]
    ports = (item.source_port, item.port, item.code)
    return (*ends[:2], number, *ports, *ends[2:], 0 if number == 1 else item.reply_port, item.mark)


def listed(pattern: Pattern, item: Flow) -> bool:
    """Tell whether the kernel lists the flow when it is asked for the pattern."""
    pairs = (
        (pattern.destination, item.destination),
        (pattern.protocol, NUMBERS.get(item.protocol)),
        (pattern.port, item.port),
        (pattern.reply_destination, item.reply_destination),
        (pattern.reply_port, item.reply_port),
    )
    return all(wanted in (None, found) for wanted, found in pairs)


def cut(flows: list[Flow], old: Router, new: Router) -> list[Flow]:
    """Return the flows that are deleted: of those that are listed at all, and judged by their kind."""
    change, verdicts = Change(old, new), Verdicts((old,), new)
    asked = patterns((old,), new)
    found = [item for item in flows if change.cuts(item)]
    assert all(any(listed(pattern, item) for pattern in asked) for item in found), "to be cut, yet not listed"
    assert [item for item in flows if verdicts.cuts(entry_of(item))] == found
    return found


def lost(old: Router, new: Router) -> set[str]:
    """Return the names of the sample flows that are cut, having made sure that the listing would be asked for."""
    found = set(cut(list(EVERY.values()), old, new))
    assert narrowed(old, new) or not found, "connections are to be cut, yet would not be listed"
    return {name for name, item in EVERY.items() if item in found}


CHANGES: dict[str, tuple[dict[str, object], dict[str, object], set[str]]] = {
    "nothing": ({}, {}, set()),
    "forward revoked": ({}, {"forwards": (WEB, RANGE)}, {"SSH_IN", "SSH_IN_OTHER", "HAIRPIN"}),
    "forward to another VM": (
        {},
        {"forwards": (replace(SSH, internal_ip=VM2), WEB, RANGE)},
        {"SSH_IN", "SSH_IN_OTHER", "HAIRPIN"},
    ),
    "forward to another port": (
        {},
        {"forwards": (replace(SSH, internal_ports=Ports(23, 23)), WEB, RANGE)},
        {"SSH_IN", "SSH_IN_OTHER", "HAIRPIN"},
    ),
    "shifted range revoked": ({}, {"forwards": (SSH, WEB)}, {"RANGE_IN"}),
    "forward restricted to a source": (
        {},
        {"forwards": (replace(SSH, sources=("203.0.113.0/24",)), WEB, RANGE)},
        {"SSH_IN_OTHER", "HAIRPIN"},
    ),
    "forward added": ({"forwards": (WEB, RANGE)}, {}, set()),
    "static NAT revoked": ({}, {"static_nats": ()}, {"STATIC_IN", "STATIC_PING", "STATIC_OUT"}),
    "static NAT to another VM": (
        {},
        {"static_nats": (StaticNat(SECOND, VM2),)},
        {"STATIC_IN", "STATIC_PING", "STATIC_OUT"},
    ),
    "all ingress rules of an address removed": (
        {},
        {"firewall": {SECOND: WHOLE, THIRD: WHOLE}},
        IN_BY_FIRST,
    ),
    "ingress rule replaced by a narrower one": (
        {},
        {"firewall": {FIRST: rules(FROM_CLIENT), SECOND: WHOLE}},
        {"SSH_IN_OTHER", "WEB_IN", "RANGE_IN"},
    ),
    "ingress rule removed while another still allows": (
        {"firewall": {FIRST: rules(FROM_CLIENT, FROM_ALL), SECOND: WHOLE}},
        {"firewall": {FIRST: rules(FROM_ALL), SECOND: WHOLE}},
        set(),
    ),
    "ingress rule widened": ({"firewall": {FIRST: rules(FROM_CLIENT), SECOND: WHOLE}}, {}, set()),
    "egress block added": (
        {},
        {"egress": rules(rule(False, protocol="udp", ports=53), default_allow=True)},
        {"DNS_OUT"},
    ),
    "egress block of a VM added": (
        {},
        {"egress": rules(rule(False, sources=("10.1.1.12/32",)), default_allow=True)},
        {"DNS_OUT", "WEB_OUT", "PING_OUT"},
    ),
    "egress policy turned to deny": ({}, {"egress": RuleList(default_allow=False)}, OUT),
    "egress policy turned to deny with an exception": (
        {},
        {"egress": rules(rule(protocol="icmp", icmp_type=8), default_allow=False)},
        OUT - {"PING_OUT"},
    ),
    "egress policy turned to allow, its exceptions to blocks": (
        {"egress": rules(rule(protocol="udp", ports=53), default_allow=False)},
        {"egress": rules(rule(False, protocol="udp", ports=53), default_allow=True)},
        {"DNS_OUT"},
    ),
    "egress exception removed": (
        {"egress": rules(rule(protocol="udp"), rule(protocol="icmp"), default_allow=False)},
        {"egress": rules(rule(protocol="icmp"), default_allow=False)},
        {"DNS_OUT"},
    ),
}


@pytest.mark.parametrize(("before", "after", "wanted"), CHANGES.values(), ids=CHANGES.keys())
def test_cut(before: dict[str, object], after: dict[str, object], wanted: set[str]) -> None:
    assert lost(router(**before), router(**after)) == wanted


def test_cut_of_a_released_address() -> None:
    """What came in by an address that is gone ends, on the address's NIC or with the whole NIC (B17, D7)."""
    old = router()
    without = tuple(d for d in old.devices if d.name != "eth3")
    assert lost(old, replace(old, devices=without)) == {"STATIC_IN", "STATIC_PING", "STATIC_OUT"}


def test_cut_of_the_source_nat_address() -> None:
    """Connections that leave with an address that is gone cannot be answered any more."""
    old = router()
    moved = device("eth2", Role.PUBLIC, "192.0.2.11/24", gateway="192.0.2.1")
    devices = tuple(moved if d.name == "eth2" else d for d in old.devices)
    assert lost(old, replace(old, devices=devices)) == IN_BY_FIRST | {"HAIRPIN"} | OUT - {"STATIC_OUT"}


TIER1, TIER2 = IPv4Address("10.2.1.11"), IPv4Address("10.2.2.11")
SITE, SITE_VIA_ROUTE = IPv4Address("172.20.0.9"), IPv4Address("10.50.0.9")
VPC_IP = IPv4Address("192.0.2.50")
OPEN = (RuleList((rule(),)), RuleList(default_allow=True))
SHUT_IN = (rules(rule(False)), RuleList(default_allow=True))
SHUT_OUT = (RuleList((rule(),)), rules(rule(False), default_allow=True))
VPC_FLOWS = {
    "tier to tier": flow(TIER1, TIER2, 5432),
    "tier to site": flow(TIER1, SITE, 22),
    "tier to routed site": flow(TIER1, SITE_VIA_ROUTE, 22, seen_as=IPv4Address("172.20.0.2")),
    "tier to internet": flow(TIER1, CLIENT, 443, seen_as=VPC_IP),
    "internet to tier": flow(CLIENT, VPC_IP, 80, (TIER1, 8080)),
    "tier to router": flow(TIER1, IPv4Address("10.2.1.1"), 53, protocol="udp"),
    "router to tier": flow(IPv4Address("10.2.2.1"), TIER2, 8, protocol="icmp"),
}


@pytest.mark.parametrize(
    ("device_name", "acl", "wanted"),
    [
        ("eth2", SHUT_IN, {"internet to tier"}),
        ("eth2", SHUT_OUT, {"tier to tier", "tier to site", "tier to routed site", "tier to internet"}),
        ("eth3", SHUT_IN, {"tier to tier"}),
        ("eth3", SHUT_OUT, set()),
        ("eth4", SHUT_IN, {"tier to site", "tier to routed site"}),
        ("eth4", None, {"tier to site", "tier to routed site"}),
        ("eth2", (rules(rule(protocol="tcp", ports=8080)), RuleList(default_allow=True)), set()),
        ("eth2", (rules(rule(protocol="tcp", ports=80)), RuleList(default_allow=True)), {"internet to tier"}),
    ],
)
def test_cut_by_acls(device_name: str, acl: tuple[RuleList, RuleList] | None, wanted: set[str]) -> None:
    """Both ACLs on the way count, for static routes too (B9); without an ACL nothing may enter."""
    acls = {"eth2": OPEN, "eth3": OPEN, "eth4": OPEN}
    forward = Forward(VPC_IP, TIER1, "tcp", Ports(80, 80), Ports(8080, 8080))
    route = StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("172.20.0.1"), "eth4")
    old = vpc(acls=acls, forwards=(forward,), routes=(route,))
    kept = {name: lists for name, lists in acls.items() if name != device_name}
    new = replace(old, acls=kept if acl is None else {**kept, device_name: acl})
    found = cut(list(VPC_FLOWS.values()), old, new)
    assert narrowed(old, new)
    assert {name for name, item in VPC_FLOWS.items() if item in found} == wanted


ROUTED = StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("172.20.0.1"), "eth4")


def vpc_lost(old: Router, new: Router) -> set[str]:
    """Return the names of the flows of the VPC that are cut."""
    assert narrowed(old, new)
    found = cut(list(VPC_FLOWS.values()), old, new)
    return {name for name, item in VPC_FLOWS.items() if item in found}


def open_vpc(**fields: object) -> Router:
    """Return a VPC that lets everything pass."""
    forward = Forward(VPC_IP, TIER1, "tcp", Ports(80, 80), Ports(8080, 8080))
    acls = {"eth2": OPEN, "eth3": OPEN, "eth4": OPEN}
    return vpc(**{"acls": acls, "forwards": (forward,), "routes": (ROUTED,), **fields})


def test_cut_of_a_revoked_static_route() -> None:
    """Its connections would go on by the default route, with private addresses, to the internet (E7)."""
    assert vpc_lost(open_vpc(), open_vpc(routes=())) == {"tier to routed site"}


def test_cut_of_a_static_route_that_leads_elsewhere() -> None:
    moved = replace(ROUTED, gateway=IPv4Address("10.2.2.250"), device="eth3")
    assert vpc_lost(open_vpc(), open_vpc(routes=(moved,))) == {"tier to routed site"}


def test_cut_of_a_removed_tier_leaves_the_others() -> None:
    devices = tuple(d for d in vpc().devices if d.name != "eth3")
    assert vpc_lost(open_vpc(), open_vpc(devices=devices)) == {"tier to tier", "router to tier"}


def test_cut_judges_by_the_narrowest_network() -> None:
    """A static route to a private gateway may be wider than a tier's or another gateway's network."""
    wide = replace(ROUTED, network=IPv4Network("10.0.0.0/8"))
    shut = {"eth2": OPEN, "eth3": OPEN, "eth4": SHUT_IN}
    old, new = open_vpc(routes=(wide,)), open_vpc(routes=(wide,), acls=shut)
    assert vpc_lost(old, new) == {"tier to site", "tier to routed site"}


def test_cut_of_what_came_in_by_a_private_gateway_from_a_network_without_a_route() -> None:
    """The mark of the connection tells by which NIC its answers leave, and whose ACL it met."""
    beyond = replace(flow(IPv4Address("10.60.0.9"), TIER1, 22), mark=104)
    from_outside = replace(beyond, mark=101)
    old = open_vpc()
    without = tuple(d for d in old.devices if d.name != "eth4")
    for new in (
        open_vpc(acls={"eth2": SHUT_IN, "eth3": OPEN, "eth4": OPEN}),
        open_vpc(acls={"eth2": OPEN, "eth3": OPEN, "eth4": SHUT_OUT}),
        open_vpc(devices=without),
    ):
        assert cut([beyond], old, new) == [beyond]
    assert cut([beyond], old, open_vpc(acls={"eth2": OPEN, "eth3": SHUT_IN, "eth4": SHUT_IN})) == []
    assert cut([from_outside], old, open_vpc(acls={"eth2": OPEN, "eth3": OPEN, "eth4": SHUT_OUT})) == []


CHANGE: st.SearchStrategy[Callable[[Router], Router]] = st.sampled_from(
    [
        lambda r: replace(r, forwards=(*r.forwards, Forward(THIRD, VM1, "tcp", Ports(1, 9), Ports(1, 9)))),
        lambda r: replace(r, static_nats=(*r.static_nats, StaticNat(THIRD, VM2))),
        lambda r: with_settings(r, name="other"),
        lambda r: replace(r, firewall={**r.firewall, FIRST: RuleList((*r.firewall[FIRST].rules, FROM_CLIENT))}),
    ]
)


@settings(max_examples=60)
@given(st.lists(CHANGE, max_size=4))
def test_narrowed_is_false_when_rules_are_only_added(changes: list[Callable[[Router], Router]]) -> None:
    """Adding never lists the connections, of which there may be a hundred thousand."""
    old = new = router()
    for change in changes:
        new = change(new)
    assert not narrowed(old, new)
    assert not lost(old, new)


RELEASED = flow(VM2, CLIENT, 8, protocol="icmp", seen_as=FIRST)


def test_cut_of_a_source_address_that_was_no_longer_used_for_new_connections() -> None:
    """Another address had become the NIC's source NAT address before: no answer can come by the one that goes."""
    second = device("eth2", Role.PUBLIC, "192.0.2.11/24", "192.0.2.10/24", gateway="192.0.2.1")
    alone = device("eth2", Role.PUBLIC, "192.0.2.11/24", gateway="192.0.2.1")
    old, new = (router(devices=tuple(d if x.name == "eth2" else x for x in router().devices)) for d in (second, alone))
    assert not Change(old, old).cuts(RELEASED)
    assert cut([RELEASED, DNS_OUT, replace(DNS_OUT, reply_destination=THIRD)], old, new) == [RELEASED, DNS_OUT]


def test_cut_of_the_released_source_address_of_a_private_gateway() -> None:
    """And of a static NAT whose rule went before its address did."""
    out = flow(TIER1, SITE, 8, protocol="icmp", seen_as=IPv4Address("172.20.0.2"))
    moved = device("eth4", Role.PRIVATE_GATEWAY, "172.20.0.3/24", gateway="172.20.0.1")
    devices = tuple(moved if d.name == "eth4" else d for d in vpc().devices)
    assert cut([out], open_vpc(), open_vpc(devices=devices)) == [out]
    old = router(static_nats=())
    gone = tuple(d for d in old.devices if d.name != "eth3")
    assert cut([STATIC_OUT, STATIC_IN], old, replace(old, devices=gone)) == [STATIC_OUT, STATIC_IN]
