# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drop about the ACL of a tier or private gateway."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    MismatchError,
    list_of,
    may,
    need,
    record,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.firewall import ICMP

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


_ACL = {
    "device": need(k.device),
    "mac_address": may(k.mac),
    "nic_ip": may(k.ipv4),
    "nic_netmask": may(k.number(0, 32)),
    "nic_ip6_cidr": may(k.prefix6),
    "private_gateway_acl": may(k.boolean),
    "ingress_rules": need(ACL_RULES),
    "egress_rules": need(ACL_RULES),
}

NETWORK_ACL = record(_ACL)
# Nothing asks for the network of the NIC.
STORED_ACL = record({**_ACL, "nic_ip6_cidr": may(k.cidr6)})
