# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make drops of any size, in the format of the management server."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from typing import Any

CMDLINE = (
    " template=domP name=r-9-VM eth2ip=192.0.2.10 eth2mask=255.255.255.0 gateway=192.0.2.1 publicMtu=1500"
    " eth0ip=10.1.0.1 eth0mask=255.255.0.0 privateMtu=1500 domain=bench.internal cidrsize=16 dhcprange=10.1.0.1"
    " eth1ip=169.254.9.9 eth1mask=255.255.0.0 type=router disable_rp_filter=true dns1=203.0.113.53"
    " logrotatefrequency=*:00:00"
)
PUBLIC_MAC = "1e:00:09:00:00:10"


def name(prefix: str) -> str:
    """Return a file name as the management server makes them."""
    return f"{prefix}.{uuid.uuid4()}"


def public_addresses(count: int = 1) -> dict[str, Any]:
    """Return the drop that gives the router its public addresses from 192.0.2.10 on."""
    records = [
        {
            "public_ip": f"192.0.2.{10 + number}",
            "source_nat": number == 0,
            "add": True,
            "one_to_one_nat": False,
            "first_i_p": number == 0,
            "gateway": "192.0.2.1",
            "netmask": "255.255.255.0",
            "vif_mac_address": PUBLIC_MAC,
            "nic_dev_id": 2,
            "new_nic": False,
            "nw_type": "Public",
            "is_private_gateway": False,
            "mtu": 1500,
        }
        for number in range(count)
    ]
    return {"ip_address": records, "type": "ips", "delete_from_processed_cache": False}


def vm_address(number: int) -> str:
    """Return the address of a VM in 10.1.0.0/16."""
    return f"10.1.{1 + number // 250}.{2 + number % 250}"


def dhcp_entry(number: int) -> dict[str, Any]:
    """Return the drop of one VM's lease."""
    mac = f"02:09:00:00:{number // 256:02x}:{number % 256:02x}"
    return {
        "host_name": f"vm-{number:05d}",
        "mac_address": mac,
        "ipv4_address": vm_address(number),
        "ipv6_duid": f"00:03:00:01:{mac}",
        "dns_addresses": "10.1.0.1",
        "default_gateway": "10.1.0.1",
        "default_entry": True,
        "lease_time": 0,
        "remove": False,
        "type": "dhcpentry",
        "delete_from_processed_cache": False,
    }


def metadata(number: int) -> dict[str, Any]:
    """Return the drop of one VM's metadata."""
    triples = [
        ["userdata", "user-data", "I2Nsb3VkLWNvbmZpZwo="],
        ["metadata", "service-offering", "Small Instance"],
        ["metadata", "availability-zone", "zone-1"],
        ["metadata", "local-ipv4", vm_address(number)],
        ["metadata", "local-hostname", f"vm-{number:05d}"],
        ["metadata", "vm-id", str(uuid.UUID(int=number))],
        ["metadata", "public-keys", None],
    ]
    return {
        "vm_ip_address": vm_address(number),
        "vm_metadata": triples,
        "type": "vmdata",
        "delete_from_processed_cache": False,
    }


def forwards(count: int, first_port: int = 10000) -> dict[str, Any]:
    """Return the drop of port forwards with shifted ports."""
    rules = [
        {
            "revoke": False,
            "protocol": "tcp",
            "source_ip_address": "192.0.2.10",
            "source_port_range": f"{first_port + number}:{first_port + number}",
            "destination_ip_address": vm_address(number % 500),
            "destination_port_range": "80:80",
            "source_cidr_list": "",
        }
        for number in range(count)
    ]
    return {"rules": rules, "type": "forwardrules", "delete_from_processed_cache": False}


def firewall(count: int, seed: int = 1, first_id: int = 1000) -> dict[str, Any]:
    """Return the drop of random ingress rules: no two alike, sources of all lengths."""
    dice = random.Random(seed)
    rules = []
    for number in range(count):
        first = dice.randrange(1, 65000)
        source = f"{dice.randrange(1, 223)}.{dice.randrange(256)}.{dice.randrange(256)}.0/24"
        rules.append(
            {
                "id": first_id + number,
                "src_ip": "192.0.2.10",
                "protocol": dice.choice(("tcp", "udp")),
                "src_port_range": [first, first + dice.randrange(10)],
                "revoked": False,
                "already_added": False,
                "source_cidr_list": [source],
                "dest_cidr_list": [],
                "purpose": "Firewall",
                "traffic_type": "Ingress",
                "default_egress_policy": False,
            }
        )
    return {"rules": rules, "type": "firewallrules", "delete_from_processed_cache": False}


def static_nat(number: int) -> dict[str, Any]:
    """Return the drop of one static NAT."""
    rule = {
        "revoke": False,
        "source_ip_address": f"192.0.2.{10 + number}",
        "source_port_range": "0:0",
        "destination_ip_address": vm_address(number),
    }
    return {"rules": [rule], "type": "staticnatrules", "delete_from_processed_cache": False}


def aggregate(drops: Sequence[tuple[str, dict[str, Any]]]) -> tuple[str, bytes]:
    """Return name and content of an aggregate file of (prefix, drop) pairs."""
    lines = ["#Apache CloudStack Virtual Router Config File", "<version>", "1.0", "</version>"]
    for prefix, body in drops:
        file = name(prefix)
        lines += ["<file>", f"/var/cache/cloud/{file}", json.dumps(body, separators=(",", ":")), "</file>"]
        lines += ["<script>", f"/opt/cloud/bin/update_config.py {file}", "</script>"]
    return f"VR-{uuid.uuid4()}.cfg", ("\n".join(lines) + "\n").encode()
