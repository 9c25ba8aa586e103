# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell the networks of VMs apart: a MAC is unique in one of them, and may be that of another VM in the next.

Only a VPC has several. All subnets of a shared network are on one wire, so the gateway tells nothing there (F8).
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)

Entry = dict[str, Any]


def addresses_of(entry: Entry) -> list[str]:
    """Return the addresses of an entry; the first one is its key."""
    return [entry[field] for field in ("ipv4_address", "ipv6_address") if field in entry]


def same_network(workspace: Workspace, one: Entry, other: Entry) -> bool:
    """Tell whether the NICs of two DHCP entries are in one network; a MAC that both have is one NIC then."""
    kind = workspace.read("cmdline").get("config", {}).get("type", "vpcrouter")
    return kind != "vpcrouter" or _segment(workspace, one) == _segment(workspace, other)


def _segment(workspace: Workspace, entry: Entry) -> tuple[str, str]:
    """Return the device of the tier that an entry is in; of one whose tier is not there yet its gateway."""
    address = ipaddress.ip_address(addresses_of(entry)[0])
    for device, filed in records(workspace.read("ips")):
        for record in filed:
            if record["nw_type"] == "guest" and address in ipaddress.ip_network(record["network"]):
                return ("device", device)
    for device, tiers in records(workspace.read("guestnetwork")):
        for tier in tiers:
            prefix = tier.get("router_guest_ip6_cidr")
            if prefix and address in ipaddress.ip_network(prefix, strict=False):
                return ("device", device)
    return ("gateway", entry.get("default_gateway", ""))
