# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routed networks have one truth in both families: 150 routers of random rules, by real packets through the real rules.

A rule is drawn without a family, and written into the drops of both. What must become of a packet is said by the rule
as it was drawn, by a reading of its own; the judge that cuts connections must say the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow, Judge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge6 import Flow6, Judge6
from tests.golden.cases import renderer
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.model.bags import Record, address, cmdline, ips, mac, nics
from tests.unit.plan.test_why import connect

ROUTERS = 75
"""Of each kind."""
NETWORKS = {
    "near": ("203.0.0.0/17", "2001:db8:99::/48"),
    "far": ("198.18.0.0/15", "2001:db8:98::/48"),
    "one": ("10.1.64.0/18", "2001:db8:a:1:1::/80"),
    "two": ("10.1.128.0/18", "2001:db8:a:1:2::/80"),
    "app": ("10.2.64.0/18", "2001:db8:a:2:1::/80"),
}
"""Those who send and receive, each a network of both families: every packet has a source of its own."""
BEHIND = {"one": "guest", "two": "guest", "app": "app"}
NUMBERS = {"icmp": (1, 58), "tcp": (6, 6), "udp": (17, 17), "47": (47, 47)}
PORTS = (1, 2, 3, 4)
PROBE = """
table inet probe {
    set left4 { typeof ip saddr . oifname; size 65535; flags dynamic; }
    set left6 { typeof ip6 saddr . oifname; size 65535; flags dynamic; }
    chain leaving {
        type filter hook postrouting priority 300;
        iifname "eth*" add @left4 { ip saddr . oifname };
        iifname "eth*" add @left6 { ip6 saddr . oifname };
    }
}
"""
DRIVER = """
import json, socket, subprocess, sys
wires = {}
for rules, frames in json.load(sys.stdin):
    subprocess.run(("nft", "--file", "-"), input=rules, text=True, check=True)
    for nic, frame in frames:
        if nic not in wires:
            wires[nic] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            wires[nic].bind(("x" + nic, 0))
        wires[nic].send(bytes.fromhex(frame))
"""


@dataclass(frozen=True)
class Drawn:
    """A rule without a family: whom it is about at either end, () for everybody; `ports` only of TCP and UDP."""

    protocol: str
    ports: tuple[int, int] | None
    echo: bool
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    allow: bool

    def matches(self, packet: Packet) -> bool:
        """Tell whether the rule is about a packet."""
        if self.protocol not in ("all", packet.protocol):
            return False
        if self.ports and not self.ports[0] <= packet.port <= self.ports[1]:
            return False
        ends = ((self.sources, packet.source), (self.targets, packet.target))
        return all(not names or name in names for names, name in ends)


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, without a family; ICMP is an echo request."""

    number: int
    source: str
    target: str
    protocol: str
    port: int


Lists = dict[str, list[Drawn]]


def rule(chance: random.Random, outer: Sequence[str], inner: Sequence[str], incoming: bool, allow: bool) -> Drawn:
    """Draw a rule about what comes in, or goes out."""
    protocol = chance.choice(["tcp", "tcp", "udp", "icmp", "all", "47"])
    first = chance.choice(PORTS)
    with_ports = protocol in ("tcp", "udp") and chance.random() < 0.7
    ends = [
        tuple(chance.sample(names, chance.choice([0, 0, min(1, len(names)), len(names)])))
        for names in (list(outer), list(inner))
    ]
    sources, targets = ends if incoming else reversed(ends)
    if protocol == "all" and not incoming and not sources and not targets:
        sources = tuple(inner)  # In IPv4 a rule without any network is the policy itself, and nobody's rule is.
    ports = (first, first + chance.choice([0, 1])) if with_ports else None
    return Drawn(protocol, ports, chance.random() < 0.5, sources, targets, allow)


def cidrs(names: Sequence[str], six: bool) -> list[str]:
    """Return the networks of names in one family."""
    return [NETWORKS[name][six] for name in names]


def firewall(number: int, drawn: Drawn, incoming: bool, policy: bool, six: bool) -> Record:
    """Return a rule of `firewallrules` or `ipv6firewallrules`."""
    found: Record = {"id": number, "protocol": drawn.protocol, "revoked": False, "already_added": False}
    found |= {"source_cidr_list": cidrs(drawn.sources, six), "dest_cidr_list": cidrs(drawn.targets, six)}
    found |= {"traffic_type": "Ingress" if incoming else "Egress", "purpose": "Firewall"}
    found["default_egress_policy"] = policy if six or not incoming else False
    found |= {"src_port_range": list(drawn.ports)} if drawn.ports else {}
    if drawn.protocol == "icmp":
        found |= {"icmp_type": (128 if six else 8) if drawn.echo else -1, "icmp_code": 0 if drawn.echo else -1}
    return found if incoming else found | {"src_ip": ""}


def acl(drawn: Drawn, incoming: bool) -> Record:
    """Return a rule of an ACL, with the CIDRs of both families."""
    others = drawn.sources if incoming else drawn.targets
    cidr = ",".join(cidrs(others, False) + cidrs(others, True)) or "0.0.0.0/0,::/0"
    found: Record = {"type": drawn.protocol, "cidr": cidr, "allowed": drawn.allow}
    if drawn.protocol == "47":
        found |= {"type": "protocol", "protocol": 47}
    if drawn.protocol in ("tcp", "udp"):
        first, last = drawn.ports or (0, 0)
        found |= {"first_port": first, "last_port": last}
    return found | ({"icmp_type": -1, "icmp_code": -1} if drawn.protocol == "icmp" else {})


NICS = nics(eth0="00", eth1="01", eth2="02", eth3="03")
PUBLIC = address("192.0.2.10", source_nat=True, gateway="192.0.2.1")


def isolated(lists: Lists, policy: bool) -> Router:
    """Return the router of a routed isolated network with these rules in both families."""
    kinds = ("firewallrules", "ipv6firewallrules")
    bags: dict[str, Any] = {kind: {"id": kind} for kind in kinds}
    for six, kind in enumerate(kinds):
        for incoming, name in ((True, "in"), (False, "out")):
            made = [
                firewall(100 + n + 50 * incoming, d, incoming, policy, bool(six)) for n, d in enumerate(lists[name])
            ]
            bags[kind] |= {str(record["id"]): record for record in made}
        if policy or six:
            everything = firewall(0, Drawn("all", None, False, (), (), True), False, policy, bool(six))
            bags[kind]["0"] = everything
    guest = {"eth0ip6": "2001:db8:a:1::1", "eth0ip6prelen": "64", "eth2ip6": "2001:db8:f::10", "eth2ip6prelen": "64"}
    arguments = cmdline(gateway="192.0.2.1", is_routed="true", ip6gateway="2001:db8:f::1", **guest)
    own = {**address("10.1.0.1", "guest"), "netmask": "255.255.0.0"}
    return build({"cmdline": arguments, "ips": ips(eth0=[own], eth2=[PUBLIC]), **bags}, NICS)


def vpc(lists: Lists) -> Router:
    """Return a routed VPC with two tiers with these ACLs."""
    tiers: dict[str, Any] = {"id": "guestnetwork"}
    acls: dict[str, Any] = {"id": "networkacl"}
    guests = {}
    for number, (nic, name) in enumerate((("eth2", "guest"), ("eth3", "app")), 1):
        own = {**address(f"10.{number}.0.1", "guest"), "netmask": "255.255.0.0"}
        guests[nic] = [own]
        entry = {"add": True, "device": nic, "mac_address": mac(f"0{nic[-1]}"), "network_id": number}
        entry |= {"router_guest_ip6": f"2001:db8:a:{number}::1", "router_guest_ip6_gateway": f"2001:db8:a:{number}::1"}
        entry |= {"router_guest_ip6_cidr": f"2001:db8:a:{number}::/64", "router_ip6": "2001:db8:f::50"}
        tiers[nic] = [entry | {"router_ip6_cidr": "2001:db8:f::/64", "router_ip6_gateway": "2001:db8:f::1"}]
        both = {f"{way}ss_rules": [acl(d, way == "ingre") for d in lists[f"{name} {way}"]] for way in ("ingre", "egre")}
        acls[nic] = {"device": nic, "mac_address": entry["mac_address"], "nic_ip6_cidr": entry["router_guest_ip6_cidr"]}
        acls[nic] |= {"nic_ip": own["public_ip"], "nic_netmask": "16", "private_gateway_acl": False, **both}
    arguments = cmdline(type="vpcrouter", source_nat_ip="192.0.2.10", is_routed="true", vpccidr="10.0.0.0/8")
    outer = ips(eth0=[address("169.254.1.1", "control")], eth1=[PUBLIC], **guests)
    return build({"cmdline": arguments, "ips": outer, "guestnetwork": tiers, "networkacl": acls}, NICS)


def first(rules: Sequence[Drawn], packet: Packet, default: bool) -> bool:
    """Return what the first rule says that matches."""
    return next((drawn.allow for drawn in rules if drawn.matches(packet)), default)


def drawn_isolated(chance: random.Random) -> tuple[Router, Callable[[Packet], bool]]:
    """Return a router, and what must become of a packet."""
    policy, inner = chance.random() < 0.5, ("one", "two")
    lists = {
        "in": [rule(chance, ("near", "far"), inner, True, True) for _number in range(chance.randrange(5))],
        "out": [rule(chance, ("near", "far"), inner, False, not policy) for _number in range(chance.randrange(5))],
    }
    return (
        isolated(lists, policy),
        lambda packet: (
            first(lists["out"], packet, policy) if packet.source in inner else first(lists["in"], packet, False)
        ),
    )


def drawn_vpc(chance: random.Random) -> tuple[Router, Callable[[Packet], bool]]:
    """Return a VPC; of its rules only one end is in the ACL."""
    lists: Lists = {}
    for name, others in (("guest", ("near", "far", "app")), ("app", ("near", "far", "one"))):
        for way in ("ingre", "egre"):
            made = (
                rule(chance, others, (), way == "ingre", chance.random() < 0.7) for _n in range(chance.randrange(6))
            )
            lists[f"{name} {way}"] = [replace(drawn, echo=False) for drawn in made]

    def passes(packet: Packet) -> bool:
        leaves, enters = BEHIND.get(packet.source), BEHIND.get(packet.target)
        out = leaves is None or first(lists[f"{leaves} egre"], packet, False)
        return out and (enters is None or first(lists[f"{enters} ingre"], packet, False))

    return vpc(lists), passes


def packets(chance: random.Random, kind: str, numbers: range) -> list[Packet]:
    """Return packets between all who are not on one link, of all protocols by turns."""
    names = ["near", "far", "one", "two", *(["app"] if kind == "vpc" else [])]
    pairs = [(a, b) for a in names for b in names if BEHIND.get(a) != BEHIND.get(b)]
    found = []
    for number in numbers:
        source, target = pairs[number % len(pairs)]
        found.append(Packet(number, source, target, chance.choice(list(NUMBERS)), chance.choice(PORTS)))
    return found


def ends(packet: Packet, six: bool) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Return the addresses of a packet: the source is its own, the target the last of its network."""
    kind = IPv6Address if six else IPv4Address
    start, other = (NETWORKS[name][six].partition("/")[0] for name in (packet.source, packet.target))
    return kind(start) + 256 + packet.number, kind(other) + 77


def frame(packet: Packet, six: bool, target_mac: str) -> str:
    """Return an Ethernet frame."""
    source, target = (ip.packed for ip in ends(packet, six))
    protocol = NUMBERS[packet.protocol][six]
    ports = (10000 + packet.number).to_bytes(2, "big") + packet.port.to_bytes(2, "big")
    body = {
        "tcp": ports + bytes(8) + b"\x50\x02\x20\x00" + bytes(4),
        "udp": ports + b"\x00\x08\x00\x00",
        "icmp": bytes((128 if six else 8, 0, 0, 0)) + ports,
    }.get(packet.protocol, b"\x00\x00\x08\x00" + bytes(12))
    pseudo = source + target + len(body).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    at = {"tcp": 16, "udp": 6, "icmp": 2}.get(packet.protocol)
    if at is not None:
        whole = body if packet.protocol == "icmp" and not six else pseudo + body
        body = body[:at] + _sum(whole) + body[at + 2 :]
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64)) + source + target
    if not six:
        head = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + b"\0\0\0\0\x40" + bytes((protocol,))
        head += _sum(head + source + target) + source + target
    kind = b"\x86\xdd" if six else b"\x08\x00"
    return (bytes.fromhex(target_mac.replace(":", "")) + b"\x02\xff\0\0\0\x01" + kind + head + body).hex()


def _sum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def judged(router: Router, packet: Packet, six: bool) -> bool:
    """Return what the judge of the plan says, who decides which connections a change cuts."""
    source, target = ends(packet, six)
    port = (128 if six else 8) if packet.protocol == "icmp" else 0 if packet.protocol == "47" else packet.port
    if isinstance(source, IPv6Address) and isinstance(target, IPv6Address):
        return Judge6(router).admits(Flow6(packet.protocol, source, target, port))
    assert isinstance(source, IPv4Address)
    assert isinstance(target, IPv4Address)
    return Judge(router).admits(Flow(packet.protocol, source, target, 40000, port, target, source, port))


def loaded(router: Router) -> str:
    """Return the ruleset; who is sent to has spoken before, as otherwise few are looked for at a time."""
    (text, *_rest) = (file.content for file in tables.wanted(router, renderer(), ftp=False)[1].files)
    known = ", ".join(str(IPv6Address(NETWORKS[name][1].partition("/")[0]) + 77) for name in BEHIND)
    return f"{text}\nadd element inet {tables.TABLE} neighbours6 {{ {known} }}\n"


def left(space: Namespace, six: bool) -> dict[str, str]:
    """Return by which NIC packets have left, by their sources."""
    listed = json.loads(space(("nft", "-j", "list", "set", "inet", "probe", f"left{6 if six else 4}")))
    (found,) = (item["set"] for item in listed["nftables"] if "set" in item)
    return dict(item["concat"] for item in found.get("elem", ()))


@needs_root
@pytest.mark.parametrize("kind", ["isolated", "vpc"])
def test_a_rule_means_the_same_in_both_families(kind: str) -> None:
    chance = random.Random(f"families {kind}")
    tried: list[tuple[Router, Packet, bool]] = []
    rounds = []
    count = 60
    for number in range(ROUTERS):
        router, passes = drawn_isolated(chance) if kind == "isolated" else drawn_vpc(chance)
        sent = packets(chance, kind, range(number * count, (number + 1) * count))
        tried += [(router, packet, passes(packet)) for packet in sent]
        rounds.append((loaded(router), _frames(kind, router, sent)))
    with namespace() as space:
        connect(space, tried[0][0])
        space(("nft", "--file", "-"), stdin=PROBE)
        space(("python3", "-c", DRIVER), stdin=json.dumps(rounds))
        seen = {six: left(space, six) for six in (False, True)}
    wrong = []
    for router, packet, wanted in tried:
        for six in (False, True):
            source, _target = ends(packet, six)
            found = seen[six].get(str(source))
            if found != (place(kind, packet.target) if wanted else None) or judged(router, packet, six) is not wanted:
                wrong.append(f"{packet} of {'IPv6' if six else 'IPv4'}: wanted {wanted}, left by {found}")
    assert not wrong, f"{len(wrong)} of {2 * len(tried)}\n" + "\n".join(wrong[:5])
    cells = {(p.source in BEHIND, p.target in BEHIND, p.protocol, wanted) for _router, p, wanted in tried}
    directions = [(True, False), (False, True), *([(True, True)] if kind == "vpc" else [])]
    assert cells == {(*d, protocol, verdict) for d in directions for protocol in NUMBERS for verdict in (True, False)}


def place(kind: str, name: str) -> str:
    """Return the NIC behind which somebody is."""
    places = {"isolated": {"guest": "eth0", "": "eth2"}, "vpc": {"guest": "eth2", "app": "eth3", "": "eth1"}}
    return places[kind][BEHIND.get(name, "")]


def _frames(kind: str, router: Router, sent: Sequence[Packet]) -> list[tuple[str, str]]:
    macs = {nic.name: nic.mac for nic in router.nics}
    found = []
    for packet in sent:
        nic = place(kind, packet.source)
        found += [(nic, frame(packet, six, macs[nic])) for six in (False, True)]
    return found
