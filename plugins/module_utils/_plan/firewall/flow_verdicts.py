# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge many flows fast: flows that no rule can tell apart are judged once.

Rules compare an address with networks and a port with ranges. So all addresses between two neighbouring bounds are one
to them, and a table of 262,144 connections has few kinds of flows, whatever it has of clients.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Ports,
    Router,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import (
    Change,
    closed,
    is_ike,
    peers,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import (
    Flow,
    reach,
    span,
    tunneled,
)

Entry = tuple[int, int, int, int, int, int, int, int, int, int]
"""A flow in numbers: source, destination, protocol, source's port, port, code of ICMP, the reply's source and its
destination, the reply's source port, mark. For ICMP the ports are the id, the type and 0; where the protocol has none
they are 0."""

MOST_KINDS = 65536
"""How many kinds of flows are remembered: nobody outside may fill our memory."""

_NAMES = {1: "icmp", 6: "tcp", 17: "udp"}


class Verdicts:
    """Tell which entries of connection tracking a change takes away from what any of the old routers let in."""

    def __init__(self, olds: Iterable[Router], new: Router) -> None:
        olds = tuple(olds)
        self._changes = [Change(old, new) for old in olds]
        routers = (*olds, new)
        listeners = [element.split(" . ") for old in olds for element in closed(old, new)]
        addresses = (pair for router in routers for pair in _networks(router))
        self._addresses = _bounds((*(span(ip) for ip, _port in listeners), *addresses))
        ports = (pair for router in routers for pair in _ports(router))
        self._ports = _bounds((*((int(port), int(port)) for _ip, port in listeners), *ports))
        self._known: dict[tuple[int, ...], bool] = {}

    def cuts(self, entry: Entry) -> bool:
        """Tell whether the entry is to be deleted."""
        source, destination, protocol, sport, port, code, answering, answered, answering_port, mark = entry
        addresses, ports, known = self._addresses, self._ports, self._known
        kind = (
            protocol,
            bisect_right(addresses, source),
            bisect_right(addresses, destination),
            bisect_right(ports, port),
            is_ike(sport, port),
            -1 if answering == destination else bisect_right(addresses, answering),
            -1 if answered == source else bisect_right(addresses, answered),
            bisect_right(ports, answering_port),
            answering_port - port,
            code,
            mark,
        )
        verdict = known.get(kind)
        if verdict is None:
            if len(known) >= MOST_KINDS:
                known.clear()
            verdict = known[kind] = self._judge(entry)
        return verdict

    def _judge(self, entry: Entry) -> bool:
        flow = flow_of(entry)
        return any(change.cuts(flow) for change in self._changes)


def flow_of(entry: Entry) -> Flow:
    """Return the flow that the rules are asked about."""
    source, destination, protocol, sport, port, code, answering, answered, answering_port, mark = entry
    ends = [IPv4Address(number) for number in (source, destination, answering, answered)]
    name = _NAMES.get(protocol, str(protocol))
    return Flow(name, ends[0], ends[1], sport, port, ends[2], ends[3], answering_port, code, mark)


def _bounds(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return where one class of numbers ends and the next begins."""
    return sorted({bound for first, last in spans for bound in (first, last + 1)})


def _networks(router: Router) -> Iterator[tuple[int, int]]:
    """Yield every network and address that a rule compares with."""
    for device in router.devices:
        yield from (span(str(network)) for network in device.networks)
        yield from ((int(address.ip), int(address.ip)) for address in device.addresses)
    yield from (span(str(network)) for network, _device in reach(router))
    yield from (span(str(network)) for pair in tunneled(router) for network in pair)
    yield from ((int(ip), int(ip)) for pair in peers(router) for ip in pair)
    pairs = [(nat.public_ip, nat.internal_ip) for nat in router.static_nats]
    pairs += [(forward.public_ip, forward.internal_ip) for forward in router.forwards]
    yield from ((int(ip), int(ip)) for pair in pairs for ip in pair)
    yield from (span(cidr) for forward in router.forwards for cidr in forward.sources)
    for rules in _lists(router):
        for rule in rules.rules:
            yield from (span(cidr) for cidr in (*rule.match.sources, *rule.match.destinations))


def _ports(router: Router) -> Iterator[tuple[int, int]]:
    """Yield every range of ports, and the types of ICMP, that a rule compares with."""
    matches = [rule.match for rules in _lists(router) for rule in rules.rules]
    ranges: list[Ports | None] = [match.ports for match in matches]
    ranges += [ports for forward in router.forwards for ports in (forward.public_ports, forward.internal_ports)]
    yield from ((ports.first, ports.last) for ports in ranges if ports is not None)
    yield from ((match.icmp_type, match.icmp_type) for match in matches if match.icmp_type is not None)


def _lists(router: Router) -> Iterator[RuleList]:
    yield from router.firewall.values()
    yield router.inbound
    yield router.egress
    for ingress, egress in router.acls.values():
        yield from (ingress, egress)
