# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every type of drop there is, one record each: this table is the one place that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import (
    acl,
    bgp,
    cmdline,
    dhcp,
    firewall,
    interfaces,
    load_balancer,
    metadata,
    monitoring,
    nat,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag, Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.acl import NETWORK_ACL
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.bgp import BGP_PEERS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import Kind
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.cmdline import CMDLINE
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.dhcp import (
    DHCP_CONFIG,
    DHCP_ENTRY,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.firewall import (
    FIREWALL_RULES,
    IPV6_FIREWALL_RULES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import (
    GUEST_NETWORK,
    IP_ALIASES,
    IPS,
    STATIC_ROUTES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.load_balancer import (
    LOAD_BALANCER,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.metadata import (
    VM_DATA,
    VM_PASSWORD,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.monitoring import (
    MONITOR_SERVICE,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.nat import (
    FORWARD_RULES,
    STATIC_NAT_RULES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.vpn import (
    REMOTE_ACCESS,
    SITE_TO_SITE,
    VPN_USERS,
)

START = "start"
"""What start.py notes about how this boot began. It comes into force with the databags, and no drop makes it."""


@dataclass(frozen=True)
class DropType:
    """One type of drop: what it may contain, how it is merged, and the databag that it is about.

    `schema` checks the body. `merge` puts it into the databags; the file name only serves a message. `bag` is a file
    of /etc/cloudstack without ``.json``. `adopt` returns what such a file holds in clean shape, whoever wrote it; where
    several types are about one databag, one of them has it.
    """

    schema: Kind
    merge: Callable[[Workspace, dict[str, Any], str], None]
    bag: str
    adopt: Callable[[Bag], Bag] | None = None


DROP_TYPES: dict[str, DropType] = {
    "bgppeers": DropType(BGP_PEERS, bgp.merge_bgp_peers, "bgppeers", bgp.adopt_peers),
    "cmdline": DropType(CMDLINE, cmdline.merge_cmdline, "cmdline", cmdline.adopt_arguments),
    "dhcpconfig": DropType(DHCP_CONFIG, dhcp.merge_dhcp_config, "dhcpconfig", dhcp.adopt_ranges),
    "dhcpentry": DropType(DHCP_ENTRY, dhcp.merge_dhcp_entry, "dhcpentry", dhcp.adopt_entries),
    "firewallrules": DropType(FIREWALL_RULES, firewall.merge_rules, "firewallrules", firewall.adopt_rules),
    "forwardrules": DropType(FORWARD_RULES, nat.merge_forwards, "forwardingrules", nat.adopt_nat),
    "guestnetwork": DropType(GUEST_NETWORK, interfaces.merge_guest_network, "guestnetwork", interfaces.adopt_tiers),
    "ipaliases": DropType(IP_ALIASES, interfaces.merge_ip_aliases, "ips"),
    "ips": DropType(IPS, interfaces.merge_ips, "ips", interfaces.adopt_addresses),
    "ipv6firewallrules": DropType(
        IPV6_FIREWALL_RULES, firewall.merge_ipv6_rules, "ipv6firewallrules", firewall.adopt_ipv6_rules
    ),
    "loadbalancer": DropType(
        LOAD_BALANCER,
        load_balancer.merge_load_balancer,
        "loadbalancer",
        load_balancer.adopt_load_balancer,
    ),
    "monitorservice": DropType(
        MONITOR_SERVICE,
        monitoring.merge_monitor_service,
        "monitorservice",
        monitoring.adopt_monitor_service,
    ),
    "networkacl": DropType(NETWORK_ACL, acl.merge_network_acl, "networkacl", acl.adopt_acls),
    "remoteaccessvpn": DropType(REMOTE_ACCESS, vpn.merge_remote_access, "remoteaccessvpn", vpn.adopt_remote_access),
    "site2sitevpn": DropType(SITE_TO_SITE, vpn.merge_site_to_site, "site2sitevpn", vpn.adopt_site_to_site),
    "staticnatrules": DropType(STATIC_NAT_RULES, nat.merge_static_nat, "forwardingrules"),
    "staticroutes": DropType(STATIC_ROUTES, interfaces.merge_static_routes, "staticroutes", interfaces.adopt_routes),
    "vmdata": DropType(VM_DATA, metadata.merge_vm_data, "vmdata", metadata.adopt_metadata),
    "vmpassword": DropType(VM_PASSWORD, metadata.merge_vm_password, "vmpassword", metadata.adopt_passwords),
    "vpnuserlist": DropType(VPN_USERS, vpn.merge_vpn_users, "vpnuserlist", vpn.adopt_users),
}

BAGS = tuple(sorted({START, *(drop.bag for drop in DROP_TYPES.values())}))
"""Every databag there is, by the name of its file without ``.json``."""
