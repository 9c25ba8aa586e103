# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The router as tables for people and for programs: one row per thing, all values texts, and no secret among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Match,
    Role,
    Router,
    RuleList,
)

Row = dict[str, str]
Table = list[Row]
ANY = "any"


def tables(router: Router) -> dict[str, Table]:
    """Return every table by its topic."""
    return {topic: table(router) for topic, table in _TABLES.items()}


def _router(router: Router) -> Table:
    settings = router.settings
    facts = {
        "name": settings.name,
        "kind": settings.kind.value,
        "domain": settings.domain,
        "redundant": str(settings.redundant).lower(),
        "state": router.state.value if settings.redundant else "",
        "routed": str(settings.routed).lower(),
        "vpc_cidr": str(settings.vpc_cidr or ""),
        "resolvers": " ".join(settings.resolvers),
    }
    found = [{"what": name, "value": value} for name, value in facts.items() if value]
    found += [{"what": "pending", "value": text} for text in router.pending]
    return found + [{"what": "warning", "value": text} for text in router.warnings]


def _device(device: Device) -> Row:
    six = (device.six.own, device.six.shared) if device.six else ()
    return {
        "nic": device.name,
        "role": device.role.value,
        "addresses": " ".join(str(a) for a in (*(address.interface for address in device.addresses), *six) if a),
        "gateway": str(device.gateway or ""),
        "mtu": str(device.mtu),
        "domain": device.domain or "",
    }


def _nat(router: Router) -> Table:
    found = [
        {
            "kind": "forward",
            "public": str(forward.public_ip),
            "protocol": forward.protocol or "tcp udp",
            "ports": str(forward.public_ports or "all"),
            "internal": str(forward.internal_ip),
            "internal_ports": str(forward.internal_ports or forward.public_ports or "all"),
            "sources": " ".join(forward.sources) or ANY,
        }
        for forward in router.forwards
    ]
    found += [_one_to_one("static", str(nat.public_ip), str(nat.internal_ip)) for nat in router.static_nats]
    if not router.settings.routed:
        publics = [d for d in router.by_role(Role.PUBLIC) if d.addresses]
        publics += [d for d in router.by_role(Role.PRIVATE_GATEWAY) if d.source_nat and d.addresses]
        found += [_one_to_one("source", str(device.addresses[0].ip), f"out by {device.name}") for device in publics]
    return found


def _one_to_one(kind: str, public: str, internal: str) -> Row:
    whole = {"protocol": ANY, "ports": "all", "internal": internal, "internal_ports": "all", "sources": ANY}
    return {"kind": kind, "public": public, **whole}


def _firewall(router: Router) -> Table:
    found = []
    for ip, rules in router.firewall.items():
        found += _rules(f"into {ip}", rules)
    whole = router.settings.kind is not Kind.VPC
    if whole and router.settings.routed:
        found += _rules("into the network", router.inbound)
    found += _rules("out of the network", router.egress)
    if whole and router.with_ipv6(Role.GUEST):
        found += _rules("into the network, IPv6", router.inbound6) + _rules("out of the network, IPv6", router.egress6)
    return found


def _acls(router: Router) -> Table:
    found = []
    for name, (ingress, egress) in sorted(router.acls.items()):
        found += _rules(f"towards {name}", ingress) + _rules(f"from {name}", egress)
    for name, (ingress, egress) in sorted(router.acls6.items()):
        found += _rules(f"towards {name}, IPv6", ingress) + _rules(f"from {name}, IPv6", egress)
    return found


def _rules(way: str, rules: RuleList) -> Table:
    found = [{"way": way, "action": _action(r.allow), **_match(r.match), "record": r.label} for r in rules.rules]
    return [*found, {"way": way, "action": _action(rules.default_allow), **_match(Match()), "record": "default"}]


def _action(allow: bool) -> str:
    return "allow" if allow else "deny"


def _match(match: Match) -> Row:
    what = str(match.ports) if match.ports else ANY
    if match.protocol == "icmp":
        number = ANY if match.icmp_type is None else str(match.icmp_type)
        what = number if match.icmp_code is None else f"{number}/{match.icmp_code}"
    return {
        "protocol": match.protocol or ANY,
        "ports": what,
        "sources": " ".join(match.sources) or ANY,
        "destinations": " ".join(match.destinations) or ANY,
    }


def _dhcp(router: Router) -> Table:
    return [
        {
            "ip": str(host.ip),
            "mac": host.mac,
            "name": host.name,
            "nic": host.device,
            "default_nic": str(host.default_nic).lower(),
        }
        for host in router.hosts
    ]


def _load_balancer(router: Router) -> Table:
    listeners = router.load_balancer.listeners if router.load_balancer else ()
    return [{"listener": f"{listener.ip or ANY}:{listener.port}"} for listener in listeners]


def _routes(router: Router) -> Table:
    connected = [(str(n), "", device.name) for device in router.devices for n in device.networks]
    connected += [(str(device.six.network), "", device.name) for device in router.devices if device.six]
    given = [(str(route.network), str(route.gateway), route.device) for route in router.routes]
    defaults = [("default", str(d.gateway), d.name) for d in _ways_out(router) if d.gateway]
    return [{"network": n, "via": via, "nic": nic} for n, via, nic in (*defaults, *given, *connected)]


def _ways_out(router: Router) -> Iterable[Device]:
    first = router.primary_public
    others = (device for device in router.by_role(Role.PUBLIC) if device != first)
    return (first, *others) if first else ()


def _vpn(router: Router) -> Table:
    return [
        {
            "peer": tunnel.peer,
            "local": str(tunnel.local_id),
            "local_networks": " ".join(map(str, tunnel.local_networks)),
            "remote_networks": " ".join(map(str, tunnel.remote_networks)),
            "ike": " ".join(tunnel.ike_proposals),
            "esp": " ".join(tunnel.esp_proposals),
            "passive": str(tunnel.passive).lower(),
        }
        for tunnel in router.vpn.tunnels
    ]


def _bgp(router: Router) -> Table:
    speaks = router.bgp
    if speaks is None:
        return []
    return [
        {
            "peer": str(session.peer),
            "as": str(session.remote_as),
            "own_as": str(speaks.own_as),
            "networks": " ".join(map(str, session.networks)),
            "hops": str(session.hops or ""),
        }
        for session in speaks.sessions
    ]


def _pair(router: Router) -> Table:
    link = router.pair_link
    if link is None:
        return []
    found = [
        {"what": "state", "value": router.state.value},
        {"what": "link", "value": link.name},
        {"what": "own address", "value": str(link.own)},
        {"what": "shared address", "value": str(link.shared)},
        {"what": "over", "value": " ".join(device.name for device in link.wires)},
    ]
    moved = (f"{v.interface} on {v.device.name}" for v in router.virtual_addresses)
    return found + [{"what": "moves", "value": text} for text in moved]


def difference(before: dict[str, Table], after: dict[str, Table]) -> dict[str, tuple[Table, Table]]:
    """Return by topic the rows that go and those that come; topics without any are left out."""
    found = {}
    for topic, rows in after.items():
        old = before.get(topic, [])
        was, now = {_key(row) for row in old}, {_key(row) for row in rows}
        gone = [row for row in old if _key(row) not in now]
        new = [row for row in rows if _key(row) not in was]
        if gone or new:
            found[topic] = (gone, new)
    return found


def _key(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(row.items())


def _tiers(router: Router) -> Table:
    return [_device(device) for device in router.devices]


_TABLES: dict[str, Callable[[Router], Table]] = {
    "router": _router,
    "tiers": _tiers,
    "nat": _nat,
    "firewall": _firewall,
    "acl": _acls,
    "dhcp": _dhcp,
    "lb": _load_balancer,
    "routes": _routes,
    "vpn": _vpn,
    "bgp": _bgp,
    "pair": _pair,
}
TOPICS = tuple(_TABLES)
