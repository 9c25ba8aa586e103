# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which running IPv6 connections a change takes away: those that the old rules admitted and the new ones do not (B18).

Nothing is translated, so the two ends and the rule lists say all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, RuleList
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules6 import CLOSED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import narrowed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import (
    MOST_KINDS,
    Entry,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import span
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge6 import (
    Flow6,
    Judge6,
    reach,
)

_NAMES = {58: "icmp", 6: "tcp", 17: "udp"}


def narrows(olds: Iterable[Router], new: Router) -> bool:
    """Tell whether a change can take any connection away; then all of IPv6 are looked through."""
    return any(_narrows(old, new) for old in olds if old is not new)


def _narrows(old: Router, new: Router) -> bool:
    if not set(reach(old)) <= set(reach(new)):
        return True
    names = {*old.acls6, *new.acls6}
    pairs = [(old.inbound6, new.inbound6), (old.egress6, new.egress6)]
    for name in names:
        pairs += zip(old.acls6.get(name, CLOSED), new.acls6.get(name, CLOSED), strict=True)
    return any(True for before, after in pairs for _pattern in narrowed(before, after))


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
