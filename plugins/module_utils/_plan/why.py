# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what becomes of a packet that begins a connection: which way it goes, what translates it, which rule decides.

The rules are asked by the judge that cuts connections, in the order of the chains of the ruleset. What the router
itself answers is looked up in the sets of that ruleset.

What only some packets need is imported for those: an operator waits for the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    NO_ACL,
    Device,
    Kind,
    Role,
    Router,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import (
    FORWARDED,
    OWN,
    ROUTER,
    UNKNOWN,
    Answer,
    Packet,
    Packet6,
    begun,
    is_for_bgp,
    role,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import nat, sources
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import (
    Flow,
    Judge,
    decisive,
)

EVERYBODY = IPv4Address("255.255.255.255")
_PORTS = ("tcp", "udp")
_WEB = (80, 443, 8080)
IKE = (500, 4500)


def explain(router: Router, packet: Packet | Packet6) -> Answer:
    """Return what the router does with a packet. Pure; nothing live but the state of VRRP is known."""
    if isinstance(packet, Packet6):
        from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.why6 import explain6

        return explain6(router, packet)
    if why := _beyond(router, packet):
        found = begun(packet)
        found.ends = UNKNOWN
        found.say(why)
        return found
    return _Way(router, packet).answer()


def _beyond(router: Router, packet: Packet) -> str:
    """Say why nothing is said of a packet: what decides is not known here, and a guess is worse than none."""
    for tunnel in router.vpn.tunnels:
        for one, other in ((packet.source, packet.destination), (packet.destination, packet.source)):
            if _is_in(one, tunnel.local_networks) and _is_in(other, tunnel.remote_networks):
                return f"between networks of the VPN to {tunnel.peer}: the state of the tunnel decides"
    if _is_for_many(router, packet):
        return (
            "broadcasts, multicasts and packets without an address are the daemons' own: only connections are explained"
        )
    own = router.device_of(packet.destination) is not None
    if own and router.vpn.tunnels and (packet.protocol == "50" or (packet.protocol == "udp" and packet.port in IKE)):
        return "IKE and ESP are for peers of a VPN, some of which are known by name only"
    if own and is_for_bgp(router, packet):
        return "BGP is for its peers: see nft list set inet cloudstack bgp_peers"
    return ""


def _is_for_many(router: Router, packet: Packet) -> bool:
    """Tell whether a packet is for everybody on a link, or comes from one who has no address yet."""
    networks = [network for device in router.devices for network in device.networks if network.prefixlen < 31]
    broadcasts = {EVERYBODY, *(network.broadcast_address for network in networks)}
    return packet.source.is_unspecified or packet.destination.is_multicast or packet.destination in broadcasts


def _is_in(ip: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(ip in network for network in networks)


class _Way:
    """The way of one packet through the chains of the ruleset."""

    def __init__(self, router: Router, packet: Packet) -> None:
        self.router, self.packet, self.judge = router, packet, Judge(router)
        self.found = begun(packet)
        self.flow = Flow(
            packet.protocol,
            packet.source,
            packet.destination,
            40000,
            packet.port,
            packet.destination,
            packet.source,
            packet.port,
            packet.code,
        )

    def answer(self) -> Answer:
        """Walk through prerouting, translation, routing, and what filters then."""
        packet, found = self.packet, self.found
        if packet.source in self._own() and not packet.nic:
            return self._from_router()
        device = self._enters_by()
        if device is None:
            return found.drop(f"{packet.source} is behind no NIC of this router")
        found.nic_in = device.name
        found.say(f"comes in by {device.name} ({role(device)})")
        if packet.source in self._own():
            return found.drop(f"{packet.source} is the router's own, nobody else can send from it", "chain sources")
        if not sources.believes(self.router, packet.source, device.name):
            return found.drop(f"no packet from {packet.source} can come in by {device.name}", "chain sources")
        if device.role is Role.PUBLIC and not self._admitted_by_address():
            return found
        self._translate()
        target = self.flow.reply_source
        if target in self._own():
            return self._arrives(device)
        return self._forwarded(device, target)

    def _own(self) -> set[IPv4Address]:
        return self.judge.own | {
            virtual.interface.ip for virtual in self.router.virtual_addresses if self.router.active
        }

    def _enters_by(self) -> Device | None:
        """Return the NIC that leads to the source: of its own network, else of the outer world."""
        packet, router = self.packet, self.router
        if packet.nic:
            return router.device(packet.nic)
        inner = self.judge.device(packet.source)
        connected = [d for d in router.devices if any(packet.source in n for n in d.networks)]
        holder = router.device_of(packet.destination)
        outside = holder if holder is not None and holder.role is Role.PUBLIC else router.primary_public
        return inner or next(iter(connected), None) or outside or self._routed(packet.source, None)

    def _from_router(self) -> Answer:
        self.found.nic_in = OWN
        self.found.say("begins on the router, where nothing is filtered")
        self._translate()
        if self.flow.reply_source in self._own():
            self.found.ends = ROUTER
            return self.found
        way = self._routed(self.flow.reply_source, None)
        if way is None:
            return self.found.drop(f"no route to {self.flow.reply_source}")
        self.found.ends, self.found.nic_out = FORWARDED, way.name
        return self.found

    def _admitted_by_address(self) -> bool:
        """Ask the firewall of the public address; what goes on to a network that is known outside has none."""
        destination, router = self.packet.destination, self.router
        if router.settings.routed and (destination not in self._own() or self.packet.protocol == "icmp"):
            return True
        if destination not in self.judge.public:
            self.found.drop(f"{destination} is no public address of this router", "chain from_public")
            return False
        if not router.settings.per_ip_firewall:
            return True
        rules = router.firewall.get(destination, RuleList())
        return self._asked(rules, f"firewall of {destination}", translated=False)

    def _asked(self, rules: RuleList, name: str, *, translated: bool) -> bool:
        """Ask a list of rules, and note which one decided."""
        return self.found.asked(decisive(rules, self.flow, translated), rules, name)

    def _translate(self) -> None:
        target = self.judge.translation(self.flow) if self.packet.destination in self.judge.public else None
        if target is None:
            return
        ip, port = target
        self.flow = replace(self.flow, reply_source=ip, reply_port=port)
        self.found.destination, self.found.port = str(ip), port
        ported = f" port {port}" if self.packet.protocol in _PORTS else ""
        self.found.say(f"its destination becomes {ip}{ported}", f"forwardingrules {self.packet.destination}")

    def _routed(self, target: IPv4Address, source: Device | None) -> Device | None:
        """Return the NIC that a packet leaves by: VMs with static NAT go out by the NIC of their address."""
        marked = self._marked() if source is not None and source.role is Role.GUEST else None
        inner = self.judge.device(target)
        connected = [d for d in self.router.devices if any(target in network for network in d.networks)]
        if marked is not None and marked in connected:
            return marked
        if inner is not None or any(d.role is not Role.PUBLIC for d in connected):
            return inner or next(d for d in connected if d.role is not Role.PUBLIC)
        if marked is not None and marked.gateway is not None:
            return marked
        if connected:
            return connected[0]
        from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces

        every = interfaces.network(self.router).routes
        routes = [r for r in every if r.table == interfaces.MAIN and r.kind == "unicast" and ":" not in r.network]
        holding = [r for r in routes if r.network == "default" or target in IPv4Network(r.network)]
        if not holding:
            return None
        best = max(holding, key=lambda r: -1 if r.network == "default" else IPv4Network(r.network).prefixlen)
        return self.router.device(best.device)

    def _marked(self) -> Device | None:
        publics = [
            self.router.device_of(n.public_ip) for n in self.router.static_nats if n.internal_ip == self.packet.source
        ]
        return next((d for d in publics if d is not None and d.role is Role.PUBLIC), None)

    def _forwarded(self, device: Device, target: IPv4Address) -> Answer:
        """Ask what stands between two NICs, then translate the source."""
        found, router = self.found, self.router
        if not router.settings.kind.routes:
            return found.drop("this kind of router forwards nothing")
        out = self._routed(target, device)
        if out is None:
            return found.drop(f"no route to {target}")
        found.say(f"goes out by {out.name} ({role(out)})")
        if not router.is_up(out) or not router.is_up(device):
            return found.drop("a link on this way is down: the other router of the pair is the primary")
        if device.role is Role.PUBLIC and target == self.packet.destination and not router.settings.routed:
            return found.drop("nothing from outside is forwarded untranslated", "chain forward")
        if not self._passes(device, out):
            return found
        found.ends, found.nic_out = FORWARDED, out.name
        self._translate_source(device, out)
        return found

    def _passes(self, device: Device, out: Device) -> bool:
        """Ask the policies of both sides, as the maps forward_from and forward_to do."""
        guests = (Role.GUEST,)
        inner = (Role.GUEST, Role.PRIVATE_GATEWAY) if self.router.settings.kind is Kind.VPC else guests
        pair = (device.role in inner, out.role in inner)
        known = pair[0] and pair[1]
        known = known or (device.role in guests and out.role is Role.PUBLIC) or (device.role is Role.PUBLIC and pair[1])
        if not known and not (device.role in inner and out.role is Role.PUBLIC):
            self.found.drop(f"nothing is forwarded from {device.name} to {out.name}", "chain forward")
            return False
        if self.router.settings.routed and device == out:
            return True
        if self.router.settings.kind is not Kind.VPC:
            if self.router.settings.routed and device.role is Role.PUBLIC:
                return self._asked(self.router.inbound, "rules for what comes in", translated=False)
            return out.role is not Role.PUBLIC or self._asked(self.router.egress, "egress rules", translated=False)
        acls = {d.name: self.router.acls.get(d.name, NO_ACL) for d in (device, out) if d.role in inner}
        if device.name in acls and not self._asked(
            acls[device.name][1], f"egress ACL of {device.name}", translated=True
        ):
            return False
        if out.name in acls:
            return self._asked(acls[out.name][0], f"ingress ACL of {out.name}", translated=True)
        if known:
            return True
        self.found.drop(f"nothing is forwarded from {device.name} to {out.name}", "chain forward")
        return False

    def _translate_source(self, device: Device, out: Device) -> None:
        """Say what the source becomes, in the order of the chain srcnat."""
        router, source = self.router, self.packet.source
        translated = self.flow.reply_source != self.packet.destination
        cidr = router.settings.vpc_cidr
        maps = {item.name: dict(_pairs(item.elements)) for item in nat.sources(router)}
        if device.role is not Role.PUBLIC and translated and out.name in maps["hairpin_source"]:
            self._becomes(maps["hairpin_source"][out.name], "hairpin: answers must come back this way")
        elif cidr is not None and source in cidr and self.flow.reply_source in cidr:
            return
        elif f"{out.name} . {source}" in maps["static_nat_source"]:
            self._becomes(maps["static_nat_source"][f"{out.name} . {source}"], "forwardingrules, static NAT")
        elif out.name in maps["nic_source"]:
            self._becomes(maps["nic_source"][out.name], f"source NAT of {out.name}")

    def _becomes(self, address: str, by: str) -> None:
        self.found.source = address
        self.found.say(f"its source becomes {address}", by)

    def _arrives(self, device: Device) -> Answer:
        """Ask the chain input: what the router itself answers to whom."""
        found = self.found
        service = self._service(device, self.flow.reply_source, self.flow.reply_port)
        if not service:
            return found.drop(f"the router answers no such packet by {device.name}", "chain input")
        found.ends = ROUTER
        found.say(service, "chain input")
        return found

    def _service(self, device: Device, target: IPv4Address, port: int) -> str:
        packet = self.packet
        from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset

        sets = {item.name: item.elements for item in ruleset(self.router).sets}
        if packet.protocol == "icmp":
            return "answers, as every router does"
        if device.role is Role.GUEST and (packet.protocol, port) == ("udp", 67):
            return "DHCP"
        mine = str(target) in sets["guest_addresses"]
        member = any(
            packet.source in IPv4Network(network)
            for nic, network in _pairs_of(sets["guest_members"])
            if nic == device.name
        )
        if packet.protocol in _PORTS and port == 53 and mine and (member or device.name in sets["dns_sources"]):
            return "DNS"
        if member and mine and packet.protocol == "tcp" and port in _WEB:
            return "metadata and passwords"
        listeners = "control_listeners" if device.role is Role.CONTROL else "load_balancer_listeners"
        listens = packet.protocol == "tcp" and f"{target} . {port}" in sets[listeners]
        if listens and device.role in (Role.PUBLIC, Role.GUEST, Role.CONTROL):
            return "load balancer"
        if device.role is Role.CONTROL and (packet.protocol, port) == ("tcp", 3922):
            return "ssh"
        return ""


def _pairs(elements: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield key and value of the elements of a map."""
    for element in elements:
        key, _colon, value = element.partition(" : ")
        yield key, value


def _pairs_of(elements: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield NIC and network of the elements of a set of both."""
    for element in elements:
        nic, _dot, network = element.partition(" . ")
        yield nic, network
