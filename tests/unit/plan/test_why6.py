# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is said of an IPv6 packet is what the kernel does with it: real packets through the real ruleset."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Role,
    Router,
    RuleList,
    VrrpState,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import (
    DROPPED,
    FORWARDED,
    OWN,
    ROUTER,
    UNKNOWN,
    Answer,
    Packet,
    Packet6,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.why import explain
from tests.unit.apply.namespace import namespace, needs_root
from tests.unit.model.bags import dual_stack_shared
from tests.unit.plan import test_why
from tests.unit.plan.test_ipv6 import NICS, isolated, rule, tier, vpc
from tests.unit.plan.test_why import ANSWERS, PACKETS, SEEDS, SENDER, checksum, random_rule, seen, set_up

NUMBERS = {"icmp": 58, "tcp": 6, "udp": 17}
INNER = [IPv6Address(f"2001:db8:a:{tier}::{number}") for tier in (1, 2) for number in (11, 12)]
OUTSIDE = [*map(IPv6Address, ("2001:db8:99::10", "2001:db8:f::77", "2001:4860:4860::8888", "2001:db8:a:3::9"))]
ODD = [IPv6Address("::1"), IPv6Address("2001:db8:a:1::"), IPv6Address("::ffff:192.0.2.1")]
CLIENT, VM = OUTSIDE[0], INNER[0]
CIDRS = ["2001:db8::/32", "2001:db8:a::/48", "2001:db8:a:1::/64", "2001:db8:a:2::12/128", "2001:db8:99::/64", "::/0"]

PROBE = """
table inet probe {
    set arrived { typeof ip6 flowlabel . ip6 daddr; size 65535; flags dynamic; }
    set left { typeof ip6 flowlabel . oifname . ip6 saddr . ip6 daddr; size 65535; flags dynamic; }
    chain arriving {
        type filter hook input priority 300;
        ip6 flowlabel != 0 add @arrived { ip6 flowlabel . ip6 daddr };
    }
    chain leaving {
        type filter hook postrouting priority 300;
        iifname "eth*" ip6 flowlabel != 0 add @left { ip6 flowlabel . oifname . ip6 saddr . ip6 daddr };
    }
}
"""


def drawn(chance: random.Random, kind: str) -> Router:
    """Return a router of random rules, few and overlapping, so that packets hit them."""

    def lists(default: bool) -> RuleList:
        return RuleList(tuple(random_rule(chance, CIDRS) for _number in range(chance.randrange(6))), default)

    if kind == "isolated":
        return replace(isolated(), inbound6=lists(False), egress6=lists(chance.random() < 0.7))
    made = vpc(tier("eth2", 1), tier("eth3", 2))
    acls = {name: (lists(False), lists(chance.random() < 0.7)) for name in ("eth2", "eth3") if chance.random() < 0.8}
    return replace(made, acls6=acls)


def mine(device: Device) -> list[IPv6Address]:
    """Return the addresses of a NIC, but for those of its link."""
    found = [interface.ip for interface in device.six.addresses] if device.six else []
    return [ip for ip in found if not ip.is_link_local]


def packets(chance: random.Random, router: Router) -> list[Packet6]:
    """Return random packets; most of them come in where their source belongs."""
    ours = [ip for device in router.devices for ip in mine(device)]
    nics = [device.name for device in router.devices]
    found: list[Packet6] = []
    for _number in range(PACKETS):
        source = chance.choice([*INNER * 3, *OUTSIDE * 3, *ODD, *ours])
        destination = chance.choice([*INNER * 3, *OUTSIDE * 2, ODD[1], *ours])
        protocol = chance.choice(["tcp", "tcp", "tcp", "udp", "udp", "icmp", "47"])
        port = {"icmp": 128, "47": 0}.get(protocol) or chance.choice([1, 2, 3, 4, 5, 6, 22, 53, 80, 547, 3922])
        packet = Packet6(source, destination, protocol, 0 if protocol == "47" else port)
        place = explain(router, packet).nic_in
        nic = place if place in nics and chance.random() < 0.7 else chance.choice(nics)
        ends = {source, destination}
        known = protocol == "47" and any(p.protocol == "47" and ends & {p.source, p.destination} for p in found)
        if source != destination and not known:
            found.append(replace(packet, nic=nic))
    guest = router.by_role(Role.GUEST)[0]
    return [*found, Packet6(INNER[0], mine(guest)[0], "icmp", 128, nic=guest.name)]


def frame(packet: Packet6, number: int, mac: str, answer: bool = False) -> str:
    """Return an Ethernet frame; the packet's number is its flow label, and with 10,000 its source port or id."""
    pair = (packet.port, 10000 + number) if answer else (10000 + number, packet.port)
    ports = b"".join(port.to_bytes(2, "big") for port in pair)
    rest = b"\x00\x00\x00\x01\x50\x12" if answer else b"\x00\x00\x00\x00\x50\x02"
    payload = {
        "tcp": ports + bytes(4) + rest + b"\x20\x00" + bytes(4),
        "udp": ports + b"\x00\x08" + bytes(2),
        "icmp": bytes((packet.port % 256 + answer, 0, 0, 0)) + (10000 + number).to_bytes(2, "big") + b"\x00\x01",
    }.get(packet.protocol, b"\x00\x00\x08\x00" + bytes(12))
    protocol = NUMBERS.get(packet.protocol) or int(packet.protocol)
    ends = (packet.destination, packet.source) if answer else (packet.source, packet.destination)
    addresses = b"".join(ip.packed for ip in ends)
    place = {6: 16, 17: 6, 58: 2}.get(protocol)
    if place is not None:
        total = checksum(addresses + len(payload).to_bytes(4, "big") + bytes((0, 0, 0, protocol)) + payload)
        payload = payload[:place] + total + payload[place + 2 :]
    label = number + (ANSWERS if answer else 0)
    head = ((6 << 28) | label).to_bytes(4, "big") + len(payload).to_bytes(2, "big") + bytes((protocol, 64))
    mac_header = bytes.fromhex(mac.replace(":", "")) + b"\x02\xff\x00\x00\x00\x01\x86\xdd"
    return (mac_header + head + addresses + payload).hex()


def agrees(answer: Answer, packet: Packet6, arrived: list[str] | None, left: list[str] | None) -> bool:
    """Tell whether the kernel did what was said; nothing is ever translated."""
    if answer.ends == FORWARDED:
        return left == [answer.nic_out, str(packet.source), str(packet.destination)]
    if answer.ends == ROUTER:
        return arrived == [str(packet.destination)] and left is None
    return arrived is None and left is None


@needs_root
@pytest.mark.parametrize("kind", ["isolated", "vpc"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_kernel_does_what_is_said(kind: str, seed: int) -> None:
    """Whoever is let through is answered, too."""
    chance = random.Random(f"6 {kind} {seed}")
    router = drawn(chance, kind)
    said = [(number, p, explain(router, p)) for number, p in enumerate(packets(chance, router), 1)]
    through = [(n, p, a) for n, p, a in said if a.ends == FORWARDED and p.protocol in NUMBERS]
    macs = {nic.name: nic.mac for nic in router.nics}
    with namespace() as space:
        set_up(space, router, PROBE)
        frames = [(p.nic, frame(p, number, macs[p.nic])) for number, p, _answer in said]
        space(("python3", "-c", SENDER), stdin=json.dumps(frames))
        answers = [(a.nic_out, frame(p, number, macs[a.nic_out], answer=True)) for number, p, a in through]
        space(("python3", "-c", SENDER), stdin=json.dumps(answers))
        arrived, left = seen(space, "arrived"), seen(space, "left")
    wrong = [
        f"{packet} said {answer} seen {arrived.get(number)} {left.get(number)}"
        for number, packet, answer in said
        if not agrees(answer, packet, arrived.get(number), left.get(number))
    ]
    assert not wrong, f"{len(wrong)} of {len(said)}: {router}\n" + "\n".join(wrong[:5])
    lost = [
        f"{packet} said {answer} its answer {left.get(ANSWERS + number)}"
        for number, packet, answer in through
        if left.get(ANSWERS + number, [])[1:] != [str(packet.destination), str(packet.source)]
    ]
    assert not lost, f"{len(lost)} of {len(through)}: {router}\n" + "\n".join(lost[:5])
    assert {answer.ends for _number, _packet, answer in said} == {DROPPED, FORWARDED, ROUTER}


@needs_root
def test_the_router_of_a_shared_network_hears_whom_its_gateway_leads_to() -> None:
    """Its way out is the NIC of its guests: the kernel is asked whether a source may be there."""
    router = build(dual_stack_shared(), NICS)
    macs = {nic.name: nic.mac for nic in router.nics}
    four = Packet(IPv4Address("203.0.113.9"), IPv4Address("10.1.1.5"), "icmp", 8, nic="eth0")
    six = Packet6(CLIENT, IPv6Address("2001:db8:a:1::5"), "icmp", 128, nic="eth0")
    for probe, packet, made in (
        (test_why.PROBE, four, test_why.frame(four, 7, macs["eth0"])),
        (PROBE, six, frame(six, 7, macs["eth0"])),
    ):
        assert [explain(router, replace(packet, nic=nic)).ends for nic in ("", "eth0")] == [ROUTER, ROUTER]
        with namespace() as space:
            set_up(space, router, probe)
            space(("python3", "-c", SENDER), stdin=json.dumps([("eth0", made)]))
            assert list(seen(space, "arrived")) == [7]


def test_it_names_what_decides() -> None:
    allowed = isolated(rule(7, src_port_range=[80, 80]))
    answer = explain(allowed, Packet6(CLIENT, VM, "tcp", 80))
    assert (answer.ends, answer.nic_in, answer.nic_out) == (FORWARDED, "eth2", "eth0")
    assert [stage.by for stage in answer.stages if stage.by] == ["ipv6firewallrules 7"]
    denied = explain(allowed, Packet6(CLIENT, VM, "tcp", 81))
    assert denied.ends == DROPPED
    assert denied.stages[-1].by == "no rule matches, the default of the ingress rules of IPv6"


def test_a_backup_answers_and_forwards_nothing_of_the_primary() -> None:
    backup = isolated(redundant_router="true", guestgw="10.1.1.2", guestgw6="2001:db8:a:1::2", state=VrrpState.BACKUP)
    primary = replace(backup, state=VrrpState.PRIMARY)
    shared = IPv6Address("2001:db8:a:1::2")
    assert explain(backup, Packet6(VM, CLIENT, "tcp", 80)).ends == DROPPED
    assert explain(backup, Packet6(VM, shared, "icmp", 128)).ends != ROUTER
    assert explain(primary, Packet6(VM, shared, "icmp", 128)).ends == ROUTER


def test_what_is_of_one_link_is_not_explained() -> None:
    for words in (("fe80::5", "2001:db8:a:1::1"), ("2001:db8:a:1::11", "ff02::1"), ("::", "2001:db8:a:1::1")):
        source, destination = map(IPv6Address, words)
        assert explain(isolated(), Packet6(source, destination, "udp", 546)).ends == UNKNOWN


def test_what_begins_on_the_router_meets_no_rule() -> None:
    answer = explain(isolated(), Packet6(IPv6Address("2001:db8:f::10"), CLIENT, "tcp", 80))
    assert (answer.ends, answer.nic_in, answer.nic_out) == (FORWARDED, OWN, "eth2")


def test_a_route_of_ipv6_is_no_way_for_ipv4() -> None:
    """The main table has those of both families."""
    router = isolated(rule(0, "Egress", protocol="all"))
    router = replace(router, egress=RuleList(default_allow=True))
    answer = explain(router, Packet(IPv4Address("10.1.1.11"), IPv4Address("203.0.113.7"), "tcp", 80))
    assert (answer.ends, answer.nic_in, answer.nic_out) == (FORWARDED, "eth0", "eth2")
