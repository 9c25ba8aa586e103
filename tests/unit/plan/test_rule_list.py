# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The compiled chain gives every packet the verdict of the list read from top to bottom."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Rule, RuleList
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import SetPool
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.rule_list import (
    compile_reversed,
    compile_rules,
)
from tests.unit.plan.nftables import NUMBERS, Evaluator, Packet
from tests.unit.plan.samples import rule, rules
from tests.unit.plan.strategies import RULES

HOSTS = ["10.0.0.1", "10.1.1.11", "10.1.1.12", "10.1.1.200", "10.1.9.9", "203.0.113.7", "192.0.2.1"]
PACKETS = st.builds(
    Packet,
    st.sampled_from(HOSTS),
    st.sampled_from(HOSTS),
    st.sampled_from(["tcp", "udp", "icmp", "47", "0", "132"]),
    st.integers(0, 20),
    st.integers(0, 3),
)


def first_match(listed: RuleList, packet: Packet) -> bool:
    """Read the list as a human would."""
    for item in listed.rules:
        match = item.match
        inside = [
            not cidrs or any(IPv4Address(end) in IPv4Network(c) for c in cidrs)
            for end, cidrs in ((packet.source, match.sources), (packet.destination, match.destinations))
        ]
        right_protocol = match.protocol is None or NUMBERS.get(match.protocol, match.protocol) == NUMBERS.get(
            packet.protocol, packet.protocol
        )
        right_port = match.ports is None or packet.port in match.ports
        right_icmp = match.icmp_type in (None, packet.port) and match.icmp_code in (None, packet.code)
        if all([*inside, right_protocol, right_port, right_icmp]):
            return item.allow
    return listed.default_allow


@settings(max_examples=200)
@given(RULES, st.booleans(), st.lists(PACKETS, min_size=1, max_size=30))
def test_compile_reversed_judges_the_connection_that_the_packet_answers(
    items: tuple[Rule, ...], default_allow: bool, packets: list[Packet]
) -> None:
    """The list says of a TCP packet what it says of one from its destination to its source (B18)."""
    listed, pool = RuleList((*items, rule(False, protocol="6", sources=("10.1.1.12/32",))), default_allow), SetPool()
    lines = compile_reversed(listed, "accept", pool, "drop")
    judge = Evaluator(pool.sets)
    for packet in packets:
        asked = replace(packet, protocol="tcp", code=0)
        answer = replace(asked, source=asked.destination, destination=asked.source, port=40000, source_port=asked.port)
        assert judge.verdict(lines, answer) == ("accept" if first_match(listed, asked) else "drop"), lines


@settings(max_examples=400)
@given(RULES, st.booleans(), st.lists(PACKETS, min_size=1, max_size=30))
def test_compile_rules_gives_the_verdict_of_the_first_match(
    items: tuple[Rule, ...], default_allow: bool, packets: list[Packet]
) -> None:
    """Joining neighbours never changes a verdict (B4, B7)."""
    listed, pool = RuleList(items, default_allow), SetPool()
    lines = compile_rules(listed, "accept", pool)
    judge = Evaluator(pool.sets)
    for packet in packets:
        assert judge.verdict(lines, packet) == ("accept" if first_match(listed, packet) else "drop"), lines


def test_compile_rules_joins_what_differs_in_one_respect() -> None:
    """Rules that differ in their port become one rule with one set (A9)."""
    pool = SetPool()
    listed = rules(*(rule(protocol="tcp", ports=port, sources=("10.1.0.0/16",)) for port in range(1, 2001, 2)))
    lines = compile_rules(listed, "return", pool)
    assert len(lines) == 2
    assert lines[0].startswith(f"ip saddr 10.1.0.0/16 tcp dport @{pool.sets[0].name} return comment ")
    assert len(pool.sets[0].elements) == 1000


def test_compile_rules_has_as_many_lines_as_rules_for_long_cidr_lists() -> None:
    """Kernel rules grow with the rules, not with rules times CIDRs (A13)."""
    pool = SetPool()
    many = tuple(f"10.{a}.{b}.0/24" for a in range(4) for b in range(0, 200, 2))
    listed = rules(rule(protocol="tcp", ports=(1, 9), sources=many), rule(False, protocol="udp", destinations=many))
    assert len(compile_rules(listed, "accept", pool)) == 3
    assert len(pool.sets) == 1, "the same list is one set"


def test_compile_rules_has_room_for_several_ports_and_destinations() -> None:
    """B20: an ACL item with a list of ports is a rule per range, and both sides may be given; it is one line again."""
    pool = SetPool()
    to = {"protocol": "tcp", "sources": ("10.1.0.0/16",), "destinations": ("10.2.1.11/32", "10.2.1.12/32")}
    items = (rule(ports=22, **to), rule(ports=(8000, 8010), **to), rule(ports=443, **to))
    lines = compile_rules(rules(*items, rule(False)), "accept", pool)
    networks, ports = (found.name for found in pool.sets)
    assert lines[0].startswith(f"ip saddr 10.1.0.0/16 ip daddr @{networks} tcp dport @{ports} accept ")
    assert [found.elements for found in pool.sets] == [("10.2.1.11", "10.2.1.12"), ("22", "443", "8000-8010")]
    assert len(lines) == 3


def test_compile_rules_keeps_the_cidrs_of_a_rule_before_the_next_rule() -> None:
    """Of "deny 25 to A and B, then allow all" both A and B are denied (N1)."""
    pool = SetPool()
    listed = rules(rule(False, protocol="tcp", ports=25, destinations=("10.0.0.0/24", "10.9.0.0/24")), rule())
    lines = compile_rules(listed, "return", pool)
    assert lines[0].startswith(f"ip daddr @{pool.sets[0].name} tcp dport 25 drop")
    assert lines[1:] == ('return comment "rule"', "drop")


@pytest.mark.parametrize(("allow", "last"), [(True, "return"), (False, "drop")])
def test_compile_rules_ends_with_the_default(allow: bool, last: str) -> None:
    assert compile_rules(rules(default_allow=allow), "return", SetPool()) == (last,)


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ({"protocol": "icmp"}, "ip protocol icmp accept"),
        ({"protocol": "icmp", "icmp_type": 8}, "icmp type 8 accept"),
        ({"protocol": "icmp", "icmp_type": 3, "icmp_code": 0}, "icmp type 3 icmp code 0 accept"),
        ({"protocol": "tcp"}, "ip protocol tcp accept"),
        ({"protocol": "udp", "ports": (1, 65535)}, "udp dport 1-65535 accept"),
        ({"protocol": "41"}, "ip protocol 41 accept"),
        ({"sources": ("10.1.1.11/32",)}, "ip saddr 10.1.1.11 accept"),
        ({}, "accept"),
    ],
)
def test_compile_rules_words(match: dict[str, object], text: str) -> None:
    """A rule becomes the words that nft has for it; the comment names the databag's rule."""
    line = compile_rules(rules(rule(label="firewallrules 7", **match)), "accept", SetPool())[0]
    assert line == f'{text} comment "firewallrules 7"'
