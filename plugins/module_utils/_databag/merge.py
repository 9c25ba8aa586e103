# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops into databags, without touching either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import (
    addresses,
    boot,
    machines,
    rules,
    services,
    tiers,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Bag,
    Workspace,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop

__all__ = ["BAGS", "START", "Bag", "merge", "merge_all"]

START = "start"
"""What start.py notes about how this boot began. It comes into force with the databags, and no drop makes it."""

# Every databag there is, by the name of its file without ``.json``.
BAGS = (
    "bgppeers",
    "cmdline",
    "dhcpconfig",
    "dhcpentry",
    "firewallrules",
    "forwardingrules",
    "guestnetwork",
    "ips",
    "ipv6firewallrules",
    "loadbalancer",
    "monitorservice",
    "networkacl",
    "remoteaccessvpn",
    "site2sitevpn",
    START,
    "staticroutes",
    "vmdata",
    "vmpassword",
    "vpnuserlist",
)

# What merges a drop of each type; the file name only serves a message.
_MERGES: dict[str, Callable[[Workspace, dict[str, Any], str], None]] = {
    "bgppeers": services.merge_bgp_peers,
    "cmdline": boot.merge_cmdline,
    "dhcpconfig": machines.merge_dhcp_config,
    "dhcpentry": machines.merge_dhcp_entry,
    "firewallrules": partial(rules.merge_firewall, "firewallrules"),
    "forwardrules": rules.merge_forwards,
    "guestnetwork": tiers.merge_guest_network,
    "ipaliases": addresses.merge_ip_aliases,
    "ips": addresses.merge_ips,
    "ipv6firewallrules": partial(rules.merge_firewall, "ipv6firewallrules"),
    "loadbalancer": services.merge_load_balancer,
    "monitorservice": services.merge_monitor_service,
    "networkacl": tiers.merge_network_acl,
    "remoteaccessvpn": services.merge_remote_access,
    "site2sitevpn": services.merge_site_to_site,
    "staticnatrules": rules.merge_static_nat,
    "staticroutes": services.merge_static_routes,
    "vmdata": machines.merge_vm_data,
    "vmpassword": machines.merge_vm_password,
    "vpnuserlist": services.merge_vpn_users,
}


def merge(bags: Mapping[str, Bag], drop: Drop) -> dict[str, Bag]:
    """Return the databags as they are after one drop; the input is not touched.

    Databags that did not change are the same objects. DropError, when the drop does not fit this router.
    """
    return merge_all(bags, [drop])


def merge_all(bags: Mapping[str, Bag], drops: Iterable[Drop]) -> dict[str, Bag]:
    """Return the databags as they are after several drops, in order; each bag is copied at most once."""
    workspace = Workspace(bags)
    for drop in drops:
        _MERGES[drop.type](workspace, drop.body, drop.name)
    return workspace.result()
