# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about port forwarding and static NAT."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    MismatchError,
    list_of,
    may,
    need,
    record,
    shape_of,
    shaped,
)


@shaped(lambda: {"anyOf": [{"const": "any"}, shape_of(k.port_text)]})
def ports_or_any(value: Any) -> str:
    """Accept a port range, or ``any`` as a VPC router may be sent."""
    return "any" if value == "any" else k.port_text(value)


def _length(ports: str) -> int:
    first, last = ports.split(":")
    return int(last) - int(first)


def equal_ranges(outside: str, inside: str) -> Any:
    """Make the rule that two port ranges map one to one (N9)."""

    def check(rule: dict[str, Any]) -> None:
        theirs, ours = rule[outside], rule[inside]
        if "any" in (theirs, ours):
            if theirs != ours:
                raise MismatchError("any, as its other side is", ours if theirs == "any" else theirs, inside)
        elif _length(theirs) != _length(ours):
            raise MismatchError(f"a range as long as {theirs}", ours, inside)

    return check


FORWARD_RULES = record(
    {
        "rules": need(
            list_of(
                record(
                    {
                        "revoke": need(k.boolean),
                        "protocol": need(k.word_of("tcp", "udp", "any")),
                        "source_ip_address": need(k.ipv4),
                        "source_port_range": need(ports_or_any),
                        "destination_ip_address": need(k.ipv4),
                        "destination_port_range": need(ports_or_any),
                        "source_cidr_list": may(k.comma_list(k.cidr4)),
                    },
                    equal_ranges("source_port_range", "destination_port_range"),
                )
            )
        )
    }
)

STATIC_NAT_RULES = record(
    {
        "rules": need(
            list_of(
                record(
                    {
                        "revoke": need(k.boolean),
                        "protocol": may(k.word_of("tcp", "udp", "icmp", "all", "any")),
                        "source_ip_address": need(k.ipv4),
                        "source_port_range": may(ports_or_any),
                        "destination_ip_address": need(k.ipv4),
                    }
                )
            )
        )
    }
)


def _ports_given(rule: dict[str, Any]) -> None:
    """Want the ports of a forward; static NAT may do without."""
    for name in ("public_ports", "internal_ports", "protocol"):
        if rule["type"] == "forward" and name not in rule:
            raise k.missing(name, "a value, as this is a forward")
    if rule["type"] == "forward":
        equal_ranges("public_ports", "internal_ports")(rule)


STORED_NAT = record(
    {
        "type": need(k.one_of("forward", "staticnat")),
        "public_ip": need(k.ipv4),
        "internal_ip": need(k.ipv4),
        "public_ports": may(ports_or_any),
        "internal_ports": may(ports_or_any),
        "protocol": may(k.word_of("tcp", "udp", "icmp", "all", "any")),
        "source_cidr_list": may(k.comma_list(k.cidr4)),
    },
    _ports_given,
)
