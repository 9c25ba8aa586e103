# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Links, addresses, routes and policy routing: the wanted state, and the difference to the live one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Role,
    Router,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import ipv6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Announce,
    File,
    IpBatch,
    Step,
    Wanted,
)

MAIN = 254
DEFAULT6 = "::/0"
DEFAULTS = ("default", DEFAULT6)
"""The default routes of IPv4 and of IPv6."""
MARK_PRIORITY, SOURCE_PRIORITY = 1000, 2000
"""A rule of table T has priority 1000 + T when it looks at the mark, 2000 + T when at the source."""


@dataclass(frozen=True, slots=True)
class Link:
    """State of a link."""

    up: bool
    mtu: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route; `kind` is unicast or throw, empty texts mean none. Those that are wanted have the best metric, 0.

    One that was added `by_hand` is no other route for it.
    """

    table: int
    network: str
    kind: str = "unicast"
    via: str = ""
    device: str = ""
    metric: int = 0
    by_hand: bool = field(default=False, compare=False)

    @property
    def line(self) -> str:
        """Return the route as `ip route` takes it to set it."""
        return f"{self.selector} proto static"

    @property
    def selector(self) -> str:
        """Return the route as `ip route del` takes it, whoever made it."""
        parts = [self.kind if self.kind != "unicast" else "", self.network]
        parts += ["via", self.via] if self.via else []
        parts += ["dev", self.device] if self.device else []
        parts += ["table", str(self.table)]
        parts += ["metric", str(self.metric)] if self.metric else []
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, order=True)
class PolicyRule:
    """A policy routing rule by source network or by mark; `foreign` is the priority of one that we never make."""

    table: int
    source: str = ""
    mark: int = 0
    foreign: int = 0

    @property
    def line(self) -> str:
        """Return the rule as `ip rule` takes it."""
        if self.foreign:
            return f"lookup {self.table} priority {self.foreign}"
        if self.mark:
            return f"fwmark {self.mark} lookup {self.table} priority {MARK_PRIORITY + self.table}"
        return f"from {self.source} lookup {self.table} priority {SOURCE_PRIORITY + self.table}"


@dataclass(frozen=True, slots=True)
class Network:
    """Links, addresses (IPv4 in order) by device, routes and rules: of the plan, or of the kernel."""

    links: dict[str, Link] = field(default_factory=dict)
    addresses: dict[str, tuple[IPv4Interface, ...]] = field(default_factory=dict)
    routes: frozenset[Route] = frozenset()
    rules: frozenset[PolicyRule] = frozenset()
    addresses6: dict[str, frozenset[IPv6Interface]] = field(default_factory=dict)


def network(router: Router) -> Network:
    """Return the wanted state; a NIC without a role is down and has no address (D12).

    A link that is down has no routes: those of a backup's public links come with the transition (C4, C18).
    """
    links = {nic.name: Link(up=False) for nic in router.nics}
    links.update({d.name: Link(router.is_up(d), d.mtu) for d in router.devices})
    addresses: dict[str, tuple[IPv4Interface, ...]] = {nic.name: () for nic in router.nics}
    addresses.update({d.name: tuple(a.interface for a in d.addresses) for d in router.devices})
    routes = (route for route in _routes(router) if not route.device or links[route.device].up)
    return Network(links, addresses, frozenset(routes), frozenset(_rules(router)), ipv6.addresses(router))


def wanted(router: Router, cpus: int) -> Wanted:
    """Return the table names and the per-NIC kernel settings; `cpus` is the number of processors."""
    tables = [f"{d.table} Table_{d.name}\n" for d in router.devices if d.role is not Role.CONTROL]
    knobs = [("/proc/sys/net/ipv4/ip_forward", "1" if router.settings.kind.routes else "0"), ipv6.forwarding(router)]
    for device in router.devices:
        strict = "1" if _strict(router, device) else "0"
        knobs.append((f"/proc/sys/net/ipv4/conf/{device.name}/rp_filter", strict))
        if cpus > 1:
            queue = f"/sys/class/net/{device.name}/queues/rx-0"
            knobs += [(f"{queue}/rps_cpus", _mask(cpus)), (f"{queue}/rps_flow_cnt", "256")]
    knobs += ipv6.knobs(router)
    header = "# Owned by cloudstack.virtual_router (interfaces): do not edit.\n"
    return Wanted(
        files=(File("/etc/iproute2/rt_tables.d/cloudstack.conf", header + "".join(tables)),),
        knobs=tuple(knobs),
    )


def _strict(router: Router, device: Device) -> bool:
    """Tell whether only sources that are routed to the NIC may come in by it.

    `disable_rp_filter` is about public NICs; several of them, or none, make ways back differ from ways in.
    """
    if device.role is Role.GUEST:
        return router.settings.public_network
    outside = router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)
    return device.role is Role.PUBLIC and len(outside) == 1 and not router.settings.disable_rp_filter


def _mask(cpus: int) -> str:
    """Return the mask of all processors: hexadecimal, a comma every 32 bits, or the kernel refuses it."""
    digits = f"{(1 << cpus) - 1:x}"
    first = len(digits) % 8 or 8
    return ",".join([digits[:first], *(digits[i : i + 8] for i in range(first, len(digits), 8))])


def _routes(router: Router) -> list[Route]:
    routes = [*_default_route(router), *_management_routes(router)]
    routes += [Route(MAIN, DEFAULT6, via=hop, device=name) for name, hop in ipv6.default_routes(router)]
    for device in router.devices:
        if device.role in (Role.PUBLIC, Role.PRIVATE_GATEWAY) and router.settings.kind.routes:
            routes += _outside_table(router, device)
        elif device.role is not Role.CONTROL:
            routes += [Route(device.table, str(n), device=device.name) for n in device.networks]
    for static in router.routes:
        tables = (MAIN, *(d.table for d in router.devices if d.name == static.device))
        routes += [Route(t, str(static.network), via=str(static.gateway), device=static.device) for t in tables]
    return routes


def _default_route(router: Router) -> list[Route]:
    """Return the default route, none when its NIC is not there yet (C4)."""
    settings = router.settings
    if settings.kind is Kind.VPC:
        device = router.primary_public or _lowest_tier(router)
        gateway = None if device is None else device.gateway
    else:
        gateway = settings.gateway
        holders = [d for d in router.devices if any(gateway in n for n in d.networks if gateway)]
        device = next(iter(holders), None)
    if device is None or gateway is None or any(a.ip == gateway for a in device.addresses):
        return []
    if any(virtual.interface.ip == gateway for virtual in router.virtual_addresses):
        return []
    return [Route(MAIN, "default", via=str(gateway), device=device.name)]


def _lowest_tier(router: Router) -> Device | None:
    tiers = router.by_role(Role.GUEST)
    return min(tiers, key=lambda tier: tier.network_id) if tiers and not router.settings.public_network else None


def _management_routes(router: Router) -> list[Route]:
    gateway, control = router.settings.management_gateway, router.by_role(Role.CONTROL)
    if gateway is None or not control or not any(gateway in n for n in control[0].networks):
        return []
    name = control[0].name
    wanted_networks = [n for n in router.settings.management_networks if n not in control[0].networks]
    return [Route(MAIN, str(n), via=str(gateway), device=name) for n in wanted_networks]


def _outside_table(router: Router, device: Device) -> list[Route]:
    """Return the table of a public NIC or a private gateway: out by its gateway, as replies leave where requests came.

    What is elsewhere is looked up elsewhere (D2, E3). A router that is the gateway itself has nowhere to send to.
    """
    inside = [n for d in router.devices if d.role is not Role.PUBLIC for n in d.networks]
    routed = [static.network for static in router.routes if static.device != device.name]
    elsewhere = dict.fromkeys([*device.networks, *inside, *routed])
    routes = [Route(device.table, str(n), kind="throw") for n in elsewhere]
    gateway = device.gateway
    if gateway is not None and all(address.ip != gateway for address in device.addresses):
        routes.append(Route(device.table, "default", via=str(gateway), device=device.name))
    return routes


def _rules(router: Router) -> list[PolicyRule]:
    if not router.settings.kind.routes:
        return []
    rules = [PolicyRule(d.table, mark=d.table) for d in router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)]
    for device in router.by_role(Role.PUBLIC):
        rules += [PolicyRule(device.table, source=str(n)) for n in device.networks]
    return rules


def compare(router: Router, live: Network) -> list[Step]:
    """Return the steps from live to wanted: stale state goes first, then links, addresses, routes, rules."""
    target = network(router)
    new, stale = _addresses(target, _without_virtual(router, live))
    new6, stale6 = ipv6.compare(router, target.addresses6, live.addresses6)
    undone = [f"rule del {rule.line}" for rule in sorted(live.rules - target.rules)]
    stale_routes, foreign = _stale_routes(router, target, live)
    undone += [f"route del {route.selector}" for route in stale_routes]
    undone += [f"addr del {interface} dev {device}" for device, interface in (*stale, *stale6)]
    lines = [*undone, *_links(target, live)]
    lines += [f"addr add {interface} brd + dev {device}" for device, interface in new]
    lines += [f"addr add {interface} dev {device} nodad" for device, interface in new6]
    lost = {device for device, _interface in [*new, *stale, *new6, *stale6]} | _raised(target, live)
    lines += [
        f"route replace {route.line}"
        for route in sorted(target.routes)
        if route not in live.routes or route.device in lost
    ]
    lines += [f"rule add {rule.line}" for rule in sorted(target.rules - live.rules)]
    if not lines:
        return []
    steps: list[Step] = [IpBatch(tuple(lines), foreign=tuple(route.selector for route in foreign))]
    next_hops = {(d.name, a.ip): str(a.gateway) for d in router.devices for a in d.addresses if a.gateway is not None}
    announced = [
        (device, str(interface.ip), next_hops.get((device, interface.ip), ""))
        for device, interface in new
        if target.links[device].up
    ]
    announced += [(device, str(interface.ip), "") for device, interface in new6 if target.links[device].up]
    return [*steps, Announce(tuple(announced))] if announced else steps


def _stale_routes(router: Router, target: Network, live: Network) -> tuple[list[Route], list[Route]]:
    """Return the routes to delete, those that are replaced left out; and all that go though somebody made them.

    A route that was added by hand stays where it contradicts nothing: it is in the main table, and leads to no part of
    a network that the router is connected to or has a route to. The default route is the router's own matter.
    """
    known: list[IPv4Network | IPv6Network] = [n for device in router.devices for n in device.networks]
    known += [device.six.network for device in router.devices if device.six]
    known += [ip_network(r.network) for r in target.routes if r.table == MAIN and r.network not in DEFAULTS]
    replaced = {(route.table, route.network, route.metric) for route in target.routes}
    stale, foreign = [], []
    gone = {device.name for device in router.devices if device.six is None}
    for route in sorted(live.routes - target.routes):
        if ":" in route.network and route.device in gone:
            continue  # They go with IPv6 itself.
        if route.by_hand and _contradicts_nothing(route, known):
            continue
        if (route.table, route.network, route.metric) not in replaced:
            stale.append(route)
        if route.by_hand:
            foreign.append(route)
    return stale, foreign


def _contradicts_nothing(route: Route, known: list[IPv4Network | IPv6Network]) -> bool:
    if route.table != MAIN or route.network in DEFAULTS:
        return False
    network = ip_network(route.network)
    if isinstance(network, IPv4Network):
        return not any(network.subnet_of(other) for other in known if isinstance(other, IPv4Network))
    return not any(network.subnet_of(other) for other in known if isinstance(other, IPv6Network))


def _addresses(
    target: Network, live: Network
) -> tuple[list[tuple[str, IPv4Interface]], list[tuple[str, IPv4Interface]]]:
    """Return addresses to add and to remove.

    The first address of a subnet is its primary one, so where that is wrong the whole subnet is added anew.
    """
    new: list[tuple[str, IPv4Interface]] = []
    stale: list[tuple[str, IPv4Interface]] = []
    for device, wanted_addresses in target.addresses.items():
        present = live.addresses.get(device, ())
        if present == wanted_addresses:
            continue
        there, asked = frozenset(present), frozenset(wanted_addresses)
        kept = _primaries(address for address in present if address in asked)
        wanted = _primaries(wanted_addresses)
        redo = {subnet for subnet, first in kept.items() if wanted[subnet] != first}
        stale += [(device, a) for a in present if a not in asked or a.network in redo]
        new += [(device, a) for a in wanted_addresses if a not in there or a.network in redo]
    return new, stale


def _primaries(addresses: Iterable[IPv4Interface]) -> dict[IPv4Network, IPv4Interface]:
    """Return the first address of each subnet."""
    found: dict[IPv4Network, IPv4Interface] = {}
    for address in addresses:
        found.setdefault(address.network, address)
    return found


def _without_virtual(router: Router, live: Network) -> Network:
    """Leave the addresses to VRRP that are its to move."""
    return without(live, ((virtual.device.name, str(virtual.interface.ip)) for virtual in router.virtual_addresses))


def without(live: Network, addresses: Iterable[tuple[str, str]]) -> Network:
    """Return the network without some addresses, pairs of NIC and address, which somebody else takes care of."""
    known = frozenset(addresses)
    if not known:
        return live
    kept = {nic: tuple(a for a in found if (nic, str(a.ip)) not in known) for nic, found in live.addresses.items()}
    return replace(live, addresses=kept)


def _links(target: Network, live: Network) -> list[str]:
    lines = []
    for name, link in target.links.items():
        present = live.links.get(name, Link(up=False))
        if link.mtu is not None and present.mtu != link.mtu:
            lines.append(f"link set dev {name} mtu {link.mtu}")
        if present.up != link.up:
            lines.append(f"link set dev {name} {'up' if link.up else 'down'}")
    return lines


def _raised(target: Network, live: Network) -> set[str]:
    """Return the links that go up now: the kernel forgot their routes when they went down."""
    return {name for name, link in target.links.items() if link.up and not live.links.get(name, Link(False)).up}
