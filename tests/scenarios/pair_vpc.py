# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VPC with a pair of routers, a private gateway, and up to three tiers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.scenarios import pair
from tests.scenarios.networks import INTERNET, PublicSubnet, gateway
from tests.scenarios.pair import FIRST, Pair

PUBLIC = PublicSubnet("eth1", "1e:00:2d:00:00:32", "192.0.2.1/24")
SOURCE_NAT = "192.0.2.50"
PRIVATE = PublicSubnet("eth5", "02:00:55:00:00:05", "172.20.0.1/24")
PASSWORD = str(int(hashlib.sha512(b"a VPC").hexdigest(), 16))
"""What the management server makes of the VPC's name: a decimal number."""
OWN = {"r1": 84, "r2": 85, "r3": 86}
TIERS = {1: "eth2", 2: "eth3", 3: "eth4"}
"""Number of a tier to the NIC it is plugged as; tier 3 comes last and has the lowest network id."""
IDS = {1: 2041, 2: 2042, 3: 2030}


def cmdline(name: str) -> str:
    """Return the boot arguments of one of the two."""
    number = name[-1]
    return (
        f"vpccidr=10.2.0.0/16 domain=lab.internal publicMtu=1500 dns1=203.0.113.10 template=domP name=r-20{number}-VM"
        f" eth0ip=169.254.4.20{number} eth0mask=255.255.0.0 redundant_router=1 advert_int=1 router_id=7"
        f" router_password={PASSWORD} redundant_state={'PRIMARY' if number == '1' else 'BACKUP'}"
        " has_public_network=true type=vpcrouter"
        f" vpc_firewall_enabled=false disable_rp_filter=true logrotatefrequency=*:00:00 source_nat_ip={SOURCE_NAT}"
    )


def mac(name: str, tier: int) -> str:
    """Return the MAC of a router's NIC in a tier."""
    return f"02:00:55:0{name[-1]}:00:0{tier}"


def address(subnet: PublicSubnet, ip: str) -> dict[str, Any]:
    """Return the drop of a public address, or of a private gateway's."""
    record = {
        "public_ip": ip,
        "source_nat": subnet is PUBLIC,
        "add": True,
        "one_to_one_nat": False,
        "first_i_p": True,
        "gateway": subnet.gateway.split("/")[0],
        "netmask": "255.255.255.0",
        "vif_mac_address": subnet.mac,
        "nic_dev_id": int(subnet.nic[-1]),
        "new_nic": False,
        "nw_type": "Public",
        "is_private_gateway": subnet is PRIVATE,
        "mtu": 1500,
    }
    return {"ip_address": [record], "type": "ips"}


def tier_drop(name: str, tier: int, *, add: bool) -> dict[str, Any]:
    """Return the drop of a tier for one of the routers."""
    return {
        "add": add,
        "mac_address": mac(name, tier),
        "device": TIERS[tier],
        "router_guest_ip": f"10.2.{tier}.{OWN[name]}",
        "router_guest_netmask": "255.255.255.0",
        "router_guest_gateway": f"10.2.{tier}.1",
        "cidr": "24",
        "dns": "203.0.113.10",
        "domain_name": "lab.internal",
        "is_vr_guest_gateway": True,
        "network_id": IDS[tier],
        "mtu": 1500,
        "type": "guestnetwork",
    }


def acl_drop(name: str, tier: int) -> dict[str, Any]:
    """Return an ACL that lets everything through."""
    everything = [{"type": "all", "cidr": "0.0.0.0/0", "allowed": True}]
    return {
        "device": TIERS[tier],
        "mac_address": mac(name, tier),
        "private_gateway_acl": False,
        "nic_ip": f"10.2.{tier}.{OWN[name]}",
        "nic_netmask": "24",
        "ingress_rules": everything,
        "egress_rules": everything,
        "type": "networkacl",
    }


def dhcp_entry(name: str, ip: str, mac_: str) -> dict[str, Any]:
    """Return the drop of a VM's lease in a tier."""
    return pair.dhcp_entry(name, ip, mac_) | {"default_gateway": f"{ip.rpartition('.')[0]}.1"}


def addresses() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the drops of the public address and of the private gateway, which are the same on both routers."""
    yield "ip_associations.json.public", address(PUBLIC, SOURCE_NAT)
    yield "ip_associations.json.private", address(PRIVATE, "172.20.0.2")


def tier_drops(name: str, tier: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the drops that bring a tier to one of the routers."""
    yield f"guest_network.json.add{tier}", tier_drop(name, tier, add=True)
    yield f"network_acl.json.{tier}", acl_drop(name, tier)


def drops(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the drops of the VPC with its first two tiers for one of the routers."""
    yield from addresses()
    for tier in (1, 2):
        yield from tier_drops(name, tier)


def make(lab: Lab, files: Mapping[str, bytes] | None = None) -> Pair:
    """Make the VPC; both routers boot at the same time, with these files in them, and no tier is plugged in."""
    for segment in ("control", "internet", PUBLIC.nic, PRIVATE.nic, *(f"tier{tier}" for tier in TIERS)):
        lab.segment(segment)
    gateway(lab, 1, PUBLIC)
    internet = lab.host("internet", "internet", f"{INTERNET}/24")
    internet.add_route(PUBLIC.network, "203.0.113.241")
    lab.host("site", PRIVATE.nic, PRIVATE.gateway)
    vms = {f"vm{t}": lab.host(f"vm{t}", f"tier{t}", f"10.2.{t}.11/24", gateway=f"10.2.{t}.1") for t in TIERS}
    routers = {name: router(lab, name, files) for name in FIRST}
    return Pair(lab, 1.0, routers, vms, internet)


def router(lab: Lab, name: str, files: Mapping[str, bytes] | None = None) -> Router:
    """Make one of the routers, which boots without any tier."""
    outer = {subnet.nic: (subnet.nic, subnet.mac) for subnet in (PUBLIC, PRIVATE)}
    return lab.router(name, cmdline(name), {"eth0": ("control", lab.mac(f"{name}.control")), **outer}, files)
