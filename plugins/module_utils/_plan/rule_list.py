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
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.nft import (
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


def compile_rules(rules: RuleList, allow: str, pool: SetPool) -> tuple[str, ...]:
    """Return the nft rules of a chain; `allow` is the statement for an allowed packet, a denied one is dropped."""
    lines: list[str] = []
    for allowed, run in groupby(rules.rules, key=lambda rule: rule.allow):
        verdict = allow if allowed else "drop"
        lines += [_line(group, verdict, pool) for group in _joined(run)]
    return (*lines, allow if rules.default_allow else "drop")


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


def _line(group: _Group, verdict: str, pool: SetPool) -> str:
    parts = [
        _networks("saddr", group.sources, pool),
        _networks("daddr", group.destinations, pool),
        _protocol(group, pool),
        verdict,
        comment(group.labels),
    ]
    return " ".join(part for part in parts if part)


def _networks(side: str, cidrs: frozenset[str] | None, pool: SetPool) -> str:
    if cidrs is None:
        return ""
    merged = merge_networks(cidrs)
    if len(merged) == 1:
        return f"ip {side} {merged[0]}"
    return f"ip {side} @{pool.name('networks', 'ipv4_addr', merged)}"


def _protocol(group: _Group, pool: SetPool) -> str:
    if group.protocol == "icmp":
        kind, code = group.icmp
        words = [] if kind is None else [f"icmp type {kind}"]
        words += [] if code is None else [f"icmp code {code}"]
        return " ".join(words) or "ip protocol icmp"
    if group.protocol is None:
        return ""
    if group.ports is None:
        return f"ip protocol {group.protocol}"
    merged = merge_ports(group.ports)
    if len(merged) == 1:
        return f"{group.protocol} dport {merged[0]}"
    elements = tuple(str(ports) for ports in merged)
    return f"{group.protocol} dport @{pool.name('ports', 'inet_service', elements)}"
