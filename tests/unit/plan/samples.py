# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routers and packets that several test files share."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Address,
    Device,
    DhcpHost,
    Kind,
    Match,
    Nic,
    Ports,
    Role,
    Router,
    Rule,
    RuleList,
    Settings,
)

FIRST, SECOND = IPv4Address("192.0.2.10"), IPv4Address("198.51.100.20")
VM1, VM2 = IPv4Address("10.1.1.11"), IPv4Address("10.1.1.12")
CLIENT = IPv4Address("203.0.113.7")


def device(name: str, role: Role, *addresses: str, gateway: str | None = None, **fields: Any) -> Device:
    """Return a device; an address is `ip/length`, the first is the one for source NAT on a public device."""
    hop = None if gateway is None else IPv4Address(gateway)
    found = tuple(
        Address(IPv4Interface(a), role is Role.PUBLIC and not number, hop) for number, a in enumerate(addresses)
    )
    return Device(name, role, found, **fields)


GUEST = device("eth0", Role.GUEST, "10.1.1.1/24")
CONTROL = device("eth1", Role.CONTROL, "169.254.3.101/16")
PUBLIC = device("eth2", Role.PUBLIC, "192.0.2.10/24", "192.0.2.11/24", gateway="192.0.2.1")
EXTRA = device("eth3", Role.PUBLIC, "198.51.100.20/24", gateway="198.51.100.1")


def isolated(*devices: Device, **fields: Any) -> Router:
    """Return the router of an isolated network with two public subnets, unless devices are given."""
    present = devices or (GUEST, CONTROL, PUBLIC, EXTRA)
    chosen = Settings("r-1-VM", Kind.ISOLATED, gateway=IPv4Address("192.0.2.1"), resolvers=("203.0.113.53",))
    nics = tuple(Nic(d.name, f"02:00:00:00:00:{d.number:02x}") for d in present)
    return Router(**{"settings": chosen, "devices": present, "nics": nics, **fields})


def vpc(**fields: Any) -> Router:
    """Return a VPC with two tiers and a private gateway."""
    devices = (
        device("eth0", Role.CONTROL, "169.254.4.201/16"),
        device("eth1", Role.PUBLIC, "192.0.2.50/24", gateway="192.0.2.1"),
        device("eth2", Role.GUEST, "10.2.1.1/24", network_id=41),
        device("eth3", Role.GUEST, "10.2.2.1/24", network_id=42),
        device("eth4", Role.PRIVATE_GATEWAY, "172.20.0.2/24", gateway="172.20.0.1"),
    )
    chosen = Settings("r-2-VM", Kind.VPC, vpc_cidr=IPv4Network("10.2.0.0/16"), per_ip_firewall=False)
    nics = tuple(Nic(d.name, f"02:00:00:00:01:{d.number:02x}") for d in devices)
    return Router(**{"settings": chosen, "devices": devices, "nics": nics, **fields})


def with_settings(router: Router, **fields: Any) -> Router:
    """Return the router with other settings."""
    return replace(router, settings=replace(router.settings, **fields))


def rule(allow: bool = True, label: str = "rule", **match: Any) -> Rule:
    """Return a rule; `ports` may be a number or a pair."""
    ports = match.pop("ports", None)
    if ports is not None:
        match["ports"] = Ports(ports, ports) if isinstance(ports, int) else Ports(*ports)
    return Rule(Match(**match), allow, label)


def rules(*items: Rule, default_allow: bool = False) -> RuleList:
    """Return a rule list."""
    return RuleList(items, default_allow)


def host(ip: str, name: str = "vm", mac: str | None = None, **fields: Any) -> DhcpHost:
    """Return a VM on eth0 unless a device is given."""
    address = IPv4Address(ip)
    own = mac or f"02:01:00:00:00:{address.packed[3]:02x}"
    return DhcpHost(**{"mac": own, "ip": address, "name": name, "device": "eth0", **fields})
