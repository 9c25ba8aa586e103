# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vocabulary of an nftables ruleset: named sets, maps and chains as plain data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Ports


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A named set, or a map when `data_type` is given; elements are in nft syntax."""

    name: str
    key_type: str
    elements: tuple[str, ...]
    interval: bool = False
    data_type: str | None = None

    @property
    def keyword(self) -> str:
        """Return what nft calls it."""
        return "set" if self.data_type is None else "map"

    @property
    def type(self) -> str:
        """Return the type of an element."""
        return self.key_type if self.data_type is None else f"{self.key_type} : {self.data_type}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A regular chain: the rules are in nft syntax, one line each."""

    name: str
    rules: tuple[str, ...]


@dataclass(slots=True)
class SetPool:
    """Give equal lists one named set, so that a list used by 100 rules is loaded once (A13)."""

    _sets: dict[str, NamedSet] = field(default_factory=dict)

    def name(self, prefix: str, key_type: str, elements: tuple[str, ...]) -> str:
        """Return the name of the set that holds the elements: it follows from them, so no other change renames it."""
        name = named_after(prefix, elements)
        self._sets[name] = NamedSet(name, key_type, elements, interval=True)
        return name

    @property
    def sets(self) -> tuple[NamedSet, ...]:
        """Return the sets in the order they were asked for."""
        return tuple(self._sets.values())


def named_after(prefix: str, elements: Iterable[str]) -> str:
    """Return `<prefix>_<digest>`: a name for what has no name of its own; 48 bits tell 10,000 lists apart."""
    return f"{prefix}_{hashlib.sha256(' '.join(elements).encode()).hexdigest()[:12]}"


def table(name: str, key_type: str, data_type: str, elements: Mapping[str, str], interval: bool = False) -> NamedSet:
    """Return a map of nft from a mapping."""
    return NamedSet(name, key_type, tuple(f"{k} : {v}" for k, v in elements.items()), interval, data_type)


def merge_networks(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Return the CIDRs, all of one family, sorted and without overlaps: an interval set refuses them."""
    given = tuple(cidrs)
    if given and ":" in given[0]:
        merged = collapse_addresses(IPv6Network(cidr) for cidr in given)
        return tuple(str(n) if n.prefixlen < 128 else str(n.network_address) for n in merged)
    if len(given) == 1:
        return (given[0].removesuffix("/32"),)
    networks = [IPv4Network(cidr) for cidr in given]
    return tuple(str(n) if n.prefixlen < 32 else str(n.network_address) for n in collapse_addresses(networks))


def merge_ports(ranges: Iterable[Ports]) -> tuple[Ports, ...]:
    """Return the ranges sorted and disjoint, neighbours joined."""
    merged: list[Ports] = []
    for ports in sorted(ranges, key=lambda p: (p.first, p.last)):
        if merged and ports.first <= merged[-1].last + 1:
            merged[-1] = Ports(merged[-1].first, max(merged[-1].last, ports.last))
        else:
            merged.append(ports)
    return tuple(merged)


def comment(labels: Iterable[str]) -> str:
    """Return a comment that names the databag records behind a rule, within the 128 bytes nft allows."""
    known = list(dict.fromkeys(labels))
    shown = ", ".join(known)
    if len(shown) > 100:
        shown = f"{known[0]} and {len(known) - 1} more"[:100]
    return f'comment "{shown}"'
