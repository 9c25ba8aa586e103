# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Port forwards, static NAT and source NAT as nft maps: one look-up per packet however many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    Role,
    Router,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    NamedSet,
    SetPool,
    merge_networks,
    named_after,
    table,
)

PROTOCOLS = ("tcp", "udp")
FTP = 21


def precedence(forward: Forward) -> tuple[Any, ...]:
    """Return the key by which forwards are asked: restricted to sources, then by the port, the range, the address."""
    ports = forward.public_ports or Ports(0, 65535)
    if forward.public_ports is None:
        shape = 2
    else:
        shape = int(ports == (forward.internal_ports or ports) and ports.first != ports.last)
    span = (ports.first, ports.last)
    return (not forward.sources, forward.sources, shape, span, forward.protocol or "~", forward.internal_ip)


@dataclass(slots=True)
class _Targets:
    """Where the forwards with one source list lead, by protocol.

    A single port, or a range that is shifted, has an element per port (nft has no port shift, N9); a range that
    keeps its ports is one interval.
    """

    single: dict[str, dict[str, str]] = field(default_factory=dict)
    ranges: dict[str, dict[IPv4Address, list[tuple[Ports, IPv4Address]]]] = field(default_factory=dict)
    whole: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, forward: Forward) -> None:
        """File a forward under each of its protocols."""
        if forward.protocol is None and forward.public_ports is None:
            self.whole.setdefault("any", {}).setdefault(str(forward.public_ip), str(forward.internal_ip))
            return
        for protocol in PROTOCOLS if forward.protocol is None else (forward.protocol,):
            self._add(protocol, forward)

    def _add(self, protocol: str, forward: Forward) -> None:
        public, inner = forward.public_ports, forward.internal_ports or forward.public_ports
        if public is None or inner is None:
            self.whole.setdefault(protocol, {}).setdefault(str(forward.public_ip), str(forward.internal_ip))
        elif public == inner and public.first != public.last:
            by_address = self.ranges.setdefault(protocol, {})
            by_address.setdefault(forward.public_ip, []).append((public, forward.internal_ip))
        else:
            known = self.single.setdefault(protocol, {})
            for offset in range(public.last - public.first + 1):
                key = f"{forward.public_ip} . {public.first + offset}"
                known.setdefault(key, f"{forward.internal_ip} . {inner.first + offset}")


def _intervals(by_address: dict[IPv4Address, list[tuple[Ports, IPv4Address]]]) -> dict[str, str]:
    """Return the elements of the ranges; where two overlap the lower one keeps its ports."""
    elements: dict[str, str] = {}
    for public_ip, ranges in by_address.items():
        free = 0
        for ports, internal_ip in ranges:  # in the order of precedence, so by their first ports
            first = max(ports.first, free)
            if first <= ports.last:
                elements[f"{public_ip} . {Ports(first, ports.last)}"] = str(internal_ip)
                free = ports.last + 1
    return elements


@dataclass(frozen=True, slots=True)
class Nat:
    """The maps of address translation, and the rules that look them up, in order."""

    maps: tuple[NamedSet, ...]
    destination_rules: tuple[str, ...]


def destinations(router: Router, public: frozenset[IPv4Address], pool: SetPool) -> Nat:
    """Return the destination NAT; forwards restricted to sources come first, static NAT last.

    An address that is on no NIC is in no map (B17).
    """
    groups: dict[tuple[str, ...], _Targets] = {}
    for forward in sorted(router.forwards, key=precedence):
        if forward.public_ip in public:
            groups.setdefault(forward.sources, _Targets()).add(forward)
    maps: list[NamedSet] = []
    rules: list[str] = []
    for sources, targets in sorted(groups.items(), key=lambda item: (not item[0], item[0])):
        condition = f"{_condition(sources, pool)} " if sources else ""
        for found, statement in _lookups(named_after("forwards", sources) if sources else "forwards", targets):
            maps.append(found)
            rules.append(f"{condition}{statement}")
    static = {str(nat.public_ip): str(nat.internal_ip) for nat in router.static_nats if nat.public_ip in public}
    maps.append(table("static_nat", "ipv4_addr", "ipv4_addr", static))
    rules.append("dnat ip to ip daddr map @static_nat")
    return Nat(tuple(maps), tuple(rules))


def _condition(sources: tuple[str, ...], pool: SetPool) -> str:
    merged = merge_networks(sources)
    return f"ip saddr {merged[0]}" if len(merged) == 1 else f"ip saddr @{pool.name('networks', 'ipv4_addr', merged)}"


def _lookups(prefix: str, targets: _Targets) -> Iterable[tuple[NamedSet, str]]:
    key = "ipv4_addr . inet_service"
    for protocol, elements in sorted(targets.single.items()):
        found = table(f"{prefix}_{protocol}", key, key, elements)
        yield found, f"dnat ip to ip daddr . {protocol} dport map @{found.name}"
    for protocol, by_address in sorted(targets.ranges.items()):
        intervals = _intervals(by_address)
        name = named_after(f"{prefix}_{protocol}_ranges", (f"{k} {v}" for k, v in intervals.items()))
        found = table(name, key, "ipv4_addr", intervals, interval=True)
        yield found, f"dnat ip to ip daddr . {protocol} dport map @{found.name}"
    for protocol, elements in sorted(targets.whole.items(), key=lambda item: (item[0] == "any", item[0])):
        found = table(f"{prefix}_{protocol}_whole", "ipv4_addr", "ipv4_addr", elements)
        condition = "" if protocol == "any" else f"ip protocol {protocol} "
        yield found, f"{condition}dnat ip to ip daddr map @{found.name}"


def sources(router: Router) -> tuple[NamedSet, ...]:
    """Return the maps of source NAT: of static NAT VMs, of each public NIC (D3), and for hairpin connections (D6).

    A private gateway translates only where it is asked to (E4), and nobody does between the networks of a VPC.
    In routed mode nobody does at all: the guest networks are known outside.
    """
    inside = (str(router.settings.vpc_cidr),) if router.settings.vpc_cidr else ()
    static: dict[str, str] = {}
    marks: dict[str, str] = {}
    for nat in router.static_nats:
        device = router.device_of(nat.public_ip)
        if device is not None and device.role is Role.PUBLIC:
            static.setdefault(f"{device.name} . {nat.internal_ip}", str(nat.public_ip))
            marks.setdefault(str(nat.internal_ip), str(device.table))
    leaving = [*router.by_role(Role.PUBLIC), *(d for d in router.by_role(Role.PRIVATE_GATEWAY) if d.source_nat)]
    nics = {d.name: str(d.addresses[0].ip) for d in leaving if d.addresses}
    guests = {d.name: str(router.guest_address(d)) for d in router.by_role(Role.GUEST) if d.addresses}
    if router.settings.routed:
        nics, guests = {}, {}
    return (
        NamedSet("vpc_networks", "ipv4_addr", inside, interval=True),
        table("static_nat_source", "ifname . ipv4_addr", "ipv4_addr", static),
        table("static_nat_mark", "ipv4_addr", "mark", marks),
        table("nic_source", "ifname", "ipv4_addr", nics),
        table("hairpin_source", "ifname", "ipv4_addr", guests),
    )


def ftp_servers(router: Router, public: frozenset[IPv4Address]) -> NamedSet:
    """Return where FTP servers of VMs are reached from outside: what leads to their port 21, whatever its own number.

    Connection tracking must know before the translation, which it has to repeat for what the two ends tell each other.
    No listener of the load balancer is here: haproxy ends these connections, and a VM's word would open its own ports.
    """
    found = {f"{nat.public_ip} . {FTP}" for nat in router.static_nats if nat.public_ip in public}
    for forward in router.forwards:
        ports = forward.public_ports or Ports(0, 65535)
        inner = forward.internal_ports or ports
        port = ports.first + FTP - inner.first
        if forward.public_ip in public and forward.protocol in (None, "tcp") and port in ports:
            found.add(f"{forward.public_ip} . {port}")
    return NamedSet("ftp_servers", "ipv4_addr . inet_service", tuple(sorted(found)))
