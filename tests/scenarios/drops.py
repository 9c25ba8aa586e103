# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write single drops in the management server's format, for tests that change a router step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Drop = dict[str, Any]
ANYWHERE = ("0.0.0.0/0",)


def named(kind: str, number: int) -> str:
    """Return a name as the management server gives to a drop; the number makes it unique."""
    return f"{kind}.json.00000000-0000-4000-8000-{number:012d}"


def _drop(kind: str, **fields: Any) -> Drop:
    return {**fields, "type": kind, "delete_from_processed_cache": False}


def ingress(
    number: int,
    public_ip: str,
    protocol: str = "tcp",
    ports: tuple[int, int] | None = None,
    cidrs: Sequence[str] = ANYWHERE,
    *,
    revoked: bool = False,
) -> Drop:
    """Return a drop with one rule of a public address's firewall; of ICMP all types."""
    rule: Drop = {
        "id": number,
        "src_ip": public_ip,
        "protocol": protocol,
        "revoked": revoked,
        "already_added": False,
        "source_cidr_list": list(cidrs),
        "dest_cidr_list": [],
        "purpose": "Firewall",
        "traffic_type": "Ingress",
        "default_egress_policy": False,
    }
    if ports:
        rule["src_port_range"] = list(ports)
    if protocol == "icmp":
        rule |= {"icmp_type": -1, "icmp_code": -1}
    return _drop("firewallrules", rules=[rule])


def egress(
    number: int,
    protocol: str,
    ports: tuple[int, int] | None = None,
    sources: Sequence[str] = (),
    *,
    default: bool = True,
    revoked: bool = False,
) -> Drop:
    """Return a drop with one egress rule; with the default policy to allow, it blocks."""
    drop = ingress(number, "", protocol, ports, sources, revoked=revoked)
    drop["rules"][0] |= {"traffic_type": "Egress", "default_egress_policy": default}
    return drop


def forward(
    public_ip: str,
    ports: tuple[int, int],
    vm: str,
    vm_ports: tuple[int, int] | None = None,
    protocol: str = "tcp",
    *,
    revoke: bool = False,
) -> Drop:
    """Return a drop with one port forward."""
    to = vm_ports or ports
    rule = {
        "revoke": revoke,
        "protocol": protocol,
        "source_ip_address": public_ip,
        "source_port_range": f"{ports[0]}:{ports[1]}",
        "destination_ip_address": vm,
        "destination_port_range": f"{to[0]}:{to[1]}",
        "source_cidr_list": "",
    }
    return _drop("forwardrules", rules=[rule])


def static_nat(public_ip: str, vm: str, *, revoke: bool = False) -> Drop:
    """Return a drop with one static NAT."""
    rule = {
        "revoke": revoke,
        "source_ip_address": public_ip,
        "source_port_range": "0:0",
        "destination_ip_address": vm,
    }
    return _drop("staticnatrules", rules=[rule])


def address(public_ip: str, gateway: str, mac: str, device: int, *, add: bool = True, first: bool = False) -> Drop:
    """Return a drop with one public address of a /24."""
    given = {
        "public_ip": public_ip,
        "source_nat": first,
        "add": add,
        "one_to_one_nat": False,
        "first_i_p": first,
        "gateway": gateway,
        "netmask": "255.255.255.0",
        "vif_mac_address": mac,
        "nic_dev_id": device,
        "new_nic": first,
        "nw_type": "Public",
        "is_private_gateway": False,
        "mtu": 1500,
    }
    return _drop("ips", ip_address=[given])


def vm(name: str, mac: str, ip: str, *, default: bool = True, lease_time: int = 0, remove: bool = False) -> Drop:
    """Return a drop with the DHCP entry of a VM of the fixtures' network; seconds of lease, 0 is for ever."""
    return _drop(
        "dhcpentry",
        host_name=name,
        mac_address=mac,
        ipv4_address=ip,
        ipv6_duid=f"00:03:00:01:{mac}",
        dns_addresses="10.7.0.1",
        default_gateway="10.7.0.1",
        default_entry=default,
        lease_time=lease_time,
        remove=remove,
    )


def alias(ip: str, number: int, *, revoke: bool = False) -> Drop:
    """Return a drop with one further guest subnet's address."""
    given = {"revoke": revoke, "ip_address": ip, "netmask": "255.255.255.0", "count": number}
    return _drop("ipaliases", aliases=[given])
