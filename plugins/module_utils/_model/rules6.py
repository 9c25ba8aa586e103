# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter rules of IPv6: an isolated network's own databag, and the IPv6 part of the ACLs of tiers.

Nothing that no rule allows passes, in either direction: IPv4 of a VPC lets out what no rule forbids, IPv6 does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Rule, RuleList
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules import (
    IPV6,
    Record,
    acl_rules,
    by_id,
    firewall_rule,
)

Lists = tuple[RuleList, RuleList]
CLOSED: Lists = (RuleList(), RuleList())
"""Ingress and egress of a tier without an ACL."""


def inbound6(bags: Mapping[str, Any]) -> RuleList:
    """Return the ingress rules of an isolated network; a list without a CIDR means every address."""
    given = [(label, r) for label, r in by_id(bags, IPV6) if r["traffic_type"].lower() == "ingress"]
    return RuleList(tuple(rule for label, record in given for rule in firewall_rule(IPV6, label, record, allow=True)))


def egress6(bags: Mapping[str, Any]) -> RuleList:
    """Return the egress rules: under a default of "allow" they block, under "deny" they allow.

    Every rule says the policy; those of egress are believed first. The rule with id 0 is the policy itself. Without a
    rule nothing is known, and nothing leaves.
    """
    every = by_id(bags, IPV6)
    records = [(label, record) for label, record in every if record["traffic_type"].lower() == "egress"]
    default_allow = bool(every) and all(record.get("default_egress_policy") for _label, record in records or every)
    rules: list[Rule] = []
    for label, record in records:
        if not _is_policy(record):
            rules += firewall_rule(IPV6, label, record, allow=not default_allow)
    return RuleList(tuple(rules), default_allow)


def _is_policy(record: Record) -> bool:
    lists = record.get("source_cidr_list"), record.get("dest_cidr_list")
    return int(record["id"]) == 0 and record["protocol"] == "all" and not any(lists)


def acls6(bags: Mapping[str, Any], locator: Locator) -> dict[str, Lists]:
    """Return ingress and egress list per device, in the order of all rules, without those that name no IPv6 network."""
    found = acl_rules(IPV6, bags, locator)
    return {name: (RuleList(ingress), RuleList(egress)) for name, (ingress, egress) in found.items()}
