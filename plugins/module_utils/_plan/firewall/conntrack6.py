# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which running IPv6 connections a change takes away: those that the old rules admitted and the new ones do not (B18).

Nothing is translated, so the two ends and the rule lists say all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Kind,
    Role,
    Router,
    Rule,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules6 import CLOSED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import matches, span
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import narrowed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import (
    MOST_KINDS,
    Entry,
)

_NAMES = {58: "icmp", 6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class Flow6:
    """The original direction of an entry; of ICMPv6 `port` is the type."""

    protocol: str
    source: IPv6Address
    destination: IPv6Address
    port: int
    code: int = 0


def narrows(olds: Iterable[Router], new: Router) -> bool:
    """Tell whether a change can take any connection away; then all of IPv6 are looked through."""
    return any(_narrows(old, new) for old in olds if old is not new)


def _narrows(old: Router, new: Router) -> bool:
    if not set(_reach(old)) <= set(_reach(new)):
        return True
    names = {*old.acls6, *new.acls6}
    pairs = [(old.inbound6, new.inbound6), (old.egress6, new.egress6)]
    for name in names:
        pairs += zip(old.acls6.get(name, CLOSED), new.acls6.get(name, CLOSED), strict=True)
    return any(True for before, after in pairs for _pattern in narrowed(before, after))


def _reach(router: Router) -> list[tuple[IPv6Network, str]]:
    return [(device.six.network, device.name) for device in router.with_ipv6(Role.GUEST) if device.six]


class Judge6:
    """Decide about flows by the rules of one router."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.reach = sorted(_reach(router), key=lambda item: -item[0].prefixlen)
        self.own = {interface.ip for d in router.devices if d.six for interface in d.six.addresses}

    def ends(self, flow: Flow6) -> tuple[str | None, str | None]:
        """Return the names of the NICs behind which both ends are; None is the outside."""
        return self._nic(flow.source), self._nic(flow.destination)

    def admits(self, flow: Flow6) -> bool:
        """Tell whether the router lets the flow pass; what it takes part in itself is none of these rules."""
        if flow.destination in self.own or flow.source in self.own:
            return True
        source, target = self.ends(flow)
        if source == target:
            return True
        if self.router.settings.kind is not Kind.VPC:
            return _verdict(self.router.egress6 if source else self.router.inbound6, flow)
        if source and not _verdict(self.router.acls6.get(source, CLOSED)[1], flow):
            return False
        return target is None or _verdict(self.router.acls6.get(target, CLOSED)[0], flow)

    def _nic(self, ip: IPv6Address) -> str | None:
        return next((name for network, name in self.reach if ip in network), None)


def _verdict(rules: RuleList, flow: Flow6) -> bool:
    rule = decisive6(rules, flow)
    return rules.default_allow if rule is None else rule.allow


def decisive6(rules: RuleList, flow: Flow6) -> Rule | None:
    """Return the first rule that matches, or None."""
    return next((rule for rule in rules.rules if matches(rule.match, flow, flow.destination, flow.port)), None)


class Change6:
    """Judge flows by the rules before and after a change."""

    def __init__(self, old: Router, new: Router) -> None:
        self._before, self._after = Judge6(old), Judge6(new)

    def cuts(self, flow: Flow6) -> bool:
        """Tell whether the flow is to be deleted; one of whose ends is no longer where it was is dead."""
        if not self._before.admits(flow):
            return False
        was, now = self._before.ends(flow), self._after.ends(flow)
        strayed = any(old is not None and old != new for old, new in zip(was, now, strict=True))
        return strayed or not self._after.admits(flow)


class Verdicts6:
    """Tell which entries a change takes away; flows that no rule can tell apart are judged once."""

    def __init__(self, olds: Iterable[Router], new: Router) -> None:
        olds = tuple(olds)
        self._changes = [Change6(old, new) for old in olds]
        routers = (*olds, new)
        self._addresses = sorted({b for r in routers for first, last in _networks(r) for b in (first, last + 1)})
        self._ports = sorted({bound for r in routers for first, last in _ports(r) for bound in (first, last + 1)})
        self._known: dict[tuple[int, ...], bool] = {}

    def cuts(self, entry: Entry) -> bool:
        """Tell whether the entry is to be deleted."""
        source, destination, protocol, _sport, port, code, *_reply = entry
        ends = bisect_right(self._addresses, source), bisect_right(self._addresses, destination)
        kind = (protocol, *ends, bisect_right(self._ports, port), code)
        verdict = self._known.get(kind)
        if verdict is None:
            if len(self._known) >= MOST_KINDS:
                self._known.clear()
            name = _NAMES.get(protocol, str(protocol))
            flow = Flow6(name, IPv6Address(source), IPv6Address(destination), port, code)
            verdict = self._known[kind] = any(change.cuts(flow) for change in self._changes)
        return verdict


def _networks(router: Router) -> Iterator[tuple[int, int]]:
    for device in router.devices:
        if device.six:
            yield span(str(device.six.network))
            yield from ((int(interface.ip), int(interface.ip)) for interface in device.six.addresses)
    for rules in _lists(router):
        for rule in rules.rules:
            yield from (span(cidr) for cidr in (*rule.match.sources, *rule.match.destinations))


def _ports(router: Router) -> Iterator[tuple[int, int]]:
    """Yield every range of ports, and the types of ICMPv6, that a rule compares with."""
    for rules in _lists(router):
        for match in (rule.match for rule in rules.rules):
            if match.ports is not None:
                yield match.ports.first, match.ports.last
            if match.icmp_type is not None:
                yield match.icmp_type, match.icmp_type


def _lists(router: Router) -> Iterator[RuleList]:
    yield router.inbound6
    yield router.egress6
    for ingress, egress in router.acls6.values():
        yield from (ingress, egress)
