# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the IPv6 side of each NIC: an isolated network's in the boot arguments, a VPC's in the drops of its tiers.

The presence of addresses decides, never `ip6firewall`. The public address of a VPC comes in every tier's drop, and
stays while one tier that has IPv6 is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Interface
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator, tiers
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.ipv6 import Ipv6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Nic,
    Role,
    Settings,
)

Record = Mapping[str, Any]
_SLAAC = 64
"""The length of a prefix of which nothing is said (RFC 4862)."""


def with_ipv6(
    bags: Mapping[str, Any], nics: Sequence[Nic], found: tuple[Device, ...], chosen: Settings
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Return the devices with their IPv6 sides, and a line for each gateway that cannot be reached."""
    if chosen.kind is Kind.VPC:
        sides = _of_vpc(tiers(bags, Locator(nics)), found, chosen)
    else:
        sides = _of_boot_arguments(bags.get("cmdline", {}).get("config", {}), found, chosen)
    warnings = []
    for name, side in sides.items():
        hop = side.next_hop
        if hop is not None and hop not in side.network and not hop.is_link_local:
            warnings.append(f"{name}: IPv6 gateway {hop} is not in {side.network}: there is no default route")
            sides[name] = replace(side, next_hop=None)
    placed = (replace(device, six=sides[device.name]) if device.name in sides else device for device in found)
    return tuple(placed), tuple(warnings)


def _of_boot_arguments(config: Record, found: tuple[Device, ...], chosen: Settings) -> dict[str, Ipv6]:
    sides = {}
    guest = _carrying(config, "eth0", Role.GUEST, found)
    side = _guest_side(config, chosen)
    if guest is not None and side is not None:
        sides[guest.name] = side
    public = _carrying(config, "eth2", Role.PUBLIC, found)
    own = values.interface6(config.get("eth2ip6"), config.get("eth2ip6prelen") or _SLAAC)
    if public is not None and own is not None:
        sides[public.name] = Ipv6(own.network, own, next_hop=values.address6(config.get("ip6gateway")))
    return sides


def _carrying(config: Record, name: str, role: Role, found: tuple[Device, ...]) -> Device | None:
    """Return the NIC with the IPv4 address that the arguments give to one of this name, else the NIC of the name."""
    ip = values.address(config.get(f"{name}ip"))
    able = [device for device in found if device.role is role]
    holders = [device for device in able if any(address.ip == ip for address in device.addresses)]
    return next(iter(holders or [device for device in able if device.name == name]), None)


def _guest_side(config: Record, chosen: Settings) -> Ipv6 | None:
    own = values.interface6(config.get("eth0ip6"), config.get("eth0ip6prelen") or _SLAAC)
    shared = None
    if chosen.redundant:
        shared = values.interface6(config.get("guestgw6"), config.get("guestcidr6size") or _SLAAC)
    if own is not None and shared is not None and own.ip == shared.ip:
        own = None
    given = shared or own
    if given is None:
        return None
    # Who does not route is a host in the network, with somebody else's router.
    hop = None if chosen.kind.routes else values.address6(config.get("ip6gateway"))
    return Ipv6(given.network, own, shared, chosen.kind.routes, chosen.resolvers6, hop)


def _of_vpc(entries: Mapping[str, Record], found: tuple[Device, ...], chosen: Settings) -> dict[str, Ipv6]:
    sides: dict[str, Ipv6] = {}
    outside: Ipv6 | None = None
    for device in found:
        entry = entries.get(device.name)
        if entry is None or device.role is not Role.GUEST:
            continue
        side = _tier_side(entry, device, chosen)
        if side is not None:
            sides[device.name] = side
            outside = outside or _public_side(entry)
    public = [device for device in found if device.role is Role.PUBLIC]
    named = [device for device in public if any(a.ip == chosen.source_nat_ip for a in device.addresses)]
    holder = next(iter([*named, *public]), None)
    if holder is not None and outside is not None:
        sides[holder.name] = outside
    return sides


def _tier_side(entry: Record, device: Device, chosen: Settings) -> Ipv6 | None:
    """Return the IPv6 side of a tier: it is the gateway unless it is said to be another one."""
    network = values.network6(entry.get("router_guest_ip6_cidr"))
    length = entry.get("cidr6") or _SLAAC if network is None else network.prefixlen
    own = values.interface6(entry.get("router_guest_ip6"), length)
    gateway = values.interface6(entry.get("router_guest_ip6_gateway"), length)
    given: IPv6Interface | None = own or gateway
    if given is None:
        return None
    elsewhere = gateway is not None and gateway != own
    shared = gateway if elsewhere and chosen.redundant and device.is_gateway else None
    is_gateway = device.is_gateway and (chosen.redundant or not elsewhere)
    return Ipv6(given.network, own, shared, is_gateway, _resolvers(entry))


def _resolvers(entry: Record) -> tuple[str, ...]:
    known = (values.address6(word) for word in values.words(entry.get("dns6")))
    return tuple(dict.fromkeys(str(ip) for ip in known if ip))


def _public_side(entry: Record) -> Ipv6 | None:
    """Return the public side that a tier's drop tells of, with its own length, not the tier's."""
    network = values.network6(entry.get("router_ip6_cidr"))
    own = values.interface6(entry.get("router_ip6"), _SLAAC if network is None else network.prefixlen)
    if own is None:
        return None
    return Ipv6(own.network, own, next_hop=values.address6(entry.get("router_ip6_gateway")))
