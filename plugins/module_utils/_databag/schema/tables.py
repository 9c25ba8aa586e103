# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Name the schema of every type of drop."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import (
    bootargs,
    machines,
    network,
    packets,
    services,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import Kind

SCHEMAS: dict[str, Kind] = {
    "bgppeers": network.BGP_PEERS,
    "cmdline": bootargs.CMDLINE,
    "dhcpconfig": machines.DHCP_CONFIG,
    "dhcpentry": machines.DHCP_ENTRY,
    "firewallrules": packets.FIREWALL_RULES,
    "forwardrules": packets.FORWARD_RULES,
    "guestnetwork": network.GUEST_NETWORK,
    "ipaliases": network.IP_ALIASES,
    "ips": network.IPS,
    "ipv6firewallrules": packets.IPV6_FIREWALL_RULES,
    "loadbalancer": packets.LOAD_BALANCER,
    "monitorservice": services.MONITOR_SERVICE,
    "networkacl": packets.NETWORK_ACL,
    "remoteaccessvpn": services.REMOTE_ACCESS,
    "site2sitevpn": services.SITE_TO_SITE,
    "staticnatrules": packets.STATIC_NAT_RULES,
    "staticroutes": network.STATIC_ROUTES,
    "vmdata": machines.VM_DATA,
    "vmpassword": machines.VM_PASSWORD,
    "vpnuserlist": services.VPN_USERS,
}
