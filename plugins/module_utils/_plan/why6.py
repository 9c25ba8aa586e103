# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what becomes of an IPv6 packet that begins a connection: nothing is translated, so the way and the lists say all.

The order is that of the chains sources, input and forward6 of the ruleset.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Role,
    Router,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules6 import CLOSED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import ipv6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import (
    FORWARDED,
    OWN,
    ROUTER,
    UNKNOWN,
    Answer,
    Packet6,
    begun,
    is_for_bgp,
    role,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import sources
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge6 import Flow6, decisive6

_ANSWERED = frozenset((1, 2, 3, 4, 128, 129))
"""Types of ICMPv6 that the chain input accepts from anywhere; the rest of them are of one link."""
_ERRORS = frozenset((1, 2, 3, 4))


def explain6(router: Router, packet: Packet6) -> Answer:
    """Return what the router does with a packet. Pure; nothing live but the state of VRRP is known."""
    found = begun(packet)
    if why := _beyond(router, packet):
        found.ends = UNKNOWN
        found.say(why)
        return found
    if packet.source in _own(router) and not packet.nic:
        return _from_router(router, packet, found)
    device = _enters_by(router, packet)
    if device is None:
        return found.drop(f"{packet.source} is behind no NIC of this router")
    found.nic_in = device.name
    found.say(f"comes in by {device.name} ({role(device)})")
    if device.six is None:
        return found.drop(f"{device.name} has no IPv6")
    if not router.is_up(device):
        return found.drop(f"the link of {device.name} is down: the other router of the pair is the primary")
    if packet.source in _own(router):
        return found.drop(f"{packet.source} is the router's own, nobody else can send from it", "chain sources")
    if not sources.believes(router, packet.source, device.name):
        return found.drop(f"no packet from {packet.source} can come in by {device.name}", "chain sources")
    if packet.destination in _own(router):
        return _arrives(packet, found)
    return _forwarded(router, packet, device, found)


def _beyond(router: Router, packet: Packet6) -> str:
    """Say why nothing is said of a packet."""
    if packet.destination.is_multicast or any(
        ip.is_link_local or ip.is_unspecified for ip in (packet.source, packet.destination)
    ):
        return "what stays on one link is between the daemons and the kernel: only connections are explained"
    own = packet.destination in _own(router)
    if own and is_for_bgp(router, packet):
        return "BGP is for its peers: see nft list set inet cloudstack bgp_peers6"
    return ""


def _own(router: Router) -> set[IPv6Address]:
    """Return the addresses that this router answers: that of a network itself is every router's (RFC 4291, 2.6.1)."""
    found: set[IPv6Address] = set()
    for device in router.with_ipv6():
        if device.six is not None and router.is_up(device):
            moving = () if router.active else device.six.moving
            found |= {interface.ip for interface in device.six.addresses if interface not in moving}
            if any(interface.network == device.six.network for interface in device.six.addresses):
                found.add(device.six.network.network_address)
    return found


def _enters_by(router: Router, packet: Packet6) -> Device | None:
    """Return the NIC that leads to the source: of its own network, else of the outer world."""
    if packet.nic:
        return router.device(packet.nic)
    outside = next(iter(router.with_ipv6(Role.PUBLIC)), None)
    return _connected(router, packet.source) or outside or _routed(router, packet.source)


def _connected(router: Router, ip: IPv6Address) -> Device | None:
    """Return the NIC in whose network an address is; the longest prefix decides, as in routing."""
    sides = [(device.six.network.prefixlen, device) for device in router.devices if device.six]
    inside = [(length, device) for length, device in sides if device.six and ip in device.six.network]
    return max(inside, key=lambda item: item[0])[1] if inside else None


def _routed(router: Router, ip: IPv6Address) -> Device | None:
    """Return the NIC that a packet leaves by."""
    inner = _connected(router, ip)
    if inner is not None:
        return inner
    return next((router.device(name) for name, _hop in ipv6.default_routes(router)), None)


def _from_router(router: Router, packet: Packet6, found: Answer) -> Answer:
    found.nic_in = OWN
    found.say("begins on the router, where nothing is filtered")
    if packet.destination in _own(router):
        found.ends = ROUTER
        return found
    out = _routed(router, packet.destination)
    if out is None:
        return found.drop(f"no route to {packet.destination}")
    found.ends, found.nic_out = FORWARDED, out.name
    return found


def _arrives(packet: Packet6, found: Answer) -> Answer:
    """Ask the chain input."""
    if packet.protocol != "icmp" or packet.port not in _ANSWERED:
        return found.drop("the router answers nothing but ICMP in IPv6", "chain input")
    found.ends = ROUTER
    found.say("answers, as every router does", "chain input")
    return found


def _forwarded(router: Router, packet: Packet6, device: Device, found: Answer) -> Answer:
    """Ask what stands between two NICs."""
    if not router.settings.kind.routes:
        return found.drop("this kind of router forwards nothing")
    out = _routed(router, packet.destination)
    if out is None:
        return found.drop(f"no route to {packet.destination}")
    found.say(f"goes out by {out.name} ({role(out)})")
    if not router.is_up(out):
        return found.drop("a link on this way is down: the other router of the pair is the primary")
    if packet.protocol == "icmp" and packet.port in _ERRORS:
        found.say("errors pass whatever the rules say", "chain forward6")
    elif not _passes(router, packet, (device, out), found):
        return found
    found.ends, found.nic_out = FORWARDED, out.name
    return found


def _passes(router: Router, packet: Packet6, way: tuple[Device, Device], found: Answer) -> bool:
    """Ask the policies of both sides, as the maps forward6_from and forward6_to do."""
    guests = [device.role is Role.GUEST for device in way]
    if not any(guests) or not {device.role for device in way} <= {Role.GUEST, Role.PUBLIC}:
        found.drop(f"nothing is forwarded from {way[0].name} to {way[1].name}", "chain forward6")
        return False
    if way[0] == way[1]:
        return True
    flow = Flow6(packet.protocol, packet.source, packet.destination, packet.port, packet.code)
    for side, name in ((1, "egress"), (0, "ingress")):
        device = way[0] if side else way[1]
        if device.role is not Role.GUEST:
            continue
        rules, title = (router.egress6, router.inbound6)[1 - side], f"{name} rules of IPv6"
        if router.settings.kind is Kind.VPC:
            rules, title = router.acls6.get(device.name, CLOSED)[side], f"{name} ACL of {device.name} for IPv6"
        if not found.asked(decisive6(rules, flow), rules, title):
            return False
    return True
