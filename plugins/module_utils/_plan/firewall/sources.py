# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose a source address is: by which NICs a packet with it can come in, so that no other packet is believed.

Filters, ACLs and the router's own services know a packet by its source. A reverse path filter cannot guard them: it is
off where ways back differ from ways in (RFC 3704, section 2.2). So the source of each packet is looked up once, in a
map from networks to the chain of their NICs. What is in no known network is of the rest of the world: it comes in by
the NICs that lead there, and by a guest NIC only where a live route says so.

The router's own addresses come in by no NIC. Of IPv4 the kernel sees to that itself, of IPv6 it does not: the template
asks it which they are, as VRRP moves some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Union

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import vpn_filter
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    Chain,
    NamedSet,
    named_after,
    table,
)

BROAD = 8
"""A route to a network with a shorter prefix says where the world is, not what lies behind a next hop."""
Network = Union[IPv4Network, IPv6Network]  # noqa: UP007
_ANY4, _ANY6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who may send from a network: the NICs that are connected to it, or that a route to it leads out by.

    A tunnel counts as connected to what it leads to.
    """

    nics: frozenset[str]
    connected: bool


@dataclass(frozen=True, slots=True)
class _Open:
    """A network on the way through all of them in address order; `end` is the number after its last address."""

    end: int
    nics: frozenset[str]
    connected: frozenset[str]


def planned(router: Router, protected: tuple[str, ...] = ()) -> tuple[tuple[NamedSet, ...], tuple[Chain, ...]]:
    """Return the map from a source to its chain and the NICs that lead to the world; and the chains.

    `protected` are devices by which decrypted packets come in, where the kernel does not decrypt.
    """
    chains: dict[str, Chain] = {}
    maps = []
    for name, key, elements, claims, every in (
        ("source_networks", "ipv4_addr", _reserved(router), _claims(router, protected), _ANY4),
        ("source_networks6", "ipv6_addr", dict(_RESERVED6), _claims6(router), _ANY6),
    ):
        for first, end, nics in _pieces(claims, every):
            chain = _chain(nics)
            chains[chain.name] = chain
            elements[_range(first, end, every.max_prefixlen)] = f"goto {chain.name}"
        maps.append(table(name, key, "verdict", elements, interval=True))
    world = router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY, Role.CONTROL)
    world_nics = NamedSet("world_nics", "ifname", ("lo", *(device.name for device in world)))
    return (*maps, world_nics), tuple(chains[name] for name in sorted(chains))


_RESERVED6 = {
    "::/128": "goto source_unspecified6",
    "::1/128": "goto source_loopback",
    "::ffff:0:0/96": "drop",
    "fe80::/10": "accept",
    "ff00::/8": "drop",
}
"""What becomes of sources that are no host's, or of every link (RFC 4291): one of a link goes no further than that."""


def believes(router: Router, source: IPv4Address | IPv6Address, nic: str) -> bool:
    """Tell whether a packet with this source may come in by a NIC, as far as the data say; live routes may say more.

    Sources of one link, which are believed and go no further, are not asked about; nor are the router's own.
    """
    number = int(source)
    if isinstance(source, IPv4Address):
        reserved, pieces = _is_reserved(IPv4Network(source)), _pieces(_claims(router), _ANY4)
    else:
        reserved, pieces = any(source in IPv6Network(n) for n in _RESERVED6), _pieces(_claims6(router), _ANY6)
    if reserved:
        return False
    for first, end, nics in pieces:
        if first <= number < end:
            return nic in nics
    outer = [Role.PUBLIC, Role.PRIVATE_GATEWAY, Role.CONTROL]
    if not router.settings.kind.routes:
        outer.append(Role.GUEST)  # its way out, which the kernel is asked for (fib)
    return any(nic == device.name for device in router.by_role(*outer))


def _reserved(router: Router) -> dict[str, str]:
    """Return what becomes of sources that are no host's (RFC 6890); some are said before there is an address."""
    link = router.pair_link
    return {
        "0.0.0.0/8": "goto source_unspecified",
        "127.0.0.0/8": "goto source_loopback",
        "224.0.0.0/4": "drop",
        "240.0.0.0/4": "goto source_pair" if link is not None and link.relayed else "drop",
    }


def _range(first: int, end: int, bits: int) -> str:
    address = IPv4Address if bits == 32 else IPv6Address
    size = end - first
    if size & (size - 1) or first % size:
        return f"{address(first)}-{address(end - 1)}"
    return f"{address(first)}/{bits + 1 - size.bit_length()}" if size > 1 else str(address(first))


def _chain(nics: frozenset[str]) -> Chain:
    names = sorted(nics)
    name = f"source_{names[0]}" if len(names) == 1 and names[0].isalnum() else named_after("source", names)
    return Chain(name, (*(f"iifname {nic} accept" for nic in names), "iifname lo accept", "drop"))


def _claims6(router: Router) -> dict[Network, _Claim]:
    """Return who owns which IPv6 network: no route of a user leads to any, so it is the connected ones."""
    public = frozenset(device.name for device in router.with_ipv6(Role.PUBLIC))
    owners = {d.six.network: public if d.name in public else frozenset((d.name,)) for d in router.devices if d.six}
    return {network: _Claim(nics, connected=True) for network, nics in owners.items()}


def _claims(router: Router, protected: tuple[str, ...] = ()) -> dict[Network, _Claim]:
    """Return who owns which network: the connected ones, those that routes say lie behind a NIC, or VPNs do.

    Public networks are parts of the internet: a neighbour on one of them may be heard by another public NIC.
    """
    public = frozenset(device.name for device in router.by_role(Role.PUBLIC))
    routed = [(r.network, r.device, False) for r in router.routes if r.network.prefixlen >= BROAD]
    connected = [(network, device.name, True) for device in router.devices for network in device.networks]
    found: dict[Network, _Claim] = {}
    for network, nic, is_connected in (*connected, *routed):
        nics = public if nic in public else frozenset((nic,))
        known = found.get(network)
        if not _is_reserved(network):
            found[network] = _Claim(nics | known.nics, known.connected) if known else _Claim(nics, is_connected)
    for remote, ways in _beyond_tunnels(router, protected).items():
        if remote not in found or not found[remote].connected:
            found[remote] = _Claim(ways, connected=True)
    return found


def _beyond_tunnels(router: Router, protected: tuple[str, ...]) -> dict[Network, frozenset[str]]:
    """Return how packets come in from what tunnels lead to: no route to it, and no network around it, says more."""
    found: dict[Network, frozenset[str]] = {}
    for tunnel in router.vpn.tunnels:
        for network in tunnel.remote_networks:
            if network.prefixlen >= BROAD and not _is_reserved(network):
                found[network] = found.get(network, frozenset()) | vpn_filter.ways(tunnel, protected)
    return found


def _by_network(item: tuple[Network, _Claim]) -> tuple[int, int]:
    return int(item[0].network_address), item[0].prefixlen


def _is_reserved(network: IPv4Network) -> bool:
    first, last = network.network_address.packed[0], network.broadcast_address.packed[0]
    return first == 0 or last >= 224 or first <= 127 <= last


def _pieces(claims: dict[Network, _Claim], every: Network) -> Iterator[tuple[int, int, frozenset[str]]]:
    """Yield ranges that do not overlap, first address and the number after the last, with the NICs of each.

    The longest prefix decides, as in routing. But a NIC stays the way of its own network where a route to a part of it
    leads elsewhere: the hosts there are not gone.
    """
    around: list[_Open] = []
    position = 0
    last = (every, _Claim(frozenset(), False)), every.num_addresses
    ordered = [(item, int(item[0].network_address)) for item in sorted(claims.items(), key=_by_network)]
    for (network, claim), start in (*ordered, last):
        while around and around[-1].end <= start:
            inner = around.pop()
            if position < inner.end:
                yield position, inner.end, inner.nics
                position = inner.end
        if around and position < start:
            yield position, start, around[-1].nics
        outer = around[-1].connected if around else frozenset()
        nics, connected = (claim.nics, claim.nics) if claim.connected else (claim.nics | outer, outer)
        around.append(_Open(start + network.num_addresses, nics, connected))
        position = start
