# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which connections a change may take away at all, as patterns by which the kernel can pick entries out of its table.

A pattern admits too many rather than too few: each entry that matches one is judged (judge.py). To list
100,000 connections takes the kernel half a second, to look through them a twentieth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    NO_ACL,
    Forward,
    Kind,
    Match,
    Ports,
    Role,
    Router,
    Rule,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import (
    closed,
    gone,
    peers,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import reach, tunneled

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
MOST = 8
"""How many patterns are asked for one by one; looking through the table as often costs what listing all of it does."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is the same in some connections; None is anything.

    `destination` and `port` are where they were sent to, `reply_port` and `reply_destination` where answers come from
    and go to. `protocol` is its number; ports are given with it only.
    """

    destination: IPv4Address | None = None
    protocol: int | None = None
    port: int | None = None
    reply_destination: IPv4Address | None = None
    reply_port: int | None = None


ANY = Pattern()


def patterns(olds: Iterable[Router], new: Router) -> tuple[Pattern, ...]:
    """Return what may be taken away: nothing when rules are only added, one pattern for all when it cannot be told."""
    found = dict.fromkeys(pattern for old in olds if old is not new for pattern in _patterns(old, new))
    if len(found) > MOST:
        found = dict.fromkeys(Pattern(p.destination, reply_destination=p.reply_destination) for p in found)
    if ANY in found or len(found) > MOST:
        return (ANY,)
    return tuple(found)


def _patterns(old: Router, new: Router) -> Iterator[Pattern]:
    if not reach(old) <= reach(new) or (new.settings.per_ip_firewall and not old.settings.per_ip_firewall):
        yield ANY
        return
    if tunneled(old) != tunneled(new) or peers(old) - peers(new):
        yield ANY
        return
    for ip in gone(old, new):
        yield Pattern(destination=ip)
        yield Pattern(reply_destination=ip)
    for nat in set(old.static_nats) - set(new.static_nats):
        yield Pattern(destination=nat.public_ip)
        yield Pattern(reply_destination=nat.public_ip)
    for forward in set(old.forwards) - set(new.forwards):
        yield from _of_forward(forward)
    for listener in closed(old, new):
        address, _dot, port = listener.partition(" . ")
        yield Pattern(IPv4Address(address), NUMBERS["tcp"], int(port))
    for ip, rules in old.firewall.items():
        for found in narrowed(rules, new.firewall.get(ip, RuleList())):
            yield replace(found, destination=ip)
    yield from narrowed(old.inbound, new.inbound)
    yield from narrowed(old.egress, new.egress)
    yield from _of_acls(old, new)


def _of_forward(forward: Forward) -> Iterator[Pattern]:
    protocols = ("tcp", "udp") if forward.protocol is None and forward.public_ports else (forward.protocol,)
    for protocol in protocols:
        yield replace(_pattern(Match(protocol, forward.public_ports)), destination=forward.public_ip)


def _of_acls(old: Router, new: Router) -> Iterator[Pattern]:
    """Yield what the ACLs may take away: they are asked about the inner port, that is the one of the reply's source."""
    if old.settings.kind is not Kind.VPC:
        return
    for device in old.by_role(Role.GUEST, Role.PRIVATE_GATEWAY):
        before, after = (router.acls.get(device.name, NO_ACL) for router in (old, new))
        for was, now in zip(before, after, strict=True):
            for found in narrowed(was, now):
                yield replace(found, port=None, reply_port=found.port)


def narrowed(old: RuleList, new: RuleList) -> Iterator[Pattern]:
    """Yield what the new list may deny that the old one allowed.

    When the rules that both have are in the same order, only one that went or came can have made the difference.
    """
    if old == new:
        return
    before, after = _unique(old.rules), _unique(new.rules)
    kept = [rule for rule in before if rule in after]
    if kept != [rule for rule in after if rule in before] or (old.default_allow and not new.default_allow):
        yield ANY
        return
    yield from (_pattern(match) for match, allow in before if allow and (match, allow) not in after)
    yield from (_pattern(match) for match, allow in after if not allow and (match, allow) not in before)


def _unique(rules: Iterable[Rule]) -> dict[tuple[Match, bool], None]:
    """Return matches and verdicts in order, each where it is first: a second one decides nothing."""
    return dict.fromkeys((rule.match, rule.allow) for rule in rules)


def _pattern(match: Match) -> Pattern:
    if match.protocol is None:
        return ANY
    number = NUMBERS.get(match.protocol)
    return Pattern(protocol=int(match.protocol) if number is None else number, port=_single(match.ports))


def _single(ports: Ports | None) -> int | None:
    return ports.first if ports is not None and ports.first == ports.last else None
