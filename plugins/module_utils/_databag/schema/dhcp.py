# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about DHCP: entries of VMs, and ranges."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    NO_VALUE,
    Field,
    list_of,
    may,
    need,
    record,
)

# RFC 2132, section 9.2: the lease time is 32 bits of seconds.
LEASE_TIME = k.integer(0, 2**32 - 1)


def addressed(body: dict[str, Any]) -> None:
    """Want an address of either family, without which there is nothing to serve."""
    if "ipv4_address" not in body and "ipv6_address" not in body:
        raise k.missing("ipv4_address", "an IPv4 address, or an ipv6_address")


DHCP_FIELDS = {
    "host_name": may(k.host_name),
    "mac_address": need(k.mac),
    "ipv4_address": may(k.ipv4),
    "ipv6_address": may(k.ipv6),
    "ipv6_duid": may(k.matching(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){0,129}", "a DUID in hexadecimal")),
    "dns_addresses": may(k.comma_list(k.ip)),
    "default_gateway": may(k.ip),
    "default_entry": may(k.boolean),
    "lease_time": may(LEASE_TIME),
    "remove": may(k.boolean),
}


DHCP_ENTRY = record(DHCP_FIELDS, addressed)

RANGES = list_of(
    record(
        {
            "router_ip_address": need(k.ipv4),
            "gateway": may(k.ipv4),
            "netmask": need(k.netmask),
            "first_ip_of_subnet": may(k.ipv4),
        }
    )
)


DHCP_CONFIG = record({"entries": need(RANGES)})


def _name_or_blank(value: Any) -> str:
    """Accept a host name, or the empty one of a VM whose name a newer VM has taken (F13)."""
    return "" if isinstance(value, str) and value in NO_VALUE else k.host_name(value)


STORED_ENTRY = record(
    {**DHCP_FIELDS, "host_name": Field(_name_or_blank, optional=True, blank=True)},
    addressed,
)
