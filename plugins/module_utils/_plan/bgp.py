# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""BGP by FRR: its configuration, and whether it runs.

Each family has sessions of its own. A peer is told exactly the guest networks of its records; it is believed whatever
is no part of what the router knows itself (L3). What FRR learns is in the main table with a protocol of its own, and no
converge takes it away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.bgp import Session
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import NamedSet
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    Unit,
    Wanted,
)

HEADER = "Owned by cloudstack.virtual_router (routing): do not edit."
CONFIG, DAEMONS = "/etc/frr/frr.conf", "/etc/frr/daemons"
UNIT = "frr"
_CHECK = ("vtysh", "--dryrun", "--inputfile", "{}")
RELOAD = ("/usr/lib/frr/frr-reload.py", "--reload", "--log-level", "warning", CONFIG)
"""Applies the difference to what runs, so that sessions which do not change stay up."""
MAY_OPEN = "ip saddr . ip daddr @bgp_peers tcp dport 179 accept"
"""The rule of the packet filter for those who are in the set of peers (opened)."""
_NOBODYS4 = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
_NOBODYS6 = ("::/8", "fe80::/10", "ff00::/8")


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A session as FRR has it: `own` is the address it is spoken from, `out` the name of the list of what is told."""

    session: Session
    own: str
    internal: bool

    @property
    def out(self) -> str:
        """Return the name of the prefix list of what this peer is told."""
        return f"TO-{self.session.peer}"


@dataclass(frozen=True, slots=True)
class Family:
    """One address family of FRR's configuration."""

    name: str
    ip: str
    bits: int
    neighbors: tuple[Neighbor, ...]
    refused: tuple[str, ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """Return all that is told to anybody, each once, in order."""
        return tuple(dict.fromkeys(str(n) for neighbor in self.neighbors for n in neighbor.session.networks))


def neighbors(router: Router) -> tuple[Neighbor, ...]:
    """Return the sessions for which the router has an address of the family."""
    speaks = router.bgp
    if speaks is None:
        return ()
    own = ((session, _own(router, session)) for session in speaks.sessions)
    return tuple(Neighbor(s, address, s.remote_as == speaks.own_as) for s, address in own if address)


def _own(router: Router, session: Session) -> str | None:
    """Return the router's public address on the NIC that reaches a peer."""
    if isinstance(session.peer, IPv4Address):
        public = router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)
        near = [device for device in public if any(session.peer in network for network in device.networks)]
        device = next(iter(near), router.primary_public)
        return str(device.addresses[0].ip) if device and device.addresses else None
    sides = [device.six for device in router.with_ipv6(Role.PUBLIC) if device.six]
    return next((str(side.own.ip) for side in sides if side.own), None)


def router_id(router: Router) -> str | None:
    """Return the id: that of the source NAT address, else the first public one, else the lowest guest network's."""
    device = router.primary_public
    if device is not None and device.addresses:
        known = [a.ip for a in device.addresses if a.ip == router.settings.source_nat_ip]
        return str(next(iter(known), device.addresses[0].ip))
    tiers = sorted(router.by_role(Role.GUEST), key=lambda tier: tier.network_id)
    return next((str(router.guest_address(tier)) for tier in tiers if tier.addresses), None)


def _families(router: Router, spoken: tuple[Neighbor, ...]) -> tuple[Family, ...]:
    by_version = {v: tuple(n for n in spoken if n.session.peer.version == v) for v in (4, 6)}
    known4 = [network for device in router.devices for network in device.networks]
    known4 += [route.network for route in router.routes]
    known4 += [network for tunnel in router.vpn.tunnels for network in tunnel.remote_networks]
    known4 += [*router.settings.management_networks, *([router.settings.vpc_cidr] if router.settings.vpc_cidr else [])]
    known6 = [device.six.network for device in router.devices if device.six]
    return (
        Family("ipv4 unicast", "ip", 32, by_version[4], _refused4(known4)),
        Family("ipv6 unicast", "ipv6", 128, by_version[6], _refused6(known6)),
    )


def _refused4(known: Iterable[IPv4Network]) -> tuple[str, ...]:
    """Return what no peer may lead elsewhere, without its parts; the default route is no part of anything."""
    mine = (network for network in known if network.prefixlen)
    return tuple(map(str, collapse_addresses([*mine, *map(IPv4Network, _NOBODYS4)])))


def _refused6(known: Iterable[IPv6Network]) -> tuple[str, ...]:
    return tuple(map(str, collapse_addresses([*known, *map(IPv6Network, _NOBODYS6)])))


def wanted(router: Router, render: Callable[..., str]) -> Wanted:
    """Return FRR's files, and that it runs on the primary; without a session it is off and knows no neighbour."""
    spoken = neighbors(router)
    speaks = router.bgp if spoken else None
    text = render(
        "frr/frr.conf.j2",
        header=HEADER,
        settings=router.settings,
        own_as=speaks.own_as if speaks else None,
        router_id=router_id(router),
        families=[family for family in _families(router, spoken) if family.neighbors],
        neighbors=spoken,
    )
    passwords = tuple(n.session.password for n in spoken if n.session.password)
    daemons = render("frr/daemons.j2", header=HEADER, bgpd="yes" if speaks else "no")
    return Wanted(
        files=(
            File(DAEMONS, daemons, mode=0o640, owner="frr"),
            File(
                CONFIG,
                text,
                mode=0o640,
                owner="frr",
                secret=True,
                effect=Effect.RELOAD,
                checker=_CHECK,
                hidden=passwords,
            ),
        ),
        units=(Unit(UNIT, running=bool(spoken) and router.active, reload=RELOAD),),
    )


def opened(router: Router) -> tuple[NamedSet, NamedSet]:
    """Return the sets of who may open a session to which of the router's addresses, of IPv4 and IPv6."""
    spoken = neighbors(router)
    pairs = {v: tuple(f"{n.session.peer} . {n.own}" for n in spoken if n.session.peer.version == v) for v in (4, 6)}
    return (
        NamedSet("bgp_peers", "ipv4_addr . ipv4_addr", pairs[4]),
        NamedSet("bgp_peers6", "ipv6_addr . ipv6_addr", pairs[6]),
    )
