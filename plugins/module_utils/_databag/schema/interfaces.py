# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about NICs, addresses, tiers and static routes."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    NO_VALUE,
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

# RFC 791 wants 68 octets of every link; 65535 is the longest IPv4 packet.
MTU = k.number(68, 65535)


DEVICE_ID = k.number(0, 9999)


DATABASE_ID = k.number(0, 2**63 - 1)


PREFIX4 = k.number(0, 32)


PREFIX6 = k.number(0, 128)


def named_nic(body: dict[str, Any]) -> None:
    """Refuse an address that names its NIC neither by MAC nor by number: it could never be placed."""
    if body["add"] and "vif_mac_address" not in body and "nic_dev_id" not in body:
        raise k.missing("vif_mac_address", "a MAC address, or a nic_dev_id")


def address_fields(mtu: Kind) -> dict[str, Field]:
    """Return the fields that a drop's and a databag's ``ips`` records share."""
    return {
        "public_ip": need(k.ipv4),
        "add": need(k.boolean),
        "source_nat": may(k.boolean),
        "one_to_one_nat": may(k.boolean),
        "first_i_p": may(k.boolean),
        "gateway": may(k.ipv4),
        "netmask": need(k.netmask),
        "vif_mac_address": may(k.mac),
        "nic_dev_id": may(DEVICE_ID),
        "new_nic": may(k.boolean),
        # The names of com.cloud.network.Networks.TrafficType, and what the original makes on the router (E2).
        "nw_type": may(k.word_of("public", "guest", "control", "management", "storage", "vpn")),
        "is_private_gateway": may(k.boolean),
        "mtu": may(mtu),
    }


IPS = record({"ip_address": need(list_of(record(address_fields(MTU), named_nic)))})

IP_ALIASES = record(
    {
        "aliases": need(
            list_of(
                record(
                    {
                        "ip_address": need(k.ipv4),
                        "netmask": need(k.netmask),
                        "revoke": need(k.boolean),
                        "count": may(k.number(0, 2**31 - 1)),
                    }
                )
            )
        )
    }
)

TIER6 = {
    "cidr6": may(PREFIX6),
    "dns6": may(k.comma_list(k.host6)),
    "router_guest_ip6": may(k.host6),
    "router_guest_ip6_cidr": may(k.prefix6),
    "router_guest_ip6_gateway": may(k.host6),
    "router_ip6": may(k.host6),
    "router_ip6_cidr": may(k.prefix6),
    "router_ip6_gateway": may(k.next_hop6),
}
"""What a tier may have of IPv6."""
_TIER = {
    "add": need(k.boolean),
    "device": need(k.device),
    "mac_address": may(k.mac),
    "router_guest_ip": need(k.ipv4),
    "router_guest_netmask": need(k.netmask),
    "router_guest_gateway": may(k.ipv4),
    "cidr": may(PREFIX4),
    "is_vr_guest_gateway": may(k.boolean),
    "network_id": may(DATABASE_ID),
    "mtu": may(MTU),
    "dns": may(k.comma_list(k.ip)),
    "domain_name": may(k.domain),
    **TIER6,
}

GUEST_NETWORK = record(_TIER)
STORED_TIER = record(
    {
        **_TIER,
        **dict.fromkeys((name for name in TIER6 if name.startswith("router_")), may(k.ipv6)),
        "dns6": may(k.comma_list(k.ipv6)),
        "router_guest_ip6_cidr": may(k.cidr6),
        "router_ip6_cidr": may(k.cidr6),
    }
)


@shaped(lambda: shape_of(k.cidr))
def canonical_network(value: Any) -> str:
    """Accept the destination of a route and clear its host bits, so that one network has one key."""
    network = str(ipaddress.ip_network(k.cidr(value), strict=False))
    return value if network == value else network


def gateway_of_route(route: dict[str, Any]) -> None:
    """Want a gateway of the network's family, unless the route is taken away."""
    if route["revoke"]:
        return
    if "gateway" not in route:
        raise k.missing("gateway", "an IP address")
    if (":" in route["gateway"]) != (":" in route["network"]):
        raise MismatchError("a gateway of the address family of the network", route["gateway"], "gateway")


ROUTE = record(
    {
        "revoke": need(k.boolean),
        "network": need(canonical_network),
        "gateway": may(k.ip),
        "ip_address": may(k.ip),
    },
    gateway_of_route,
)


STATIC_ROUTES = record({"routes": need(list_of(ROUTE))})


def _address_or_blank(value: Any) -> str:
    """Accept an address, or nothing, which the original writes as an empty gateway."""
    return "" if isinstance(value, str) and value in NO_VALUE else k.ipv4(value)


STORED_ADDRESS = record(
    {
        **address_fields(MTU),
        "gateway": Field(_address_or_blank, optional=True, blank=True),
        "alias": may(k.boolean),
    }
)
