# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compile an ordered rule list into few nft rules.

Neighbours with the same verdict may change places without a change of meaning. Each run of such neighbours is
joined: first the ports of rules that agree on everything else, then the sources, then the destinations. So 1,000
rules that differ in one respect become one rule and one set, and a packet does not walk them (A9, A13).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Ports,
    Rule,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    SetPool,
    comment,
    merge_networks,
    merge_ports,
)


class _Group(NamedTuple):
    """Rules that were joined: every combination of port, source and destination has the verdict."""

    protocol: str | None
    icmp: tuple[int | None, int | None]
    ports: frozenset[Ports] | None
    sources: frozenset[str] | None
    destinations: frozenset[str] | None
    labels: tuple[str, ...]


class Family(NamedTuple):
    """What nft calls things in IPv4 or in IPv6.

    In IPv6 extension headers may stand before the upper layer, so its protocol is not the first next header.
    """

    ip: str
    key_type: str
    icmp: str
    every_icmp: str
    protocol: str


IPV4 = Family("ip", "ipv4_addr", "icmp", "ip protocol icmp", "ip protocol")
IPV6 = Family("ip6", "ipv6_addr", "icmpv6", "meta l4proto 58", "meta l4proto")
"""ICMPv6 by its number: a router has no table of names of protocols."""


class Side(NamedTuple):
    """By which fields of a packet rules are asked: a packet of the way back has them the other way round."""

    source: str
    destination: str
    port: str
    family: Family


def compile_rules(
    rules: RuleList, allow: str, pool: SetPool, deny: str = "drop", family: Family = IPV4
) -> tuple[str, ...]:
    """Return the nft rules of a chain; `allow` and `deny` are the statements for allowed and denied packets."""
    return _compiled(rules, allow, deny, pool, Side("saddr", "daddr", "dport", family))


def compile_reversed(rules: RuleList, allow: str, pool: SetPool, deny: str, family: Family = IPV4) -> tuple[str, ...]:
    """Return the rules of a chain that is asked about TCP in the direction against the packet's."""
    found = tuple(rule for rule in rules.rules if rule.match.protocol in (None, "tcp", "6"))
    given = RuleList(found, rules.default_allow)
    return _compiled(given, allow, deny, pool, Side("daddr", "saddr", "sport", family))


def _compiled(rules: RuleList, allow: str, deny: str, pool: SetPool, side: Side) -> tuple[str, ...]:
    lines: list[str] = []
    for allowed, run in groupby(rules.rules, key=lambda rule: rule.allow):
        verdict = allow if allowed else deny
        lines += [_line(group, verdict, pool, side) for group in _joined(run)]
    return (*lines, allow if rules.default_allow else deny)


def _joined(run: Iterable[Rule]) -> list[_Group]:
    groups = [_group(rule) for rule in run]
    for aspect in (2, 3, 4):
        groups = _join(groups, aspect)
    return groups


def _group(rule: Rule) -> _Group:
    match = rule.match
    return _Group(
        protocol=match.protocol,
        icmp=(match.icmp_type, match.icmp_code),
        ports=None if match.ports is None else frozenset((match.ports,)),
        sources=frozenset(match.sources) or None,
        destinations=frozenset(match.destinations) or None,
        labels=(rule.label,),
    )


def _join(groups: list[_Group], aspect: int) -> list[_Group]:
    """Join the groups that differ in one field only; None (anything) swallows every value.

    `aspect` is the index of the field. Lists have 10,000 rules, so a group that stands alone is passed on as it is.
    """
    same: dict[tuple[Any, ...], list[_Group]] = {}
    for group in groups:
        same.setdefault(group[:aspect] + group[aspect + 1 : 5], []).append(group)
    return [members[0] if len(members) == 1 else _union(members, aspect) for members in same.values()]


def _union(members: list[_Group], aspect: int) -> _Group:
    values: list[Any] = [member[aspect] for member in members]
    union: Any = None if None in values else frozenset().union(*values)
    labels = tuple(label for member in members for label in member.labels)
    return members[0]._replace(**{_Group._fields[aspect]: union}, labels=labels)


def _line(group: _Group, verdict: str, pool: SetPool, side: Side) -> str:
    parts = [
        _networks(side.source, group.sources, pool, side.family),
        _networks(side.destination, group.destinations, pool, side.family),
        _protocol(group, pool, side),
        verdict,
        comment(group.labels),
    ]
    return " ".join(part for part in parts if part)


def _networks(side: str, cidrs: frozenset[str] | None, pool: SetPool, family: Family) -> str:
    if cidrs is None:
        return ""
    merged = merge_networks(cidrs)
    if len(merged) == 1:
        return f"{family.ip} {side} {merged[0]}"
    return f"{family.ip} {side} @{pool.name('networks', family.key_type, merged)}"


def _protocol(group: _Group, pool: SetPool, side: Side) -> str:
    family = side.family
    if group.protocol == "icmp":
        kind, code = group.icmp
        words = [] if kind is None else [f"{family.icmp} type {kind}"]
        words += [] if code is None else [f"{family.icmp} code {code}"]
        return " ".join(words) or family.every_icmp
    if group.protocol is None:
        return ""
    if group.ports is None:
        return f"{family.protocol} {group.protocol}"
    merged = merge_ports(group.ports)
    if len(merged) == 1:
        return f"{group.protocol} {side.port} {merged[0]}"
    elements = tuple(str(ports) for ports in merged)
    return f"{group.protocol} {side.port} @{pool.name('ports', 'inet_service', elements)}"
