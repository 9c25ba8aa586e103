# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the rules of one router say of a connection, by the same lists and translations that make the ruleset.

Here is no more than `vr why` needs to be quick: what a change takes away is in conntrack.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    NO_ACL,
    Device,
    Forward,
    Kind,
    Match,
    Role,
    Router,
    Rule,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nat import precedence

_PORTS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Flow:
    """An entry of connection tracking: the original direction, and where replies come from and go to.

    Ports are 0 where the protocol has none; for ICMP `port` is the type and `source_port` the id. `mark` is that of the
    NIC by which a connection from outside came in (`nic_mark` of the ruleset).
    """

    protocol: str
    source: IPv4Address
    destination: IPv4Address
    source_port: int
    port: int
    reply_source: IPv4Address
    reply_destination: IPv4Address
    reply_port: int
    code: int = 0
    mark: int = 0


def reach(router: Router) -> set[tuple[IPv4Network, str]]:
    """Return the networks that tiers and private gateways lead to, each with its device."""
    inner = {d.name for d in router.by_role(Role.GUEST, Role.PRIVATE_GATEWAY)}
    found = {(n, d.name) for d in router.by_role(Role.GUEST, Role.PRIVATE_GATEWAY) for n in d.networks}
    return found | {(route.network, route.device) for route in router.routes if route.device in inner}


def tunneled(router: Router) -> frozenset[tuple[IPv4Network, IPv4Network]]:
    """Return the pairs of local and remote networks that tunnels connect."""
    sides = ((tunnel.local_networks, tunnel.remote_networks) for tunnel in router.vpn.tunnels)
    return frozenset((local, remote) for here, there in sides for local in here for remote in there)


class Judge:
    """Decide about flows by the rules of one router."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.public = {a.ip for device in router.by_role(Role.PUBLIC) for a in device.addresses}
        self.own = {a.ip for device in router.devices for a in device.addresses}
        inner = {d.name: d for d in router.by_role(Role.GUEST, Role.PRIVATE_GATEWAY)}
        narrow_first = sorted(reach(router), key=lambda item: (-item[0].prefixlen, item))
        self.reach = [(network, inner[name]) for network, name in narrow_first]
        self.gateways = {d.table: d for d in router.by_role(Role.PRIVATE_GATEWAY)}
        self.acls = dict.fromkeys(inner, NO_ACL) | router.acls if router.settings.kind is Kind.VPC else {}
        self.tunneled = tunneled(router)
        self.static = {nat.public_ip: nat.internal_ip for nat in router.static_nats}
        self.static_sources: dict[IPv4Address, set[IPv4Address]] = {}
        for nat in router.static_nats:
            self.static_sources.setdefault(nat.internal_ip, set()).add(nat.public_ip)
        self.forwards: dict[IPv4Address, list[Forward]] = {}
        for forward in router.forwards:
            self.forwards.setdefault(forward.public_ip, []).append(forward)

    def admits(self, flow: Flow) -> bool:
        """Tell whether the router lets the flow pass, translated as it is."""
        source = self._origin(flow)
        if self.is_tunneled(flow):
            return self._goes_through(flow, source)
        if flow.destination in self.public:
            return self._enters(flow, source) and self._reaches(flow, source)
        if flow.destination in self.own or flow.source in self.own:
            return True
        target = self.device(flow.destination)
        if source is None:
            return self._comes_in(flow, target)
        if source.role is not Role.GUEST or target is not None:
            return self._passes(flow, source, target)
        return self._leaves(flow, source)

    def is_tunneled(self, flow: Flow) -> bool:
        """Tell whether a tunnel connects both ends of a flow."""
        ends = (flow.source, flow.reply_source)
        return any((ends[0] in a and ends[1] in b) or (ends[0] in b and ends[1] in a) for a, b in self.tunneled)

    def _goes_through(self, flow: Flow, source: Device | None) -> bool:
        """Judge what a tunnel carries: never translated, and by the lists of the side that is ours."""
        if flow.reply_destination != flow.source or flow.reply_source != flow.destination:
            return False
        if source is not None and source.name not in self.acls and not _verdict(self.router.egress, flow):
            return False
        target = self.device(flow.reply_source)
        if source is None and self.router.settings.routed:
            return self._comes_in(flow, target)
        return self._passes(flow, source, target)

    def ends(self, flow: Flow) -> tuple[str | None, str | None]:
        """Return the names of the devices behind which both ends of a flow are; None is the outside."""
        source, target = self._origin(flow), self.device(flow.reply_source)
        return source.name if source else None, target.name if target else None

    def _origin(self, flow: Flow) -> Device | None:
        """Return the device by which the flow came in; beyond a private gateway are networks without a route, too."""
        return self.device(flow.source) or self.gateways.get(flow.mark)

    def device(self, ip: IPv4Address) -> Device | None:
        """Return the guest device or private gateway behind which an address is, or None."""
        return next((device for network, device in self.reach if ip in network), None)

    def _comes_in(self, flow: Flow, target: Device | None) -> bool:
        """Judge what comes from outside to where no public address of the router leads: only routed mode has such."""
        if target is None or not self.router.settings.routed:
            return True
        if target.name not in self.acls and not _verdict(self.router.inbound, flow):
            return False
        return self._passes(flow, None, target)

    def _enters(self, flow: Flow, source: Device | None) -> bool:
        """Judge by the firewall of the public address, which connections from inside do not meet."""
        if source is not None or not self.router.settings.per_ip_firewall or flow.source in self.public:
            return True
        return _verdict(self.router.firewall.get(flow.destination, RuleList()), flow)

    def _reaches(self, flow: Flow, source: Device | None) -> bool:
        """Judge by the translation of the destination, and by the ACLs on the way."""
        target = self.translation(flow)
        if target is None:
            return flow.reply_source == flow.destination
        if target != (flow.reply_source, flow.reply_port if flow.protocol in _PORTS else target[1]):
            return False
        return self._passes(flow, source, self.device(flow.reply_source))

    def translation(self, flow: Flow) -> tuple[IPv4Address, int] | None:
        """Return where the destination is translated to, or None."""
        candidates = [f for f in self.forwards.get(flow.destination, ()) if _applies(f, flow)]
        for forward in sorted(candidates, key=precedence):
            public, inner = forward.public_ports, forward.internal_ports
            shift = inner.first - public.first if public and inner else 0
            return forward.internal_ip, flow.port + shift
        static = self.static.get(flow.destination)
        return None if static is None else (static, flow.port)

    def _passes(self, flow: Flow, source: Device | None, target: Device | None) -> bool:
        """Judge by the ACLs of the device it comes from and of the one it goes to."""
        leaving = self.acls.get(source.name) if source else None
        towards = self.acls.get(target.name) if target else None
        if leaving and not _verdict(leaving[1], flow, translated=True):
            return False
        return towards is None or _verdict(towards[0], flow, translated=True)

    def _leaves(self, flow: Flow, source: Device) -> bool:
        """Judge by the egress rules and by the source address it was given."""
        if source.name not in self.acls and not _verdict(self.router.egress, flow):
            return False
        if not self._passes(flow, source, None):
            return False
        own = self.static_sources.get(flow.source, set()) & self.public
        return flow.reply_destination in own | self._way_out(flow) | {flow.source}

    def _way_out(self, flow: Flow) -> set[IPv4Address]:
        """Return the source addresses of the public NICs by which a VM without static NAT may reach the destination."""
        primary = self.router.primary_public
        ways = (d for d in self.router.by_role(Role.PUBLIC) if d == primary or _holds(d.networks, flow.destination))
        return {device.addresses[0].ip for device in ways if device.addresses}


def _applies(forward: Forward, flow: Flow) -> bool:
    return (
        forward.protocol in (None, flow.protocol)
        and (forward.public_ports is None or (flow.protocol in _PORTS and flow.port in forward.public_ports))
        and (not forward.sources or _inside(flow.source, forward.sources))
    )


def _verdict(rules: RuleList, flow: Flow, translated: bool = False) -> bool:
    """Return what the first matching rule says, else the default of the list."""
    rule = decisive(rules, flow, translated)
    return rules.default_allow if rule is None else rule.allow


def decisive(rules: RuleList, flow: Flow, translated: bool = False) -> Rule | None:
    """Return the first rule that matches, or None; a translated flow is seen with its inner destination."""
    destination = flow.reply_source if translated else flow.destination
    port = flow.reply_port if translated and flow.protocol in _PORTS else flow.port
    return next((rule for rule in rules.rules if matches(rule.match, flow, destination, port)), None)


class Sent(Protocol):
    """What a rule looks at besides the destination: flows of both families have it."""

    @property
    def protocol(self) -> str: ...
    @property
    def source(self) -> IPv4Address | IPv6Address: ...
    @property
    def code(self) -> int: ...


def matches(match: Match, flow: Sent, destination: IPv4Address | IPv6Address, port: int) -> bool:
    """Tell whether a rule applies to a flow with this destination and port."""
    if match.protocol not in (None, flow.protocol):
        return False
    if match.ports is not None and port not in match.ports:
        return False
    if match.icmp_type not in (None, port) or match.icmp_code not in (None, flow.code):
        return False
    return _inside(flow.source, match.sources) and _inside(destination, match.destinations)


def _holds(networks: tuple[IPv4Network, ...], ip: IPv4Address) -> bool:
    return any(ip in network for network in networks)


def _inside(ip: IPv4Address | IPv6Address, cidrs: tuple[str, ...]) -> bool:
    value = int(ip)
    return not cidrs or any(first <= value <= last for first, last in map(span, cidrs))


@lru_cache(65536)
def span(cidr: str) -> tuple[int, int]:
    """Return the first and the last address of a network, as numbers."""
    network = IPv6Network(cidr) if ":" in cidr else IPv4Network(cidr)
    return int(network.network_address), int(network.broadcast_address)
