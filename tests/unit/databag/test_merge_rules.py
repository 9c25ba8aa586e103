# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from tests.unit.databag.support import FIREWALL_RULE, FORWARD, STATIC_NAT, drop, encode, filled, merged, rules

IP = "192.0.2.10"


def natted(bags: dict[str, Bag], address: str = IP) -> list[tuple[Any, ...]]:
    """Return kind, ports and target of every NAT record of an address."""
    return [
        (record["type"], record.get("protocol"), record.get("public_ports"), record["internal_ip"])
        for record in bags.get("forwardingrules", {}).get(address, [])
    ]


@pytest.mark.parametrize("kind", ["firewallrules", "ipv6firewallrules"])
def test_merge_firewall_takes_the_newer_rule_of_an_id(kind: str) -> None:
    """The original ignores a changed rule whose id it knows."""
    bags = merged(rules(kind, {}), rules(kind, {"src_port_range": [1, 2]}))
    assert bags[kind]["101"]["src_port_range"] == [1, 2]


@pytest.mark.parametrize("kind", ["firewallrules", "ipv6firewallrules"])
def test_merge_firewall_removes_only_what_is_revoked(kind: str) -> None:
    """A drop has the rules of one address; the default egress rule comes in one of its own."""
    bags = merged(
        rules(kind, {"id": 0, "traffic_type": "Egress", "protocol": "all"}),
        rules(kind, {"id": 101}, {"id": 102}),
        rules(kind, {"id": 103}),
        rules(kind, {"id": 101, "revoked": True}, {"id": 999, "revoked": True}),
    )
    assert set(bags[kind]) == {"id", "0", "102", "103"}


def test_merge_firewall_finds_ids_sent_as_text() -> None:
    assert set(merged(rules("firewallrules", {"id": "7"}, {"id": 7}))["firewallrules"]) == {"id", "7"}


def test_merge_forwards_stores_the_shape_of_the_original() -> None:
    assert merged(drop("forwardrules"))["forwardingrules"][IP] == [
        {
            "type": "forward",
            "public_ip": IP,
            "internal_ip": "10.1.1.11",
            "public_ports": "8000:8010",
            "internal_ports": "9000:9010",
            "protocol": "tcp",
        }
    ]


def test_merge_forwards_replaces_the_same_rule() -> None:
    once = merged(rules("forwardrules", {"source_cidr_list": "203.0.113.0/25"}))
    bags = merge(once, rules("forwardrules", {"source_cidr_list": "203.0.113.0/25,198.18.0.0/15"}))
    assert len(bags["forwardingrules"][IP]) == 1


NEWER: dict[str, Any] = {"destination_ip_address": "10.1.1.12"}
OTHER_PORTS: dict[str, Any] = {"destination_port_range": "7000:7010"}
SOURCES: dict[str, Any] = {"source_cidr_list": "203.0.113.0/25,198.18.0.0/15"}
GONE: dict[str, Any] = {"revoke": True}
CONTENDING = [
    pytest.param("forwardrules", {}, NEWER, id="forward"),
    pytest.param("forwardrules", {}, OTHER_PORTS, id="other ports of the same VM"),
    pytest.param("forwardrules", SOURCES, {**SOURCES, **NEWER}, id="with sources"),
    pytest.param("forwardrules", SOURCES, {**NEWER, "source_cidr_list": "203.0.113.0/25"}, id="one source shared"),
    pytest.param("forwardrules", {"source_cidr_list": ""}, {**NEWER, "source_cidr_list": "0.0.0.0/0"}, id="any source"),
    pytest.param("forwardrules", {"protocol": "any"}, {**NEWER, "protocol": "any"}, id="any protocol"),
    pytest.param("staticnatrules", {}, NEWER, id="static NAT"),
    pytest.param(
        "staticnatrules",
        {"protocol": "tcp", "source_port_range": "80:80"},
        {"protocol": "tcp", "source_port_range": "22:22", **NEWER},
        id="static NAT of other ports",
    ),
]


def targets(bags: dict[str, Bag], kind: str) -> list[tuple[str, str | None]]:
    """Return where the contending rules lead, the one in force last."""
    found = bags.get("forwardingrules", {}).get(IP if kind == "forwardrules" else STATIC_NAT["source_ip_address"], [])
    return [(record["internal_ip"], record.get("internal_ports")) for record in found]


@pytest.mark.parametrize("at_once", [False, True], ids=["several drops", "one drop"])
@pytest.mark.parametrize(("kind", "older", "newer"), CONTENDING)
def test_merge_removes_only_the_rule_with_the_target_that_is_revoked(
    kind: str, older: dict[str, Any], newer: dict[str, Any], at_once: bool
) -> None:
    """The server lets two rules of one public port exist for a moment (apache/cloudstack#8386)."""

    def after(*changes: dict[str, Any]) -> list[tuple[str, str | None]]:
        drops = [rules(kind, *changes)] if at_once else [rules(kind, change) for change in changes]
        return targets(merge_all({}, drops), kind)

    first, second = after(older), after(newer)
    assert first != second
    assert after(older, newer) == [*first, *second]
    assert after(older, newer, older) == [*second, *first]
    assert after(older, newer, {**newer, **GONE}) == first, "the older one comes back"
    assert after(older, newer, {**older, **GONE}) == second
    assert after({**older, **GONE}, newer) == second
    assert after(newer, {**older, **GONE}) == second, "a rule that is not there is revoked"
    assert after(older, {**newer, **GONE}, newer) == [*first, *second]
    assert after(older, newer, {**older, **GONE}, {**newer, **GONE}) == []


def test_merge_forwards_tells_rules_apart_by_protocol_ports_and_sources() -> None:
    bags = merged(
        rules(
            "forwardrules",
            {"source_cidr_list": "203.0.113.0/25"},
            {"source_cidr_list": "203.0.113.128/25", "destination_ip_address": "10.1.1.12"},
            {"protocol": "udp"},
            {"source_port_range": "7000:7010"},
        )
    )
    assert len(natted(bags)) == 4


def test_merge_forwards_knows_a_rule_by_one_shared_cidr() -> None:
    bags = merged(
        rules("forwardrules", {"source_cidr_list": "203.0.113.0/25"}, {"source_cidr_list": "198.18.0.0/15"}),
        rules("forwardrules", {"source_cidr_list": "198.18.0.0/15,203.0.113.0/25,10.0.0.0/8"}),
    )
    assert [r["source_cidr_list"] for r in bags["forwardingrules"][IP]] == ["198.18.0.0/15,203.0.113.0/25,10.0.0.0/8"]


def test_merge_forwards_honours_sources_for_every_kind_of_router() -> None:
    bags = merged(drop("cmdline"), rules("forwardrules", {"source_cidr_list": "203.0.113.0/25"}))
    assert bags["forwardingrules"][IP][0]["source_cidr_list"] == "203.0.113.0/25"


def test_merge_forwards_leaves_nothing_of_an_address_without_rules() -> None:
    """The original leaves an empty list."""
    bags = merged(drop("forwardrules"), rules("forwardrules", {"revoke": True}))
    assert bags["forwardingrules"] == {"id": "forwardingrules"}
    assert filled(merged(rules("forwardrules", {"revoke": True}))) == {}


def test_merge_forwards_does_not_depend_on_the_order_of_rules() -> None:
    changes = [{"source_port_range": f"{p}:{p + 10}", "protocol": q} for p in (90, 100, 8) for q in ("tcp", "udp")]
    assert merged(rules("forwardrules", *changes)) == merged(rules("forwardrules", *reversed(changes)))


def test_merge_static_nat_leaves_the_forwards_of_the_address() -> None:
    """The original wipes them, and wipes everything when it revokes."""
    nat = rules("staticnatrules", {"source_ip_address": IP})
    bags = merged(drop("forwardrules"), nat)
    assert natted(bags) == [("forward", "tcp", "8000:8010", "10.1.1.11"), ("staticnat", None, None, "10.1.1.11")]
    gone = merge(bags, rules("staticnatrules", {"source_ip_address": IP, "revoke": True}))
    assert natted(gone) == [("forward", "tcp", "8000:8010", "10.1.1.11")]


def test_merge_static_nat_keeps_rules_apart_by_protocol_and_ports() -> None:
    one, two = {"protocol": "tcp", "source_port_range": "22:22"}, {"protocol": "udp", "source_port_range": "22:22"}
    address = STATIC_NAT["source_ip_address"]
    bags = merged(drop("staticnatrules"), rules("staticnatrules", one, two))
    bags = merge(bags, rules("staticnatrules", {**one, "revoke": True}))
    assert natted(bags, address) == [
        ("staticnat", None, None, "10.1.1.11"),
        ("staticnat", "udp", "22:22", "10.1.1.11"),
    ]
    bags = merge_all(
        bags, [rules("staticnatrules", {"revoke": True}), rules("staticnatrules", {**two, "revoke": True})]
    )
    assert bags["forwardingrules"] == {"id": "forwardingrules"}


def test_merge_static_nat_stores_one_to_one_as_the_original() -> None:
    assert merged(drop("staticnatrules"))["forwardingrules"]["192.0.2.12"] == [
        {"type": "staticnat", "public_ip": "192.0.2.12", "internal_ip": "10.1.1.11"}
    ]


def test_merge_static_nat_takes_a_new_target() -> None:
    bags = merged(drop("staticnatrules"), rules("staticnatrules", {"destination_ip_address": "10.1.1.12"}))
    assert natted(bags, "192.0.2.12")[-1] == ("staticnat", None, None, "10.1.1.12")


def test_merge_static_nat_has_the_newest_target_last_whatever_its_ports() -> None:
    """All static NAT of an address leads to one VM: that of the highest port is not newer for it."""
    ports = {vm: {"protocol": "tcp", "source_port_range": f"{port}:{port}"} for vm, port in (("11", 443), ("12", 22))}
    sent = {
        vm: rules("staticnatrules", {**fields, "destination_ip_address": f"10.1.1.{vm}"})
        for vm, fields in ports.items()
    }
    for first, last in (("11", "12"), ("12", "11")):
        bags = merged(sent[first], sent[last])
        assert natted(bags, STATIC_NAT["source_ip_address"])[-1][-1] == f"10.1.1.{last}"


@pytest.mark.parametrize("kind", ["forwardrules", "firewallrules"])
def test_parse_and_merge_of_10_000_rules_is_not_quadratic(kind: str) -> None:
    """And one more rule costs no second look at each of the others. Bounds are far off: figures are the bench's."""
    base = FORWARD if kind == "forwardrules" else FIREWALL_RULE
    many = [
        {
            **base,
            "id": number,
            "source_port_range": f"{number}:{number}",
            "destination_port_range": f"{number}:{number}",
        }
        for number in range(10_000)
    ]
    data = encode(kind, {"rules": many})
    start = time.process_time()
    bags = merge({}, parse_drop("x", data))
    assert time.process_time() - start < 3
    start = time.process_time()
    merge(bags, rules(kind, {"id": 70_000, "source_port_range": "1:1", "destination_port_range": "1:1"}))
    assert time.process_time() - start < 0.5
