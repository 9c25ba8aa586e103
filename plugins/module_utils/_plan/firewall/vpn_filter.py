# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the packet filter has for site-to-site VPN: who may send IKE and ESP, and what becomes of the packets inside.

Decrypted packets come in once more by the NIC they came by (xfrm), and `meta ipsec exists` is what tells them from
others. Where ESP is done by a program they come by a device of its own: `protected` names such devices, and no router
has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Tunnel
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    NamedSet,
    SetPool,
    merge_networks,
)

PEER = "ifname . ipv4_addr . ipv4_addr"
TO_PEERS, FROM_PEERS = "0x525", "0x524"
"""Marks of packets into and out of tunnels; no rule of policy routing looks at them."""
COUNTERS = ("vpn_to_peers", "vpn_from_peers")
OVERHEAD = 20 + 8 + 8 + 16 + 32
"""Bytes around an inner packet, padding apart: IP, UDP, ESP's header, the IV of AES and the longest ICV (RFC 4303)."""


@dataclass(frozen=True, slots=True)
class TunnelRules:
    """Rules by the place where the template prints them."""

    leaving: tuple[str, ...] = ()
    arriving: tuple[str, ...] = ()
    untranslated: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def peers(router: Router) -> NamedSet:
    """Return who may send IKE and ESP: NIC, address of the peer, address of ours. Names are resolved by the keeper."""
    known = (f"{t.device} . {t.address} . {t.local_address}" for t in router.vpn.tunnels if t.address is not None)
    return NamedSet("vpn_peers", PEER, tuple(known))


def rules(router: Router, pool: SetPool) -> TunnelRules:
    """Return the rules for what is between local and remote networks; none without a tunnel.

    They depend on addresses only, so no order of drops can let another translation come first.
    """
    pairs = [_Pair(local, remote, pool) for local, remote in _sides(router.vpn.tunnels)]
    if not pairs:
        return TunnelRules()
    size = _segment(router)
    outside = router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)
    nics = ", ".join(sorted({t.device for t in router.vpn.tunnels} | {d.name for d in outside}))
    syn = "tcp flags & (syn | rst) == syn tcp option maxseg size set"
    return TunnelRules(
        leaving=tuple(f"{pair.out} meta mark set {TO_PEERS}" for pair in pairs),
        arriving=tuple(f"{pair.back} meta mark set {FROM_PEERS}" for pair in pairs),
        untranslated=tuple(f"{way} return" for pair in pairs for way in (pair.out, pair.back)),
        segments=tuple(
            f"{way} {syn} {what}" for pair in pairs for way in (pair.out, pair.back) for what in ("rt mtu", size)
        ),
        closed=tuple(f"oifname {{ {nics} }} {pair.out} rt ipsec missing drop" for pair in pairs),
    )


class _Pair:
    """The conditions for packets from a local network to the remote networks of its tunnels, and for those back."""

    def __init__(self, local: IPv4Network, remote: Iterable[IPv4Network], pool: SetPool) -> None:
        merged = merge_networks(map(str, sorted(remote)))
        there = merged[0] if len(merged) == 1 else f"@{pool.name('networks', 'ipv4_addr', merged)}"
        self.out = f"ip saddr {local} ip daddr {there}"
        self.back = f"ip saddr {there} ip daddr {local}"


def _sides(tunnels: Iterable[Tunnel]) -> list[tuple[IPv4Network, set[IPv4Network]]]:
    found: dict[IPv4Network, set[IPv4Network]] = {}
    for tunnel in tunnels:
        for local in tunnel.local_networks:
            found.setdefault(local, set()).update(tunnel.remote_networks)
    return sorted(found.items())


def _segment(router: Router) -> int:
    """Return the longest TCP segment that fits into the tunnels of all NICs, whatever their ciphers are.

    ESP pads to the 16 bytes of a block and needs two of them for itself.
    """
    mtu = min(d.mtu for d in router.devices if any(d.name == t.device for t in router.vpn.tunnels))
    return (mtu - OVERHEAD) // 16 * 16 - 2 - 40


def usage(router: Router) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the counters of what went through tunnels, and by hook the rules; what they count no other one does."""
    if not router.vpn.tunnels or not router.settings.kind.routes:
        return (), {}
    sent = f'meta mark {TO_PEERS} counter name "{COUNTERS[0]}" accept'
    received = f'meta mark {FROM_PEERS} counter name "{COUNTERS[1]}" accept'
    return COUNTERS, {"forward": (sent, received), "input": (received,), "output": (sent,)}


def ways(tunnel: Tunnel, protected: Iterable[str]) -> frozenset[str]:
    """Return how packets from a remote network can come in: decrypted. The peer itself may be inside that network."""
    nic = tunnel.device
    return frozenset(
        (
            f"{nic} meta ipsec exists",
            f"{nic} meta l4proto 50",
            f"{nic} udp dport {{ 500, 4500 }}",
            *protected,
        )
    )
