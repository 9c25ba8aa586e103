# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about packets: firewall, ACL, port forwarding, static NAT, load balancer."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    Kind,
    MismatchError,
    list_of,
    may,
    need,
    record,
    shape_of,
    shaped,
)

# Types and codes of ICMP are octets (RFC 792); -1 is CloudStack's "any".
ICMP = k.integer(-1, 255)
PORT = k.integer(0, 65535)
PROTOCOL_NUMBER = k.number(0, 255)

_SHARED_ACL = {
    "type": need(k.word_of("all", "tcp", "udp", "icmp", "protocol")),
    "cidr": need(k.comma_list(k.cidr)),
    "allowed": need(k.boolean),
    "first_port": may(PORT),
    "last_port": may(PORT),
    "icmp_type": may(ICMP),
    "icmp_code": may(ICMP),
    "protocol": may(PROTOCOL_NUMBER),
}


def acl_rule_is_whole(rule: dict[str, Any]) -> None:
    """Want both ports in order where there are ports, and the number of a rule that is by protocol number.

    A rule for TCP or UDP always has ports, 0-0 for all: one that gave them in a way of its own (B20) would be opened
    wider than it says if they were optional.
    """
    if rule["type"] in ("tcp", "udp") and "first_port" not in rule:
        raise k.missing("first_port", "a port, 0 for all")
    if ("first_port" in rule) != ("last_port" in rule):
        missing = "last_port" if "first_port" in rule else "first_port"
        raise k.missing(missing, "a port, as its other end is given")
    if "first_port" in rule and rule["first_port"] > rule["last_port"]:
        raise MismatchError(f"a port not below {rule['first_port']}", rule["last_port"], "last_port")
    if rule["type"] == "protocol" and "protocol" not in rule:
        raise k.missing("protocol", "a protocol number from 0 to 255")


ACL_RULES = list_of(record(_SHARED_ACL, acl_rule_is_whole))
NETWORK_ACL = record(
    {
        "device": need(k.device),
        "mac_address": may(k.mac),
        "nic_ip": may(k.ipv4),
        "nic_netmask": may(k.number(0, 32)),
        "nic_ip6_cidr": may(k.cidr6),
        "private_gateway_acl": may(k.boolean),
        "ingress_rules": need(ACL_RULES),
        "egress_rules": need(ACL_RULES),
    }
)


def firewall_rule(cidr: Kind) -> Kind:
    """Make the kind of a rule of ``firewallrules`` or ``ipv6firewallrules``."""
    return record(
        {
            "id": need(k.number(0, 2**63 - 1)),
            "src_ip": may(k.ipv4),
            "protocol": need(k.word_of("tcp", "udp", "icmp", "all")),
            "src_port_range": may(k.port_pair),
            "icmp_type": may(ICMP),
            "icmp_code": may(ICMP),
            "revoked": need(k.boolean),
            "already_added": may(k.boolean),
            "purpose": may(k.text),
            "traffic_type": need(k.one_of("Ingress", "Egress")),
            "default_egress_policy": may(k.boolean),
            "source_cidr_list": may(list_of(cidr)),
            "dest_cidr_list": may(list_of(cidr)),
            "guest_ip6_cidr": may(k.cidr6),
        }
    )


RULE4 = firewall_rule(k.cidr4)
RULE6 = firewall_rule(k.cidr6)
FIREWALL_RULES = record({"rules": need(list_of(RULE4))})
IPV6_FIREWALL_RULES = record({"rules": need(list_of(RULE6))})


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


@shaped(lambda: {"type": "string", "pattern": "^[0-9./]+:[0-9]{1,5}:", "description": "ip:port:…"})
def listener(value: Any) -> str:
    """Accept ``ip:port:…`` of a listener to open or close; statistics may say ``0.0.0.0/0`` as address."""
    parts = value.split(":", 2) if isinstance(value, str) else []
    port = parts[1] if len(parts) == 3 else ""
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise MismatchError('"ip:port:…"', value)
    if parts[0] != "0.0.0.0/0":
        k.ipv4(parts[0])
    return k.text(value)


@shaped(lambda: {"anyOf": [{"const": ""}, shape_of(listener)]})
def statistics(value: Any) -> str:
    """Accept a statistics listener; the empty text means that there is none."""
    return value if value == "" else listener(value)


CERTIFICATE = record(
    {
        "name": need(k.matching(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}", "a certificate name such as 192_0_2_1-443")),
        "cert": Field(k.lines, secret=True),
        "key": Field(k.lines, secret=True),
        "chain": Field(k.lines, optional=True, secret=True),
        "password": Field(k.text, optional=True, secret=True),
    }
)
BALANCER = record(
    {
        # A `stats auth` line holds a password.
        "configuration": Field(list_of(k.lines), secret=True),
        "add_rules": may(list_of(listener)),
        "remove_rules": may(list_of(listener)),
        "stat_rules": may(list_of(statistics)),
        "ssl_certs": may(list_of(CERTIFICATE)),
        "router_ip": may(k.ipv4),
        "tmp_cfg_file_name": may(k.text),
        "tmp_cfg_file_path": may(k.text),
    }
)
BALANCERS = list_of(BALANCER)
LOAD_BALANCER = record({"rules": may(BALANCERS)})
