# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter rules of IPv6: an isolated network's own databag, and the IPv6 part of the ACLs of tiers.

Nothing that no rule allows passes, in either direction: IPv4 of a VPC lets out what no rule forbids, IPv6 does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Match, Rule, RuleList
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules import icmp_number, port_pair

Record = Mapping[str, Any]
Lists = tuple[RuleList, RuleList]
CLOSED: Lists = (RuleList(), RuleList())
"""Ingress and egress of a tier without an ACL."""
_NUMBERED = {"6": "tcp", "17": "udp", "58": "icmp"}
_WITH_PORTS = ("tcp", "udp")


def inbound6(bags: Mapping[str, Any]) -> RuleList:
    """Return the ingress rules of an isolated network; a list without a CIDR means every address."""
    given = [(label, r) for label, r in _by_id(bags) if r["traffic_type"].lower() == "ingress"]
    return RuleList(tuple(rule for label, record in given for rule in _rule(label, record, allow=True)))


def egress6(bags: Mapping[str, Any]) -> RuleList:
    """Return the egress rules: under a default of "allow" they block, under "deny" they allow.

    Every rule says the policy; those of egress are believed first. The rule with id 0 is the policy itself. Without a
    rule nothing is known, and nothing leaves.
    """
    every = _by_id(bags)
    records = [(label, record) for label, record in every if record["traffic_type"].lower() == "egress"]
    default_allow = bool(every) and all(record.get("default_egress_policy") for _label, record in records or every)
    rules: list[Rule] = []
    for label, record in records:
        if not _is_policy(record):
            rules += _rule(label, record, allow=not default_allow)
    return RuleList(tuple(rules), default_allow)


def _is_policy(record: Record) -> bool:
    lists = record.get("source_cidr_list"), record.get("dest_cidr_list")
    return int(record["id"]) == 0 and record["protocol"] == "all" and not any(lists)


def _by_id(bags: Mapping[str, Any]) -> list[tuple[str, Record]]:
    rules = bags.get("ipv6firewallrules", {})
    ids = sorted((key for key in rules if key != "id"), key=int)
    return [(f"ipv6firewallrules {key}", rules[key]) for key in ids]


def _rule(label: str, record: Record, allow: bool) -> list[Rule]:
    sources, destinations = (values.cidrs6(record.get(side) or ()) for side in ("source_cidr_list", "dest_cidr_list"))
    if sources is None or destinations is None:
        return []
    protocol = None if record["protocol"] == "all" else str(record["protocol"])
    ports = port_pair(record.get("src_port_range")) if protocol in _WITH_PORTS else None
    kind, code = (icmp_number(record.get(f"icmp_{n}")) if protocol == "icmp" else None for n in ("type", "code"))
    return [Rule(Match(protocol, ports, kind, code, sources, destinations), allow, label)]


def acls6(bags: Mapping[str, Any], locator: Locator) -> dict[str, Lists]:
    """Return ingress and egress list per device, in the order of all rules, without those that name no IPv6 network."""
    found = {}
    for key, entry in sorted(bags.get("networkacl", {}).items()):
        name = None if key == "id" else locator.find(values.text(entry.get("mac_address")), key)
        if name is not None:
            ingress = _acl_rules(entry["ingress_rules"], f"networkacl {key} ingress", towards=True)
            leaving = _acl_rules(entry["egress_rules"], f"networkacl {key} egress", towards=False)
            found[name] = (RuleList(ingress), RuleList(leaving))
    return found


def _acl_rules(items: Iterable[Record], label: str, towards: bool) -> tuple[Rule, ...]:
    rules = []
    for number, item in enumerate(items):
        networks = values.cidrs6(item["cidr"].split(","))
        if networks is None:
            continue
        kind = item["type"]
        given = str(item["protocol"]) if kind == "protocol" else kind
        match = Match(
            protocol=None if kind == "all" else _NUMBERED.get(given, given),
            ports=port_pair((item.get("first_port", 0), item.get("last_port", 0))) if kind in _WITH_PORTS else None,
            icmp_type=icmp_number(item.get("icmp_type")) if kind == "icmp" else None,
            icmp_code=icmp_number(item.get("icmp_code")) if kind == "icmp" else None,
            sources=networks if towards else (),
            destinations=() if towards else networks,
        )
        rules.append(Rule(match, item["allowed"], f"{label}[{number}]"))
    return tuple(rules)
