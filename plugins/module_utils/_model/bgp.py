# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""BGP peers: one session per address of a peer.

It is told what the networks of its own records have of that family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Union

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

Address = Union[IPv4Address, IPv6Address]  # noqa: UP007
Network = Union[IPv4Network, IPv6Network]  # noqa: UP007
Record = Mapping[str, Any]
HOPS = "EBGP_MultiHop"
LONGEST_PASSWORD = 80
"""Bytes of a key of TCP MD5 (tcp(7), TCP_MD5SIG_MAXKEYLEN)."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session with one address of a peer; `hops` is None where it must be a neighbour on the link.

    `networks` are what it is told, in order; `password` is in no message and no repr.
    """

    peer: Address
    remote_as: int
    networks: tuple[Network, ...]
    hops: int | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Session({self.peer}, AS {self.remote_as})"


@dataclass(frozen=True, slots=True)
class Bgp:
    """What the router speaks: its own AS, and its sessions in the order of their addresses, IPv4 first."""

    own_as: int
    sessions: tuple[Session, ...]


def bgp(bags: Mapping[str, Any]) -> tuple[Bgp | None, tuple[str, ...]]:
    """Return what the databag asks for, None without a peer; and a line for each peer or detail that has no effect."""
    records = [record for key, record in sorted(bags.get("bgppeers", {}).items()) if key != "id"]
    if not records:
        return None, ()
    sessions: dict[Address, Session] = {}
    warnings: list[str] = []
    for peer, own in sorted(_by_address(records).items(), key=lambda item: (item[0].version, int(item[0]))):
        newest = own[-1]
        reason = _unusable(newest.get("peer_password"))
        if reason:
            warnings.append(f"BGP peer {peer}: {reason}: there is no session with it")
            continue
        unknown = sorted(set(newest.get("details") or {}) - {HOPS})
        warnings += [f"BGP peer {peer}: nobody knows what {name} means" for name in unknown]
        sessions[peer] = _session(peer, own, newest)
    return Bgp(int(records[0]["network_as_number"]), tuple(sessions.values())), tuple(warnings)


def _by_address(records: Iterable[Record]) -> dict[Address, list[Record]]:
    found: dict[Address, list[Record]] = {}
    for record in records:
        known = values.address(record.get("ip4_address")), values.address6(record.get("ip6_address"))
        for peer in known:
            if peer is not None:
                found.setdefault(peer, []).append(record)
    return found


def _unusable(password: str | None) -> str:
    """Say why FRR or the kernel cannot take a password; a session without the one that was asked for is none."""
    if password and (" " in password or "\t" in password):
        return "its password has a blank, which FRR cannot take"
    if password and len(password.encode()) > LONGEST_PASSWORD:
        return f"its password has more than {LONGEST_PASSWORD} bytes"
    return ""


def _session(peer: Address, records: Iterable[Record], newest: Record) -> Session:
    if isinstance(peer, IPv4Address):
        told: set[Network] = {n for n in (values.network(r.get("guest_ip4_cidr")) for r in records) if n}
    else:
        told = {n for n in (values.network6(r.get("guest_ip6_cidr")) for r in records) if n}
    hops = (newest.get("details") or {}).get(HOPS)
    ordered = tuple(sorted(told, key=lambda n: (int(n.network_address), n.prefixlen)))
    password = newest.get("peer_password") or None
    return Session(peer, int(newest["peer_as_number"]), ordered, None if hops is None else int(hops), password)
