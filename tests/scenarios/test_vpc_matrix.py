# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who reaches whom through the ACLs of a VPC, by every protocol and in both directions, with real packets.

A cell is (from where, to where, protocol); what passes is written down by hand for each set of ACLs. The list called
ingress is asked about what leaves the router by a NIC, towards the tier or the private gateway's networks; the one
called egress about what comes in by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.lab.probes import TcpStream, ask_all, ping, tcp, udp
from tests.scenarios import spoofing, states
from tests.scenarios.spoofing import NOBODYS, Place
from tests.scenarios.vpcs import (
    ADDRESS,
    ALL,
    APP,
    DB,
    NONE,
    PAIRS,
    PARTNER,
    PEER,
    SITE,
    WEB,
    Rule,
    Vpc,
    arrived,
    reached,
    reached_by_udp,
    rule,
)

Pairs = set[tuple[str, str]]
EVERY = set(PAIRS)
OUT = {("web1", "internet"), ("app1", "internet")}
IN = {("internet", "web1"), ("internet", "app1")}
NO_TCP, NO_GRE = rule("tcp", allowed=False), rule("47", allowed=False)
NO_UDP, NO_ICMP = rule("udp", allowed=False), rule("icmp", allowed=False)
ACLS: dict[str, tuple[Sequence[Rule], Sequence[Rule], dict[str, Pairs]]] = {
    "allowed": ([ALL], [ALL], {"tcp": EVERY, "udp": EVERY, "icmp": EVERY, "gre": EVERY}),
    "no rule": ([], [], {"tcp": OUT, "udp": OUT, "icmp": OUT, "gre": OUT}),
    "denied by ingress": ([NO_TCP, NO_GRE, ALL], [ALL], {"tcp": OUT, "udp": EVERY, "icmp": EVERY, "gre": OUT}),
    "denied by egress": ([ALL], [NO_UDP, NO_ICMP, ALL], {"tcp": EVERY, "udp": IN, "icmp": IN, "gre": EVERY}),
    "allowed by rules alone": (
        [rule("icmp"), rule("47")],
        [rule("tcp"), rule("icmp"), rule("47"), NONE],
        {"tcp": OUT, "udp": set(), "icmp": EVERY, "gre": EVERY},
    ),
}

PAUSE = 45.0
"""Seconds after a reboot in which TCP has repeated what was lost: it waits twice as long each time."""


def set_acls(vpc: Vpc, ingress: Sequence[Rule], egress: Sequence[Rule]) -> None:
    """Give both tiers and the private gateway the same ACL."""
    vpc.acls(dict.fromkeys((WEB, APP, PARTNER), (ingress, egress)))


@pytest.mark.parametrize("name", ACLS)
def test_every_cell(vpc: Vpc, name: str) -> None:
    ingress, egress, expected = ACLS[name]
    set_acls(vpc, ingress, egress)
    assert reached(vpc, PAIRS) == expected


# Each NIC its own list: what crosses two NICs must pass both (N2), whatever the third says.
ONE_SIDED: list[tuple[str, dict[str, tuple[Sequence[Rule], Sequence[Rule]]], Pairs]] = [
    ("web takes nothing", {"web": ([NONE], [ALL])}, {p for p in PAIRS if p[1] != "web1"}),
    ("web sends nothing", {"web": ([ALL], [NONE])}, {p for p in PAIRS if p[0] != "web1"}),
    (
        "app takes only web",
        {"app": ([rule("all", "10.9.1.0/24"), NONE], [ALL])},
        {p for p in PAIRS if p[1] != "app1"} | {("web1", "app1")},
    ),
    (
        "app sends only to web",
        {"app": ([ALL], [rule("all", "10.9.1.0/24"), NONE])},
        {p for p in PAIRS if p[0] != "app1"} | {("app1", "web1")},
    ),
    ("gateway denies all (B9)", {"partner": ([NONE], [NONE])}, {p for p in PAIRS if not {"peer", "behind"} & set(p)}),
    (
        "nothing to the gateway's networks (B9)",
        {"partner": ([NONE], [ALL])},
        {p for p in PAIRS if p[1] not in ("peer", "behind")},
    ),
    (
        "nothing from the gateway's networks (B9)",
        {"partner": ([ALL], [NONE])},
        {p for p in PAIRS if p[0] not in ("peer", "behind")},
    ),
    (
        "the static route's network alone (E6)",
        {"partner": ([rule("all", "10.9.1.0/24"), NONE], [rule("all", "10.9.2.0/24"), NONE])},
        {p for p in PAIRS if not {"peer", "behind"} & set(p)}
        | {("web1", "peer"), ("web1", "behind"), ("peer", "app1"), ("behind", "app1")},
    ),
    (
        "only from behind (E6)",
        {"web": ([rule("all", "172.18.0.0/16"), NONE], [ALL])},
        {p for p in PAIRS if p[1] != "web1"} | {("behind", "web1")},
    ),
]


@pytest.mark.parametrize(("name", "lists", "expected"), ONE_SIDED, ids=[case[0] for case in ONE_SIDED])
def test_both_acls_on_the_way_count(
    vpc: Vpc, name: str, lists: dict[str, tuple[Sequence[Rule], Sequence[Rule]]], expected: Pairs
) -> None:
    vpc.acls({side: lists.get(side.name, ([ALL], [ALL])) for side in (WEB, APP, PARTNER)})
    assert reached_by_udp(vpc, PAIRS) == expected


PLACES = ("internet", "elsewhere", "app1", "peer")
# The list of the web tier's ingress, and from where tcp 80 gets in; in both orders of allowing and denying (B4, B7).
ORDERS: list[tuple[str, list[Rule], set[str]]] = [
    ("deny one, allow all", [rule("tcp", "203.0.113.10/32", allowed=False, ports=80), ALL],
     {"elsewhere", "app1", "peer"}),
    ("allow all, deny one", [ALL, rule("tcp", "203.0.113.10/32", allowed=False, ports=80)], set(PLACES)),
    ("a list of CIDRs is one rule (N1)",
     [rule("tcp", "203.0.113.10/32,2001:db8::/32,10.9.2.0/24", allowed=False, ports=80), ALL], {"elsewhere", "peer"}),
    ("and keeps its place", [ALL, rule("tcp", "203.0.113.10/32,10.9.2.0/24", allowed=False), NONE], set(PLACES)),
    ("overlapping CIDRs", [rule("tcp", "203.0.113.0/24,203.0.113.128/25,203.0.113.10/32", ports=80), NONE],
     {"internet", "elsewhere"}),
    ("ports 0-0 are all ports (B6)", [rule("tcp", "203.0.113.0/24"), NONE], {"internet", "elsewhere"}),
    ("a range", [rule("tcp", ports=(79, 81)), NONE], set(PLACES)),
    ("a range beside it", [rule("tcp", ports=(81, 443)), NONE], set()),
    ("another protocol", [rule("udp", ports=80), NONE], set()),
    ("protocol 6", [rule("6", "10.9.2.0/24"), NONE], {"app1"}),
    ("protocol 17", [rule("17"), NONE], set()),
    ("protocols 0 and 255", [rule("0"), rule("255"), rule("0", allowed=False), NONE], set()),
    ("IPv6 only says nothing about IPv4", [rule("tcp", "2001:db8::/32", ports=80), rule("tcp", "::/0"), NONE], set()),
    ("denied for IPv6 only", [rule("all", "::/0", allowed=False), ALL], set(PLACES)),
    ("three verdicts in turn",
     [rule("tcp", "203.0.113.10/32", ports=80), rule("tcp", "203.0.113.0/24", allowed=False),
      rule("all", "10.9.0.0/16"), NONE], {"internet", "app1"}),
    ("no rule at all", [], set()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ingress", "expected"), ORDERS, ids=[case[0] for case in ORDERS])
def test_rules_are_asked_in_order(vpc: Vpc, name: str, ingress: list[Rule], expected: set[str]) -> None:
    if name == ORDERS[0][0]:
        set_acls(vpc, [ALL], [ALL])
    vpc.acl(WEB, ingress, [ALL])
    probes = [
        (vpc.hosts[p], tcp("192.0.2.91" if p in ("internet", "elsewhere") else ADDRESS["web1"], 80)) for p in PLACES
    ]
    assert {place for place, result in zip(PLACES, ask_all(probes), strict=True) if result} == expected


def test_icmp_by_type_and_code(vpc: Vpc) -> None:
    """Type 8 alone is the echo; a timestamp (13) and an echo of another code are something else."""
    vpc.acl(WEB, [rule("icmp", icmp_type=8, icmp_code=0), rule("icmp", "10.9.2.0/24"), NONE], [ALL])
    asked = [("internet", {}), ("internet", {"kind": 13}), ("internet", {"kind": 8, "code": 3}), ("app1", {"kind": 13})]
    results = ask_all(
        [(vpc.hosts[p], ping("192.0.2.91" if p == "internet" else "10.9.1.11", **what)) for p, what in asked]
    )
    assert [bool(result) for result in results] == [True, False, False, True]


PROTOCOLS = (0, 2, 41, 47, 89, 255)


@pytest.mark.parametrize("allowed", [True, False])
def test_protocols_by_their_numbers_and_no_others(vpc: Vpc, allowed: bool) -> None:
    pair = [("app1", "web1")]
    listed = [rule(str(protocol), "10.9.2.0/24", allowed=allowed) for protocol in PROTOCOLS]
    vpc.acl(WEB, [*listed, NONE if allowed else ALL], [ALL])
    assert {protocol: bool(arrived(vpc, pair, protocol)) for protocol in (*PROTOCOLS, 50)} == {
        **dict.fromkeys(PROTOCOLS, allowed),
        50: not allowed,
    }


# Whose a source is, and by which NICs it may come in: the internet, a part of which are the public networks, by all
# that lead there. What two NICs of a list share is said once.
SOURCES = {
    **NOBODYS,
    **{name: ADDRESS[name] for name in ("web1", "app1", "db1", "peer", "behind", "atsite", "lan", "internet")},
    "management": "169.254.0.1",
    "neighbour": "192.0.2.77",
    "other neighbour": "198.51.100.77",
    "broadcast of web": "10.9.1.255",
    "router in web": WEB.router,
    "router outside": "192.0.2.91",
    "router at partner": PARTNER.router,
    "no tier": "10.9.99.9",
}
WORLD = ("internet", "no tier")
OUTSIDE = (*WORLD, "neighbour", "other neighbour")
HONEST = {
    "eth1": OUTSIDE,
    "eth5": OUTSIDE,
    "eth2": ("web1", "lan"),
    "eth3": ("app1",),
    "eth13": ("db1",),
    "eth4": ("peer", "behind", *WORLD),
    "eth6": ("atsite", *WORLD),
}
TAKEN = {"eth0": ("management", *WORLD), "eth2": ("web1",), "eth3": ("app1",), "eth13": ("db1",)}
"""What the router's own services answer: tiers and sshd."""


def test_no_source_gets_in_where_it_cannot_be(vpc: Vpc) -> None:
    """Whatever the ACLs allow; the reverse path filter is off on public NICs and private gateways."""
    vpc.acls(dict.fromkeys((WEB, APP, DB, PARTNER, SITE), ([ALL], [ALL])))
    inside = [("10.9.1.12", 22), (ADDRESS["app1"], 22), (PEER, 22), (ADDRESS["internet"], 22), ("192.0.2.91", 22)]
    own = {"eth0": ("169.254.9.9", 3922), "eth2": (WEB.router, 53), "eth3": (APP.router, 53), "eth13": (DB.router, 53)}
    senders = {"eth1": "gateway1", "eth5": "gateway2", "eth2": "web1", "eth3": "app1", "eth13": "db1", "eth4": "border"}
    senders |= {"eth6": "atsite", "eth0": "management"}
    places = [
        Place(nic, vpc.lab.hosts[sender], [*inside, *([own[nic]] if nic in own else [])])
        for nic, sender in senders.items()
    ]
    passed, taken = spoofing.believed(vpc.router, places, SOURCES)
    assert passed == spoofing.pairs(HONEST)
    assert taken == spoofing.pairs(TAKEN)


def test_the_routers_own_services_are_not_subject_to_acls(vpc: Vpc) -> None:
    """DNS, metadata and passwords of the tier's own gateway address, with everything denied."""
    set_acls(vpc, [NONE], [NONE])
    web = vpc.hosts["web1"]
    assert all(ask_all([(web, tcp("10.9.1.1", port)) for port in (53, 80, 443, 8080)]))
    others = [(web, tcp(ADDRESS["app1"], 80)), (web, udp(ADDRESS["internet"], 53))]
    assert not any(ask_all([*others, (vpc.hosts["peer"], tcp("10.9.1.1", 80))])), "nobody else's"


def test_ruleset_after_all_this_is_that_of_the_databags(vpc: Vpc) -> None:
    """Fifty ACLs later nothing is left of them (B2); after a reboot all is the same, and connections go on."""
    set_acls(vpc, [rule("tcp"), NONE], [ALL])
    expected, passed = states.network(vpc.router), reached(vpc, PAIRS)
    assert passed["tcp"] == EVERY
    assert passed["udp"] == OUT
    vpc.acl(WEB, [rule("tcp"), NONE], [ALL])
    hosts = vpc.hosts
    with (
        TcpStream(hosts["web1"], ADDRESS["app1"], 80, stragglers=PAUSE) as tiers,
        TcpStream(hosts["peer"], ADDRESS["web1"], 80, stragglers=PAUSE) as partner,
    ):
        vpc.router.reboot()
        states.assert_same(expected, states.network(vpc.router))
        assert reached(vpc, PAIRS) == passed
    for stream in (tiers, partner):
        assert (stream.lost, stream.error) == (0, "")
        assert stream.longest_stall > 1, "the router was away"
