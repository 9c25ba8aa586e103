# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from ipaddress import IPv4Address
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import rules
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Match,
    Ports,
    Rule,
    StaticNat,
)
from tests.unit.model.bags import egress, firewall, ingress, mac, nics

FIRST = IPv4Address("192.0.2.10")


def match_of(**fields: Any) -> Match:
    """Return what one ingress rule applies to."""
    return rules.firewall({"firewallrules": firewall(ingress(**fields))})[FIRST].rules[0].match


@pytest.mark.parametrize("ports", [{}, {"src_port_range": [0, 0]}])
def test_firewall_takes_no_ports_and_port_0_for_all_ports(ports: dict[str, Any]) -> None:
    """A tcp rule without ports opens all of them (B6)."""
    assert match_of(**ports) == Match("tcp")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"src_port_range": [22, 22]}, Match("tcp", Ports(22, 22))),
        ({"protocol": "udp", "src_port_range": [1, 65535]}, Match("udp", Ports(1, 65535))),
        ({"src_port_range": [0, 100]}, Match("tcp", Ports(0, 100))),
        ({"protocol": "icmp", "icmp_type": -1, "icmp_code": -1}, Match("icmp")),
        ({"protocol": "icmp", "icmp_type": 8, "icmp_code": 0}, Match("icmp", None, 8, 0)),
        ({"protocol": "icmp", "icmp_type": 3, "icmp_code": -1}, Match("icmp", None, 3)),
        ({"protocol": "all", "src_port_range": [5, 9]}, Match()),
        ({"source_cidr_list": ["10.0.0.0/8", "0.0.0.0/0"]}, Match("tcp")),
        ({"source_cidr_list": ["10.1.1.7/24", "10.1.1.0/24"]}, Match("tcp", sources=("10.1.1.0/24",))),
    ],
)
def test_firewall_matches(fields: dict[str, Any], wanted: Match) -> None:
    assert match_of(**fields) == wanted


def test_firewall_files_rules_by_address_in_the_order_of_their_ids() -> None:
    """Ids are numbers: 2 precedes 11."""
    bag = {"id": "firewallrules", "11": ingress(), "2": ingress(), "3": ingress("192.0.2.9")}
    found = rules.firewall({"firewallrules": bag})
    assert [str(ip) for ip in found] == ["192.0.2.9", "192.0.2.10"]
    assert [rule.label for rule in found[FIRST].rules] == ["firewallrules 2", "firewallrules 11"]
    assert not found[FIRST].default_allow


def test_firewall_takes_rules_without_lists_and_policy() -> None:
    """The schema lets drops leave them out: no CIDR is any source."""
    bare = {
        key: value
        for key, value in ingress().items()
        if key not in ("source_cidr_list", "dest_cidr_list", "default_egress_policy")
    }
    assert rules.firewall({"firewallrules": firewall(bare)})[FIRST].rules[0].match == Match("tcp")
    silent = {**bare, "traffic_type": "Egress", "src_ip": "", "protocol": "all"}
    assert not rules.egress({"firewallrules": firewall(silent)}).default_allow


BLOCKED = {"protocol": "tcp", "src_port_range": [25, 25], "source_cidr_list": ["10.1.1.0/24"]}


@pytest.mark.parametrize("policy", [True, False])
@pytest.mark.parametrize("with_policy_rule", [True, False])
def test_egress_rules_are_the_opposite_of_the_policy(policy: bool, with_policy_rule: bool) -> None:
    """Allowed by default they block, denied by default they allow (B16); the policy itself is no rule."""
    items = [egress(policy, **BLOCKED), *([egress(policy)] if with_policy_rule else [])]
    found = rules.egress({"firewallrules": firewall(*items)})
    assert found.default_allow is policy
    assert [(rule.allow, rule.match.ports) for rule in found.rules] == [(not policy, Ports(25, 25))]


def test_egress_lets_nothing_out_before_a_policy_is_known() -> None:
    assert not rules.egress({}).default_allow


def test_egress_rule_of_every_protocol_with_a_destination_is_a_rule() -> None:
    found = rules.egress({"firewallrules": firewall(egress(True, dest_cidr_list=["203.0.113.99/32"]), egress(True))})
    assert found.rules == (Rule(Match(destinations=("203.0.113.99/32",)), False, "firewallrules 1"),)


def acl(ingress_rules: list[dict[str, Any]], **fields: Any) -> Any:
    """Return the lists of eth2."""
    entry = {"ingress_rules": ingress_rules, "egress_rules": [], **fields}
    return rules.acls({"networkacl": {"id": "networkacl", "eth2": entry}}, Locator(nics(eth2="02", eth3="03")))


def item(kind: str, **fields: Any) -> dict[str, Any]:
    """Return an item of an ACL."""
    return {"type": kind, "cidr": "0.0.0.0/0", "allowed": True, **fields}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (item("tcp", first_port=22, last_port=23), Match("tcp", Ports(22, 23))),
        (item("udp", first_port=0, last_port=0), Match("udp")),
        (item("udp", first_port=0, last_port=100), Match("udp", Ports(0, 100))),
        (item("all"), Match()),
        (item("protocol", protocol=47), Match("47")),
        (item("protocol", protocol=0), Match("0")),
        (item("protocol", protocol=255), Match("255")),
        (item("protocol", protocol="6"), Match("tcp")),
        (item("protocol", protocol=1, icmp_type=-1, icmp_code=-1), Match("icmp")),
        (item("icmp", icmp_type=8, icmp_code=0), Match("icmp", None, 8, 0)),
        (
            item("tcp", cidr="10.0.0.0/8,::/0", first_port=1, last_port=1),
            Match("tcp", Ports(1, 1), sources=("10.0.0.0/8",)),
        ),
    ],
)
def test_acls_match(given: dict[str, Any], wanted: Match) -> None:
    (ingress_list, _egress) = acl([given])["eth2"]
    assert [rule.match for rule in ingress_list.rules] == [wanted]


def test_acls_leave_out_items_of_ipv6_only() -> None:
    assert acl([item("tcp", cidr="2001:db8::/32")])["eth2"][0].rules == ()


def test_acls_keep_the_order_of_the_items_and_belong_to_the_nic() -> None:
    """The order is the item number's (B7, B8); inwards denied, outwards allowed by default."""
    lists = acl([item("tcp", allowed=False), item("all")], mac_address=mac("03"))["eth3"]
    assert [(rule.allow, rule.label) for rule in lists[0].rules] == [
        (False, "networkacl eth2 ingress[0]"),
        (True, "networkacl eth2 ingress[1]"),
    ]
    assert (lists[0].default_allow, lists[1].default_allow) == (False, True)


def nat(*records: dict[str, Any]) -> dict[str, Any]:
    """Return the databags with NAT records of one address."""
    found = [{"public_ip": str(FIRST), "internal_ip": "10.1.1.11", **record} for record in records]
    return {"forwardingrules": {"id": "forwardingrules", str(FIRST): found}}


@pytest.mark.parametrize(
    ("fields", "protocol", "public", "inner"),
    [
        (
            {"protocol": "tcp", "public_ports": "22:22", "internal_ports": "2222:2222"},
            "tcp",
            Ports(22, 22),
            Ports(2222, 2222),
        ),
        ({"protocol": "TCP", "public_ports": "1:9", "internal_ports": "11:19"}, "tcp", Ports(1, 9), Ports(11, 19)),
        ({"protocol": "any", "public_ports": "any", "internal_ports": "any"}, None, None, None),
        ({"protocol": "udp", "public_ports": "0:0", "internal_ports": "0:0"}, "udp", None, None),
        ({"protocol": "tcp", "public_ports": "0:9", "internal_ports": "0:9"}, "tcp", Ports(0, 9), Ports(0, 9)),
    ],
)
def test_forwards(fields: dict[str, str], protocol: str | None, public: Ports | None, inner: Ports | None) -> None:
    (found,) = rules.forwards(nat({"type": "forward", **fields}))
    assert (found.protocol, found.public_ports, found.internal_ports) == (protocol, public, inner)


FORWARD = {"type": "forward", "protocol": "tcp", "public_ports": "22:22", "internal_ports": "22:22"}


def test_forwards_are_restricted_to_their_sources() -> None:
    (found,) = rules.forwards(nat({**FORWARD, "source_cidr_list": "203.0.113.0/25,198.18.0.0/15"}))
    assert found.sources == ("203.0.113.0/25", "198.18.0.0/15")


def test_forwards_for_ipv6_sources_are_open_to_no_one() -> None:
    """A restriction that cannot apply to IPv4 must not turn into none."""
    assert rules.forwards(nat({**FORWARD, "source_cidr_list": "2001:db8::/32"})) == ()


def test_static_nats_are_one_per_address_while_any_record_is_left() -> None:
    records = [{"type": "staticnat", "public_ports": f"{port}:{port}", "protocol": "tcp"} for port in (22, 80)]
    assert rules.static_nats(nat(FORWARD, *records)) == (StaticNat(FIRST, IPv4Address("10.1.1.11")),)


def test_static_nats_lead_where_the_last_record_says() -> None:
    """Not the one of the highest port: databags have the newest target last."""
    records = [
        {"type": "staticnat", "public_ports": "443:443", "protocol": "tcp"},
        {"type": "staticnat", "public_ports": "22:22", "protocol": "tcp", "internal_ip": "10.1.1.12"},
    ]
    assert rules.static_nats(nat(*records)) == (StaticNat(FIRST, IPv4Address("10.1.1.12")),)


def led(*records: tuple[str, str]) -> set[tuple[tuple[str, ...], str]]:
    """Return sources and target of the forwards in force, of records given by sources and target, oldest first."""
    given = [{**FORWARD, "source_cidr_list": sources, "internal_ip": f"10.1.1.{vm}"} for sources, vm in records]
    return {(found.sources, str(found.internal_ip).rpartition(".")[2]) for found in rules.forwards(nat(*given))}


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        pytest.param([("", "11"), ("", "12")], {((), "12")}, id="every source"),
        pytest.param([("", "11"), ("0.0.0.0/0", "12")], {((), "12")}, id="every source in two ways"),
        pytest.param([("", "12"), ("", "11"), ("", "10")], {((), "10")}, id="three"),
        pytest.param(
            [("10.0.0.0/8", "11"), ("10.0.0.0/8", "12")], {(("10.0.0.0/8",), "12")}, id="the same sources"
        ),
        pytest.param(
            [("10.0.0.0/8,172.16.0.0/12", "11"), ("10.0.0.0/8", "12")],
            {(("172.16.0.0/12",), "11"), (("10.0.0.0/8",), "12")},
            id="one source shared",
        ),
        pytest.param(
            [("10.0.0.0/8", "11"), ("10.128.0.0/9", "12")],
            {(("10.0.0.0/9",), "11"), (("10.128.0.0/9",), "12")},
            id="a part of a source",
        ),
        pytest.param(
            [("10.128.0.0/9", "11"), ("10.0.0.0/8", "12")], {(("10.0.0.0/8",), "12")}, id="more than the source"
        ),
        pytest.param(
            [("", "11"), ("10.0.0.0/8", "12"), ("", "13")], {(("10.0.0.0/8",), "12"), ((), "13")}, id="some and every"
        ),
        pytest.param(
            [("10.0.0.0/8", "11"), ("172.16.0.0/12", "12")],
            {(("10.0.0.0/8",), "11"), (("172.16.0.0/12",), "12")},
            id="nothing shared",
        ),
    ],
)  # fmt: skip
def test_forwards_of_one_port_lead_where_the_newest_for_the_source_says(
    records: list[tuple[str, str]], wanted: set[tuple[tuple[str, ...], str]]
) -> None:
    """Ruleset and the judge of running connections both see only what is in force (apache/cloudstack#8386)."""
    assert led(*records) == wanted


def test_forwards_of_one_port_for_a_thousand_customers_are_no_quadratic_work() -> None:
    many = [(f"10.{n // 250}.{n % 250}.0/24", str(n % 200)) for n in range(3000)]
    start = time.process_time()
    assert len(led(*many)) == 3000
    assert time.process_time() - start < 1
