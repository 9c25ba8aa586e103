# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""VM leases and names of the `dhcpentry` databag, and the gateways of their subnets (`dhcpconfig`).

A basic zone sends the entries of all its pods (A3): one that is in no subnet of this router costs one look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    DhcpHost,
    HostName6,
    Role,
)

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Leases:
    """What the entries of the VMs say: leases in the order of their addresses, IPv6 names, gateways by subnet."""

    hosts: tuple[DhcpHost, ...]
    names6: tuple[HostName6, ...]
    gateways: dict[IPv4Network, IPv4Address]


class _Subnets:
    """Find the guest subnet of an address in a time that does not grow with the number of subnets."""

    def __init__(self, guests: Iterable[Device]) -> None:
        self._found = {
            (int(network.netmask), int(network.network_address)): (network, device.name)
            for device in guests
            for network in device.networks
        }
        self._masks = sorted({mask for mask, _address in self._found}, reverse=True)

    def find(self, ip: IPv4Address) -> tuple[IPv4Network, str] | None:
        """Return the subnet of an address and the device that has it, None when it is in none."""
        number = int(ip)
        keys = ((mask, number & mask) for mask in self._masks)
        return next((self._found[key] for key in keys if key in self._found), None)


def leases(bags: Mapping[str, Any], found: tuple[Device, ...]) -> Leases:
    """Return what DHCP and DNS need to know of the VMs; one outside every guest subnet cannot be served."""
    guests = [device for device in found if device.role is Role.GUEST]
    subnets = _Subnets(guests)
    networks6 = _networks6(bags, guests)
    hosts: list[DhcpHost] = []
    names6: list[HostName6] = []
    named: dict[IPv4Network, set[IPv4Address]] = {}
    for entry in _entries(bags):
        ip = values.address(entry.get("ipv4_address"))
        place = None if ip is None else subnets.find(ip)
        if ip is not None and place is not None:
            network, device = place
            hosts.append(_host(entry, ip, device))
            gateway = values.address(entry.get("default_gateway"))
            if gateway is not None and gateway in network:
                named.setdefault(network, set()).add(gateway)
        if entry.get("ipv6_address"):
            names6 += _name6(entry, place[1] if place else None, ip is None, networks6)
    gateways = {network: min(known) for network, known in named.items()} | _configured_gateways(bags)
    return Leases(tuple(sorted(hosts, key=lambda h: h.ip)), tuple(sorted(names6, key=lambda n: n.ip)), gateways)


def _entries(bags: Mapping[str, Any]) -> Iterator[Entry]:
    return (entry for key, entry in bags.get("dhcpentry", {}).items() if key != "id" and not entry.get("remove"))


def _host(entry: Entry, ip: IPv4Address, device: str) -> DhcpHost:
    return DhcpHost(
        mac=str(entry["mac_address"]).lower(),
        ip=ip,
        name=values.text(entry.get("host_name")) or "",
        device=device,
        lease_time=int(entry.get("lease_time") or 0),
        default_nic=bool(entry.get("default_entry", True)),
    )


def _configured_gateways(bags: Mapping[str, Any]) -> dict[IPv4Network, IPv4Address]:
    """Return the gateways of a shared network's ranges (F6)."""
    found = {}
    for entry in bags.get("dhcpconfig", {}).get("entries", ()):
        own = values.interface(entry.get("router_ip_address"), entry.get("netmask"))
        gateway = values.address(entry.get("gateway"))
        if own is not None and gateway is not None:
            found[own.network] = gateway
    return found


def _networks6(bags: Mapping[str, Any], guests: list[Device]) -> dict[IPv6Network, str]:
    """Return the devices by IPv6 prefix; the only guest device has every prefix."""
    if len(guests) == 1:
        return {IPv6Network("::/0"): guests[0].name}
    known = {device.network_id: device.name for device in guests if device.network_id}
    tiers = (tier for key, found in bags.get("guestnetwork", {}).items() if key != "id" for tier in found)
    return {
        IPv6Network(tier["router_guest_ip6_cidr"], strict=False): known[int(tier["network_id"])]
        for tier in tiers
        if values.text(tier.get("router_guest_ip6_cidr")) and int(tier.get("network_id") or 0) in known
    }


def _name6(entry: Entry, device: str | None, alone: bool, networks: Mapping[IPv6Network, str]) -> list[HostName6]:
    """Return the name for the IPv6 address of an entry; an entry without IPv4 is placed by its prefix."""
    name, ip = values.text(entry.get("host_name")), IPv6Address(entry["ipv6_address"])
    if alone:
        device = next((owner for network, owner in networks.items() if ip in network), None)
    return [HostName6(ip, name, device)] if name and device else []
