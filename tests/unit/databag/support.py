# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make drops for the tests: a small valid one of every type, to be varied by keyword."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop

Json = dict[str, Any]
MAC = "02:00:55:00:00:02"

ADDRESS: Json = {
    "public_ip": "192.0.2.10",
    "source_nat": False,
    "add": True,
    "one_to_one_nat": False,
    "first_i_p": False,
    "gateway": "192.0.2.1",
    "netmask": "255.255.255.0",
    "vif_mac_address": "1e:00:2d:00:00:0a",
    "nic_dev_id": 2,
    "new_nic": False,
    "nw_type": "Public",
    "is_private_gateway": False,
    "mtu": 1500,
}
TIER: Json = {
    "add": True,
    "mac_address": MAC,
    "device": "eth2",
    "router_guest_ip": "10.2.1.1",
    "router_guest_netmask": "255.255.255.0",
    "router_guest_gateway": "10.2.1.1",
    "cidr": "24",
    "is_vr_guest_gateway": True,
    "network_id": 2041,
    "mtu": 1450,
}
ACL_RULE: Json = {"type": "tcp", "cidr": "0.0.0.0/0,::/0", "allowed": True, "first_port": 22, "last_port": 23}
FIREWALL_RULE: Json = {
    "id": 101,
    "src_ip": "192.0.2.10",
    "protocol": "tcp",
    "src_port_range": [22, 80],
    "revoked": False,
    "already_added": False,
    "source_cidr_list": ["203.0.113.0/24"],
    "dest_cidr_list": [],
    "purpose": "Firewall",
    "traffic_type": "Ingress",
    "default_egress_policy": False,
}
FORWARD: Json = {
    "revoke": False,
    "protocol": "tcp",
    "source_ip_address": "192.0.2.10",
    "source_port_range": "8000:8010",
    "destination_ip_address": "10.1.1.11",
    "destination_port_range": "9000:9010",
    "source_cidr_list": "",
}
STATIC_NAT: Json = {
    "revoke": False,
    "source_ip_address": "192.0.2.12",
    "source_port_range": "0:0",
    "destination_ip_address": "10.1.1.11",
}
BALANCER: Json = {
    "configuration": ["global", "\tmaxconn 4096", "listen a", "\tbind 192.0.2.11:80", "\tbind 192.0.2.10:8081"],
    "ssl_certs": [],
    "add_rules": ["192.0.2.11:80:"],
    "remove_rules": [],
    "stat_rules": ["192.0.2.10:8081:0/0:,"],
    "router_ip": "169.254.3.101",
}
ENTRY: Json = {
    "host_name": "vm-a",
    "mac_address": "02:01:00:00:00:0b",
    "ipv4_address": "10.1.1.11",
    "ipv6_duid": "00:03:00:01:02:01:00:00:00:0b",
    "dns_addresses": "10.1.1.1",
    "default_gateway": "10.1.1.1",
    "default_entry": True,
    "lease_time": 0,
    "remove": False,
}
REMOTE_ACCESS: Json = {
    "create": True,
    "ip_range": "10.1.2.2-10.1.2.8",
    "preshared_key": "canary-psk",
    "vpn_server_ip": "192.0.2.10",
    "local_ip": "10.1.2.1",
    "local_cidr": "10.1.1.0/24",
    "public_interface": "eth2",
}
SITE_TO_SITE: Json = {
    "create": True,
    "local_public_ip": "192.0.2.50",
    "local_guest_cidr": "10.2.0.0/16",
    "local_public_gateway": "192.0.2.1",
    "peer_gateway_ip": "203.0.113.41",
    "peer_guest_cidr_list": "10.41.0.0/16,10.42.0.0/24",
    "esp_policy": "aes128-sha1;modp1536",
    "ike_policy": "aes256-sha384;modp3072,aes128-sha256",
    "ipsec_psk": "canary-psk",
    "ike_version": "ikev2",
    "ike_lifetime": 86400,
    "esp_lifetime": 3600,
    "dpd": True,
    "passive": False,
    "encap": False,
    "split_connections": False,
}
ROUTE: Json = {"revoke": False, "ip_address": "172.20.0.2", "gateway": "172.20.0.1", "network": "172.21.0.0/16"}
PEER: Json = {
    "peer_id": 2,
    "peer_as_number": 64512,
    "peer_password": "canary",
    "network_id": 2040,
    "network_as_number": 65010,
    "ip4_address": "192.0.2.2",
    "guest_ip4_cidr": "10.1.1.0/24",
    "details": {"EBGP_MultiHop": "3"},
}
ARGUMENTS: Json = {
    "type": "router",
    "name": "r-101-VM",
    "eth0ip": "10.1.1.1",
    "eth0mask": "255.255.255.0",
    "eth1ip": "169.254.3.101",
    "eth1mask": "255.255.0.0",
    "eth2ip": "192.0.2.10",
    "eth2mask": "255.255.255.0",
    "gateway": "192.0.2.1",
    "domain": "cs2cloud.internal",
}

# One valid body of every type.
BODIES: dict[str, Json] = {
    "bgppeers": {"peers": [PEER]},
    "cmdline": {"cmd_line": ARGUMENTS},
    "dhcpconfig": {
        "entries": [
            {
                "router_ip_address": "10.30.0.5",
                "gateway": "10.30.0.1",
                "netmask": "255.255.255.0",
                "first_ip_of_subnet": "10.30.0.1",
            }
        ]
    },
    "dhcpentry": ENTRY,
    "firewallrules": {"rules": [FIREWALL_RULE]},
    "forwardrules": {"rules": [FORWARD]},
    "guestnetwork": TIER,
    "ipaliases": {"aliases": [{"revoke": False, "ip_address": "10.1.5.1", "netmask": "255.255.255.0", "count": 1}]},
    "ips": {"ip_address": [ADDRESS]},
    "ipv6firewallrules": {"rules": [{**FIREWALL_RULE, "src_ip": "", "source_cidr_list": ["2001:db8::/48"]}]},
    "loadbalancer": {"rules": [BALANCER]},
    "monitorservice": {"config": "[dhcp]:processname=dnsmasq:,", "excluded_health_checks": ""},
    "networkacl": {
        "device": "eth2",
        "mac_address": MAC,
        "private_gateway_acl": False,
        "nic_ip": "10.2.1.1",
        "nic_netmask": "24",
        "ingress_rules": [ACL_RULE],
        "egress_rules": [{"type": "protocol", "protocol": 47, "cidr": "203.0.113.0/24", "allowed": False}],
    },
    "remoteaccessvpn": REMOTE_ACCESS,
    "site2sitevpn": SITE_TO_SITE,
    "staticnatrules": {"rules": [STATIC_NAT]},
    "staticroutes": {"routes": [ROUTE]},
    "vmdata": {
        "vm_ip_address": "10.1.1.11",
        "vm_metadata": [["userdata", "user-data", "I2Nsb3VkCg=="], ["metadata", "public-keys", None]],
    },
    "vmpassword": {"ip_address": "10.1.1.11", "password": "canary-password"},
    "vpnuserlist": {"vpn_users": [{"user": "alice", "password": "canary-password", "add": True}]},
}


def encode(kind: str, body: Json) -> bytes:
    """Return the bytes of a drop as the management server writes them: compact, without a final newline."""
    full = {**body, "type": kind, "delete_from_processed_cache": False}
    return json.dumps(full, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def drop(kind: str, **changes: Any) -> Drop:
    """Return a parsed drop: the small valid one of its type, with some fields changed."""
    return parse_drop(f"{kind}.json", encode(kind, {**BODIES[kind], **changes}))


def ips(*records: Json) -> Drop:
    """Return a drop of addresses, each given by how it differs from 192.0.2.10 on eth2."""
    return drop("ips", ip_address=[{**ADDRESS, **record} for record in records])


def rules(kind: str, *changes: Json) -> Drop:
    """Return a drop of rules, each given by how it differs from the small valid one."""
    return drop(kind, rules=[{**BODIES[kind]["rules"][0], **change} for change in changes])


def merged(*drops: Drop) -> dict[str, Bag]:
    """Return the databags of a fresh router after these drops, one by one."""
    bags: dict[str, Bag] = {}
    for each in drops:
        bags = merge(bags, each)
    return bags


def filled(bags: dict[str, Bag]) -> dict[str, Bag]:
    """Return the databags that hold anything: an emptied one means the same as none."""
    return {name: bag for name, bag in bags.items() if set(bag) != {"id"}}
