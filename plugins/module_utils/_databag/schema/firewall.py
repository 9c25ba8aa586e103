# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about firewall rules."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Kind,
    list_of,
    may,
    need,
    record,
)

# Types and codes of ICMP are octets (RFC 792); -1 is CloudStack's "any".
ICMP = k.integer(-1, 255)


def firewall_rule(cidr: Kind, guest: Kind = k.prefix6) -> Kind:
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
            "guest_ip6_cidr": may(guest),
        }
    )


RULE4 = firewall_rule(k.cidr4)


RULE6 = firewall_rule(k.cidr6)


# Nothing asks for the network of the guests.
STORED_RULE4, STORED_RULE6 = firewall_rule(k.cidr4, k.cidr6), firewall_rule(k.cidr6, k.cidr6)


FIREWALL_RULES = record({"rules": need(list_of(RULE4))})


IPV6_FIREWALL_RULES = record({"rules": need(list_of(RULE6))})
