# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is said of a packet is what the kernel does with it: real packets through the real ruleset."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Match,
    Ports,
    Role,
    Router,
    Rule,
    RuleList,
    StaticNat,
    StaticRoute,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import (
    DROPPED,
    FORWARDED,
    ROUTER,
    UNKNOWN,
    Answer,
    Packet,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import IpBatch
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.why import explain
from tests.golden.cases import renderer
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.plan.samples import CLIENT, FIRST, SECOND, VM1, VM2, isolated, rule, rules, vpc, with_settings

SEEDS = int(os.environ.get("WHY_SEEDS", "3"))
"""How many routers of each of the six kinds are drawn: 17 make a hundred, and 26,000 packets."""
PACKETS = 300
ANSWERS = 1000
"""What is added to the number of a packet to have that of the answer."""
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
THIRD = IPv4Address("192.0.2.11")
TIER = [IPv4Address(f"10.2.{tier}.{number}") for tier in (1, 2) for number in (11, 12)]
INNER = {"isolated": [VM1, VM2, IPv4Address("10.1.1.77")], "vpc": TIER}
PUBLIC = {"isolated": [FIRST, THIRD, SECOND], "vpc": [IPv4Address("192.0.2.50")]}
OUTSIDE = [CLIENT, *map(IPv4Address, ("192.0.2.77", "198.51.100.77", "8.8.8.8", "172.20.0.9", "172.21.5.5"))]
CONTROL = IPv4Address("169.254.9.9")
CIDRS = ["10.0.0.0/8", "10.1.1.0/25", "10.2.1.0/24", "10.2.2.12/32", "203.0.113.0/24", "172.16.0.0/12", "192.0.2.0/24"]

PROBE = """
table inet probe {
    set arrived { typeof ip id . ip daddr; size 65535; flags dynamic; }
    set left { typeof ip id . oifname . ip saddr . ip daddr; size 65535; flags dynamic; }
    chain arriving {
        type filter hook input priority 300;
        add @arrived { ip id . ip daddr };
    }
    chain leaving {
        type filter hook postrouting priority 300;
        iifname "eth*" add @left { ip id . oifname . ip saddr . ip daddr };
    }
}
"""
SENDER = """
import json, socket, sys
wires = {}
for nic, frame in json.load(sys.stdin):
    if nic not in wires:
        wires[nic] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wires[nic].bind(("x" + nic, 0))
    wires[nic].send(bytes.fromhex(frame))
"""


def drawn(chance: random.Random, kind: str, routed: bool = False) -> Router:
    """Return a router of random rules, few and overlapping, so that packets hit them."""
    made = with_settings(isolated() if kind == "isolated" else vpc(), routed=routed)
    forwards = [_forward(chance, kind) for _number in range(chance.randrange(5))]
    inner, public = INNER[kind], PUBLIC[kind]
    static = {chance.choice(public): chance.choice(inner) for _number in range(chance.randrange(3))}

    def lists(default: bool) -> RuleList:
        return RuleList(tuple(random_rule(chance, CIDRS) for _number in range(chance.randrange(6))), default)

    return replace(
        made,
        # Nothing is translated in routed mode (build.py).
        forwards=() if routed else tuple(dict.fromkeys(forwards)),
        static_nats=() if routed else tuple(StaticNat(*pair) for pair in sorted(static.items())),
        inbound=lists(False) if routed else RuleList(),
        firewall={ip: lists(False) for ip in public if chance.random() < 0.7},
        egress=lists(chance.random() < 0.7),
        acls={name: (lists(False), lists(True)) for name in ("eth2", "eth3", "eth4") if chance.random() < 0.8}
        if kind == "vpc"
        else {},
        routes=(StaticRoute(IPv4Network("172.21.0.0/16"), IPv4Address("172.20.0.1"), "eth4"),) if kind == "vpc" else (),
    )


def random_rule(chance: random.Random, cidrs: list[str]) -> Rule:
    """Return a rule that some packets match, with a name of its own."""
    protocol = chance.choice([None, "tcp", "tcp", "udp", "icmp", "47"])
    first = chance.randrange(1, 6)
    ports = Ports(first, first + chance.randrange(12)) if protocol in ("tcp", "udp") and chance.random() < 0.7 else None
    echo = 128 if ":" in cidrs[0] else 8
    kind = echo if protocol == "icmp" and chance.random() < 0.5 else None
    sides = [tuple(chance.sample(cidrs, 1)) if chance.random() < 0.4 else () for _number in range(2)]
    match = Match(protocol, ports, kind, None, *sides)
    return Rule(match, chance.random() < 0.7, f"rule {chance.getrandbits(64):016x}")


def _forward(chance: random.Random, kind: str) -> Forward:
    ends = (chance.choice(PUBLIC[kind]), chance.choice(INNER[kind]))
    first = chance.randrange(1, 6)
    ports = Ports(first, first + chance.choice([0, 0, 2]))
    shift = chance.choice([0, 0, 3])
    sources = chance.choice([(), (), ("203.0.113.0/24",)])
    return Forward(*ends, chance.choice(["tcp", "udp"]), ports, Ports(ports.first + shift, ports.last + shift), sources)


def packets(chance: random.Random, router: Router, kind: str) -> list[Packet]:
    """Return random packets; half of them come in where their source belongs."""
    everyone = [*INNER[kind], *OUTSIDE, CONTROL]
    nics = [d.name for d in router.devices]
    own = [a.ip for d in router.devices for a in d.addresses]
    found = []
    for _number in range(PACKETS):
        source = chance.choice(everyone)
        destination = chance.choice([*everyone, *PUBLIC[kind] * 3, *own])
        protocol = chance.choice(["tcp", "tcp", "tcp", "udp", "udp", "icmp", "47"])
        port = {"icmp": 8, "47": 0}.get(protocol) or chance.choice([1, 2, 3, 4, 5, 6, 22, 53, 67, 80, 443, 3922])
        packet = Packet(source, destination, protocol, 0 if protocol == "47" else port)
        place = explain(router, packet).nic_in
        nic = place if place in nics and chance.random() < 0.7 else chance.choice(nics)
        # Without ports two connections of one host cannot be told apart, whoever began them and however translated.
        ends = {source, destination}
        known = protocol == "47" and any(p.protocol == "47" and ends & {p.source, p.destination} for p in found)
        if source != destination and not known:
            found.append(replace(packet, nic=nic))
    return found


def frame(packet: Packet, number: int, mac: str) -> str:
    """Return an Ethernet frame; the packet's number is its id in the IP header, and its source port."""
    return _framed(packet, number, mac, _payload(packet.protocol, (10000 + number, packet.port), packet.port))


def answering(packet: Packet, answer: Answer, number: int, mac: str) -> str:
    """Return the frame of who answers a packet that was forwarded: a SYN that is taken, an echo, some datagram."""
    back = Packet(IPv4Address(answer.destination), IPv4Address(answer.source), packet.protocol)
    payload = _payload(packet.protocol, (answer.port, 10000 + number), 0, b"\x00\x00\x00\x01\x50\x12")
    return _framed(back, ANSWERS + number, mac, payload)


def _payload(protocol: str, ports: tuple[int, int], kind: int, rest: bytes = b"\x00\x00\x00\x00\x50\x02") -> bytes:
    """Return what follows the IP header; `rest` is TCP's acknowledgement and flags, `kind` the type of ICMP."""
    both = b"".join(port.to_bytes(2, "big") for port in ports)
    echo = max(ports).to_bytes(2, "big")
    return {
        "tcp": both + bytes(4) + rest + b"\x20\x00" + bytes(4),
        "udp": both + b"\x00\x08\x00\x00",
        "icmp": bytes((kind & 255, 0, 0, 0)) + echo + b"\x00\x01",
    }.get(protocol, b"\x00\x00\x08\x00" + bytes(12))


def _framed(packet: Packet, number: int, mac: str, payload: bytes) -> str:
    protocol = NUMBERS.get(packet.protocol) or int(packet.protocol)
    addresses = packet.source.packed + packet.destination.packed
    if protocol == 6:
        pseudo = addresses + bytes((0, protocol)) + len(payload).to_bytes(2, "big")
        payload = payload[:16] + checksum(pseudo + payload) + payload[18:]
    if protocol == 1:
        payload = payload[:2] + checksum(payload) + payload[4:]
    head = b"\x45\x00" + (20 + len(payload)).to_bytes(2, "big") + number.to_bytes(2, "big")
    head += b"\x00\x00\x40" + bytes((protocol,))
    head += checksum(head + addresses) + addresses
    return (bytes.fromhex(mac.replace(":", "")) + b"\x02\xff\x00\x00\x00\x01\x08\x00" + head + payload).hex()


def checksum(data: bytes) -> bytes:
    """Return the checksum of RFC 1071."""
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def connect(space: Namespace, router: Router) -> None:
    """Make the router's links, addresses, routes and settings of the kernel in the namespace."""
    for nic in router.nics:
        space.plug(nic.name, nic.mac)
    knobs = [*interfaces.wanted(router, 1).knobs, ("/proc/sys/net/ipv4/conf/all/rp_filter", "0")]
    space(("sh", "-euc", "; ".join(f"echo {value} >{path}" for path, value in knobs)))
    (batch,) = (step for step in interfaces.compare(router, interfaces.Network()) if isinstance(step, IpBatch))
    space(("ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in batch.lines))


def set_up(space: Namespace, router: Router, probe: str = PROBE) -> None:
    """Make the router in the namespace, with its rules."""
    connect(space, router)
    _rules, wanted = tables.wanted(router, renderer(), ftp=False)
    space(("nft", "--file", "-"), stdin="".join((*(file.content for file in wanted.files), probe)))


def seen(space: Namespace, name: str) -> dict[int, list[str]]:
    """Return what the probe saw by the number of the packet."""
    listed = json.loads(space(("nft", "-j", "list", "set", "inet", "probe", name)))
    (found,) = (item["set"] for item in listed["nftables"] if "set" in item)
    rows = [item["concat"] for item in found.get("elem", ())]
    return {int(row[0]): row[1:] for row in rows}


def agrees(answer: Answer, number: int, arrived: dict[int, list[str]], left: dict[int, list[str]]) -> bool:
    """Tell whether the kernel did what was said."""
    if answer.ends == FORWARDED:
        return left.get(number) == [answer.nic_out, answer.source, answer.destination]
    if answer.ends == ROUTER:
        return arrived.get(number) == [answer.destination] and number not in left
    return number not in arrived and number not in left


@needs_root
@pytest.mark.parametrize("routed", [False, True], ids=["nat", "routed"])
@pytest.mark.parametrize("kind", ["isolated", "vpc"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_kernel_does_what_is_said(kind: str, routed: bool, seed: int) -> None:
    """Whoever is let through is answered, too: then both ends know each other, whatever the rules say of the answer."""
    chance = random.Random(f"{kind} {routed} {seed}")
    router = drawn(chance, kind, routed)
    sent = list(enumerate(packets(chance, router, kind), 1))
    said = [(number, packet, explain(router, packet)) for number, packet in sent]
    through = [(n, p, answer) for n, p, answer in said if answer.ends == FORWARDED and p.protocol in NUMBERS]
    macs = {nic.name: nic.mac for nic in router.nics}
    with namespace() as space:
        set_up(space, router)
        frames = [(packet.nic, frame(packet, number, macs[packet.nic])) for number, packet in sent]
        space(("python3", "-c", SENDER), stdin=json.dumps(frames))
        answers = [(a.nic_out, answering(packet, a, number, macs[a.nic_out])) for number, packet, a in through]
        space(("python3", "-c", SENDER), stdin=json.dumps(answers))
        arrived, left = seen(space, "arrived"), seen(space, "left")
    wrong = [
        f"{packet} said {answer} seen {arrived.get(number)} {left.get(number)}"
        for number, packet, answer in said
        if not agrees(answer, number, arrived, left)
    ]
    assert not wrong, f"{len(wrong)} of {len(sent)}: {router}\n" + "\n".join(wrong[:5])
    lost = []
    for number, packet, answer in through:
        found = left.get(ANSWERS + number, [])
        back = [answer.nic_in, str(packet.destination), str(packet.source)]
        # By which NIC a client came is remembered for VMs, where there is translation: else routes say where he is.
        by_route = routed or not any(d.name == answer.nic_out for d in router.by_role(Role.GUEST))
        if found[by_route:] != back[by_route:]:
            lost.append(f"{packet} said {answer} its answer {found}")
    assert not lost, f"{len(lost)} of {len(through)}: {router}\n" + "\n".join(lost[:5])
    # Each end must have been tried, or this says little.
    assert {answer.ends for _number, _packet, answer in said} == {DROPPED, FORWARDED, ROUTER}


def without(router: Router, *labels: str) -> Router:
    """Return the router without the rules of these names."""

    def left(rules: RuleList) -> RuleList:
        return replace(rules, rules=tuple(rule for rule in rules.rules if rule.label not in labels))

    return replace(
        router,
        firewall={ip: left(found) for ip, found in router.firewall.items()},
        inbound=left(router.inbound),
        egress=left(router.egress),
        acls={name: (left(into), left(out)) for name, (into, out) in router.acls.items()},
    )


@pytest.mark.parametrize("routed", [False, True], ids=["nat", "routed"])
@pytest.mark.parametrize("kind", ["isolated", "vpc"])
def test_the_rule_that_is_named_is_the_one_that_decides(kind: str, routed: bool) -> None:
    """Without it something else decides, and without all others the outcome is as it was."""
    changed = 0
    for seed in range(3):
        chance = random.Random(f"deciding {kind} {routed} {seed}")
        router = drawn(chance, kind, routed)
        labels = {rule.label for rules in _lists(router) for rule in rules.rules}
        for packet in packets(chance, router, kind):
            answer = explain(router, packet)
            named = [stage.by for stage in answer.stages if stage.by in labels]
            if named:
                assert explain(without(router, *labels.difference(named)), packet) == answer
            for label in named:
                other = explain(without(router, label), packet)
                assert label not in {stage.by for stage in other.stages}
                changed += other.ends != answer.ends
    assert changed >= 3


def _lists(router: Router) -> list[RuleList]:
    acls = [rules for pair in router.acls.values() for rules in pair]
    return [*router.firewall.values(), router.inbound, router.egress, *acls]


def test_it_names_what_decides() -> None:
    web = Forward(FIRST, VM1, "tcp", Ports(80, 80), Ports(8080, 8080))
    allowed = rules(rule(protocol="tcp", ports=80, label="firewallrules 12"))
    router = isolated(forwards=(web,), firewall={FIRST: allowed})
    answer = explain(router, Packet(CLIENT, FIRST, "tcp", 80))
    assert (answer.ends, answer.nic_in, answer.nic_out, answer.destination, answer.port) == (
        FORWARDED,
        "eth2",
        "eth0",
        str(VM1),
        8080,
    )
    assert [stage.by for stage in answer.stages if stage.by] == ["firewallrules 12", f"forwardingrules {FIRST}"]
    denied = explain(router, Packet(CLIENT, FIRST, "tcp", 81))
    assert denied.ends == DROPPED
    assert denied.stages[-1].by == f"no rule matches, the default of the firewall of {FIRST}"


def test_a_backup_forwards_nothing_to_where_its_links_are_down() -> None:
    router = with_settings(isolated(egress=RuleList(default_allow=True)), redundant=True)
    assert explain(router, Packet(VM1, CLIENT, "tcp", 80)).ends == DROPPED


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "port"),
    [
        ("0.0.0.0", "255.255.255.255", "udp", 67),
        ("10.1.1.11", "255.255.255.255", "udp", 67),
        ("0.0.0.0", "10.1.1.1", "udp", 67),
        ("10.1.1.11", "10.1.1.255", "udp", 137),
        ("192.0.2.77", "224.0.0.18", "112", 0),
        ("192.0.2.77", "225.0.0.50", "udp", 3780),
    ],
)
def test_what_is_for_many_is_not_explained(source: str, destination: str, protocol: str, port: int) -> None:
    packet = Packet(IPv4Address(source), IPv4Address(destination), protocol, port)
    assert explain(isolated(), packet).ends == UNKNOWN
