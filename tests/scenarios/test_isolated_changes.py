# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes on while a router changes: what is allowed before and after is not disturbed, what is revoked is cut."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.chaos.daemons import failing
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import Answer, PingStream, TcpStream, arp_probe, ask, icmp_ping, tcp
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios import drops, networks, states
from tests.scenarios.balancer import Balancer, Rule
from tests.scenarios.drops import Drop
from tests.scenarios.networks import FIXTURES, INTERNET, Isolated

DIRECTORY = FIXTURES / "isolated"
MAC3 = "1e:00:07:00:00:30"
MAC2 = "1e:00:07:00:00:20"


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the isolated network of the fixtures, all of it applied, and one more VM that no rule is about."""
    with Lab("changes") as lab:
        made = networks.fixture_network(lab)
        plain = lab.host("plain", "guest", "10.7.0.99/24", gateway="10.7.0.1")
        made.router.wait_boot()
        states.apply_together(made.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
        yield Isolated(lab, made.router, {**made.vms, "plain": plain}, made.internet, made.gateways, made.management)


# From whom, to which address and port; no port is a ping every 10 ms.
STREAMS: dict[str, tuple[str, str, int | None]] = {
    "source NAT": ("plain", INTERNET, 80),
    "out by static NAT": ("db", INTERNET, 22),
    "out, port 443": ("backup", INTERNET, 443),
    "forward": (INTERNET, "192.0.2.20", 2222),
    "forwarded range": (INTERNET, "192.0.2.20", 8001),
    "second address": (INTERNET, "192.0.2.21", 80),
    "static NAT, first subnet": (INTERNET, "192.0.2.22", 22),
    "static NAT, second subnet": (INTERNET, "198.51.100.30", 22),
    "hairpin": ("db", "192.0.2.22", 80),
    "ping out": ("plain", INTERNET, None),
    "ping in": (INTERNET, "192.0.2.22", None),
}


class Traffic:
    """All streams of the table, from entering a with-block to its end."""

    def __init__(self, network: Isolated) -> None:
        self.network = network
        self.streams: dict[str, PingStream | TcpStream] = {}

    def __enter__(self) -> Traffic:
        """Open every stream."""
        self._stack = ExitStack()
        for name, (source, target, port) in STREAMS.items():
            host = self._host(source)
            stream = PingStream(host, target) if port is None else TcpStream(host, target, port)
            self.streams[name] = self._stack.enter_context(stream)
        time.sleep(0.1)
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the streams run for a moment after the change, then stop them."""
        time.sleep(0.2)
        self._stack.close()

    def _host(self, name: str) -> Host:
        return self.network.vms[name] if name in self.network.vms else self.network.internet[name]

    @property
    def disturbed(self) -> dict[str, str]:
        """Return the streams that lost something, with what."""
        found = {}
        for name, stream in self.streams.items():
            error = stream.error if isinstance(stream, TcpStream) else ""
            assert stream.sent > 5, f"{name}: nothing was sent"
            if stream.lost or error:
                found[name] = f"{stream.lost} of {stream.sent} lost {error}"
        return found


def test_applying_again_disturbs_nothing(network: Isolated) -> None:
    with Traffic(network) as traffic:
        states.apply_together(network.router, "VR-again.cfg", DIRECTORY, states.ordered(DIRECTORY))
        network.router.command(states.CONVERGE)
    assert traffic.disturbed == {}


NEW_VM = ("new", "02:07:00:00:00:77", "10.7.0.77")
# A change, and what takes it back; neither concerns any of the streams.
CHANGES: dict[str, tuple[Drop, Drop]] = {
    "ingress rule": (
        drops.ingress(801, "192.0.2.20", ports=(7000, 7009)),
        drops.ingress(801, "192.0.2.20", ports=(7000, 7009), revoked=True),
    ),
    "egress rule": (drops.egress(802, "tcp", (7, 7)), drops.egress(802, "tcp", (7, 7), revoked=True)),
    "forward": (
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.12"),
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.12", revoke=True),
    ),
    "address": (
        drops.address("198.51.100.77", "198.51.100.1", MAC3, 3),
        drops.address("198.51.100.77", "198.51.100.1", MAC3, 3, add=False),
    ),
    "VM": (drops.vm(*NEW_VM), drops.vm(*NEW_VM, remove=True)),
    "alias": (drops.alias("10.7.77.1", 2), drops.alias("10.7.77.1", 2, revoke=True)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_disturbs_nothing_that_it_is_not_about(network: Isolated, what: str) -> None:
    done, undone = CHANGES[what]
    tables = made(network.router)
    with Traffic(network) as traffic:
        network.router.drop(drops.named(f"{what.replace(' ', '_')}.done", 1), done)
        network.router.drop(drops.named(f"{what.replace(' ', '_')}.undone", 1), undone)
    assert traffic.disturbed == {}
    assert made(network.router) == tables, "the rules were changed where they are, not made anew"


def made(router: Router) -> dict[str, int]:
    """Return the handles of the firewall's tables, which the kernel gives to no table twice."""
    listed = json.loads(router.exec("nft", "-j", "list", "tables").stdout)["nftables"]
    found = {item["table"]["name"]: item["table"]["handle"] for item in listed if "table" in item}
    assert set(states.TABLES) <= set(found)
    return found


def test_static_nat_comes_and_goes_without_disturbing_others(network: Isolated) -> None:
    address = drops.address("198.51.100.77", "198.51.100.1", MAC3, 3)
    with Traffic(network) as traffic:
        states.change(network.router, address, drops.static_nat("198.51.100.77", "10.7.0.77"))
        released = drops.address("198.51.100.77", "198.51.100.1", MAC3, 3, add=False)
        states.change(network.router, drops.static_nat("198.51.100.77", "10.7.0.77", revoke=True), released)
    assert traffic.disturbed == {}


FORWARD = ("192.0.2.20", (2222, 2222), "10.7.0.11", (22, 22))
# What is revoked or denied, what gives it back, and the streams that it carried.
CUTS: dict[str, tuple[Drop, Drop | list[Drop], set[str]]] = {
    "forward": (drops.forward(*FORWARD, revoke=True), drops.forward(*FORWARD), {"forward"}),
    "ingress rule": (
        drops.ingress(31, "192.0.2.22", ports=(1, 65535), revoked=True),
        drops.ingress(31, "192.0.2.22", ports=(1, 65535)),
        {"static NAT, first subnet"},
    ),
    "one ICMP rule": (
        drops.ingress(32, "192.0.2.22", "icmp", revoked=True),
        drops.ingress(32, "192.0.2.22", "icmp"),
        {"ping in"},
    ),
    "static NAT": (
        drops.static_nat("198.51.100.30", "10.7.0.12", revoke=True),
        drops.static_nat("198.51.100.30", "10.7.0.12"),
        {"static NAT, second subnet", "out by static NAT"},
    ),
    "new egress rule": (
        drops.egress(803, "tcp", (443, 443)),
        drops.egress(803, "tcp", (443, 443), revoked=True),
        {"out, port 443"},
    ),
    "address": (
        drops.address("192.0.2.21", "192.0.2.1", MAC2, 2, add=False),
        [
            drops.address("192.0.2.21", "192.0.2.1", MAC2, 2),
            drops.ingress(21, "192.0.2.21", cidrs=("203.0.113.0/25",)),
            drops.forward("192.0.2.21", (80, 80), "10.7.0.12", (8080, 8080)),
        ],
        {"second address"},
    ),
}


@pytest.mark.parametrize("what", CUTS)
def test_what_is_revoked_is_cut_and_nothing_else(network: Isolated, what: str) -> None:
    """B18: the running connections that are no longer allowed end, and all others lose not one packet."""
    revoked, given, carried = CUTS[what]
    before = states.state(network.router)
    with Traffic(network) as traffic:
        network.router.drop(drops.named(f"{what.replace(' ', '_')}.cut", 1), revoked)
    states.change(network.router, *(given if isinstance(given, list) else [given]))
    assert set(traffic.disturbed) == carried, traffic.disturbed
    states.assert_same(before, states.state(network.router))
    with Traffic(network) as again:
        pass
    assert again.disturbed == {}


def answering(network: Isolated, port: int, ip: str = "192.0.2.20") -> str | None:
    """Return the VM that answers an internet host at a port of a public address."""
    return ask(network.internet[INTERNET], tcp(ip, port)).server


def test_what_a_drop_has_let_in_is_cut_when_it_fails_in_the_end(network: Isolated) -> None:
    """The port is open while dnsmasq is asked about its file, and somebody connects; then all of it is taken back."""
    router = network.router
    before = states.state(router)
    opens = (
        drops.ingress(821, "192.0.2.20", ports=(9000, 9000)),
        drops.forward("192.0.2.20", (9000, 9000), "10.7.0.11"),
    )
    fails = (drops.alias("10.7.77.1", 2), drops.vm(*NEW_VM))
    thinks = failing(router, "/usr/sbin/dnsmasq", "--test*", "$(sleep 4)dnsmasq: bad option at line 7")
    with Traffic(network) as traffic, thinks, ThreadPoolExecutor(1) as pool:
        change = pool.submit(states.change, router, *opens, *fails, check=False)
        wait_for(lambda: answering(network, 9000) == "web", 20, "the port open")
        with TcpStream(network.internet[INTERNET], "192.0.2.20", 9000) as stream:
            answer = change.result(60)
            time.sleep(1)
    assert answer.returncode == 1
    assert "bad option at line 7" in answer.stderr
    assert stream.sent - stream.lost > 50, "it was a connection"
    assert stream.lost > 50 or stream.error, "and is none any more"
    assert traffic.disturbed == {}
    assert answering(network, 9000) is None
    states.assert_same(before, states.state(router))


def test_what_left_by_an_address_that_goes_is_cut_however_late(network: Isolated) -> None:
    """Another address has become the source of new connections before (apache/cloudstack#6442)."""
    router, plain = network.router, network.vms["plain"]
    before = states.state(router)
    usual, other = (source_nat(ip, on=True) for ip in ("192.0.2.20", "192.0.2.79"))
    usual_no_more, other_no_more = (source_nat(ip, on=False) for ip in ("192.0.2.20", "192.0.2.79"))
    states.change(router, other, usual_no_more)
    with PingStream(plain, INTERNET) as pings:
        time.sleep(0.5)
        states.change(router, usual, other_no_more)
        time.sleep(0.5)
        assert translated_to(router, "192.0.2.79"), "it goes on as it began"
        states.change(router, drops.address("192.0.2.79", "192.0.2.1", MAC2, 2, add=False))
        time.sleep(3)
        assert not translated_to(router, "192.0.2.79")
        assert translated_to(router, "192.0.2.20")
    assert pings.sent > 300
    assert pings.lost < 100
    states.assert_same(before, states.state(router))


def source_nat(ip: str, *, on: bool) -> Drop:
    """Return the drop of a public address that is, or is not, the source of what has no other."""
    drop = drops.address(ip, "192.0.2.1", MAC2, 2)
    drop["ip_address"][0]["source_nat"] = on
    return drop


def translated_to(router: Router, ip: str) -> bool:
    """Tell whether pings of the VM that no rule is about leave with an address."""
    return bool(router.exec("conntrack", "-L", "-p", "icmp", "-s", "10.7.0.99", "-q", ip).stdout)


def test_of_two_forwards_of_one_port_the_revoked_one_goes(network: Isolated) -> None:
    """The server lets two exist for a moment, and revokes either of them (apache/cloudstack#8386)."""
    before = states.state(network.router)
    older, newer = (("192.0.2.20", (9000, 9000), f"10.7.0.{vm}") for vm in (11, 12))
    states.change(network.router, drops.ingress(811, "192.0.2.20", ports=(9000, 9000)), drops.forward(*older))
    assert answering(network, 9000) == "web"
    states.change(network.router, drops.forward(*newer))
    assert answering(network, 9000) == "db", "the newer one is in force"
    states.change(network.router, drops.forward(*newer, revoke=True))
    assert answering(network, 9000) == "web", "the older one comes back"
    with TcpStream(network.internet[INTERNET], "192.0.2.20", 9000) as cut:
        states.change(network.router, drops.forward(*newer))
    assert cut.lost or cut.error, "and what goes on is judged by the one in force, too"
    states.change(network.router, drops.forward(*older, revoke=True))
    assert answering(network, 9000) == "db"
    gone = drops.ingress(811, "192.0.2.20", ports=(9000, 9000), revoked=True)
    states.change(network.router, drops.forward(*newer, revoke=True), gone)
    states.assert_same(before, states.state(network.router))


def test_a_released_address_comes_back_unused(network: Isolated) -> None:
    """The server need not have revoked what it was used for (apache/cloudstack#3862, #6189)."""
    before = states.state(network.router)
    ip = "192.0.2.79"
    here, gone = (drops.address(ip, "192.0.2.1", MAC2, 2, add=add) for add in (True, False))
    used = [drops.static_nat(ip, "10.7.0.12"), drops.ingress(812, ip, ports=(22, 9000))]
    used.append(drops.forward(ip, (9000, 9000), "10.7.0.11"))
    states.change(network.router, *used)
    network.router.command(states.CONVERGE)
    told = f"{ip}: port forwarding, static NAT, firewall rules: no such address yet"
    assert told in states.record(network.router)["pending"]
    states.change(network.router, here)
    assert [answering(network, port, ip) for port in (22, 9000)] == ["db", "web"], "what came first has waited"
    states.change(network.router, gone)
    states.change(network.router, here)
    assert [answering(network, port, ip) for port in (22, 9000)] == [None, None]
    states.change(network.router, gone)
    states.assert_same(before, states.state(network.router))


def test_a_balancer_may_come_before_its_address(network: Isolated) -> None:
    """It is told as pending, serves once the address is there, and does not come back with a released one."""
    late, balancer = "192.0.2.78", Balancer(network.router)
    answer = balancer.apply(Rule(late, 80, machines=("10.7.0.11:80",)))
    assert f"{late}: load balancer on port 80: no such address yet" in answer.stdout
    here, gone = (drops.address(late, "192.0.2.1", MAC2, 2, add=add) for add in (True, False))
    allowed = drops.ingress(813, late, ports=(80, 80))
    states.change(network.router, here, allowed)
    assert answering(network, 80, late) == "web"
    states.change(network.router, gone)
    states.change(network.router, here, allowed)
    assert answering(network, 80, late) is None
    balancer.send()
    assert answering(network, 80, late) == "web", "it is wanted again"
    balancer.apply()
    states.change(network.router, gone)


def announcements(host: Host, handle: int, ip: str) -> list[str]:
    """Return whom an address was announced to, in order; to itself is a gratuitous ARP."""
    seen: list[Answer] = host.probe.call("watch_stop", handle=handle)["seen"]
    return [packet["target"] for packet in seen if packet["sender"] == ip]


def test_a_new_address_is_announced_once_and_a_released_one_is_silent(network: Isolated) -> None:
    """D9, D11, D7: to all, and to the gateway; not again by another converge; afterwards nobody answers for it."""
    gateway, ip = network.gateways["eth3"], "198.51.100.78"
    mac = network.router.nics["eth3"][1]
    watch = gateway.probe.call("arp_watch")["handle"]
    network.router.drop(drops.named("address.announced", 1), drops.address(ip, "198.51.100.1", MAC3, 3))
    assert announcements(gateway, watch, ip) == [ip, "198.51.100.1"]
    assert arp_probe(gateway, ip) == [mac]
    watch = gateway.probe.call("arp_watch")["handle"]
    network.router.drop(drops.named("address.announced", 2), drops.address(ip, "198.51.100.1", MAC3, 3))
    network.router.command(states.CONVERGE)
    network.router.drop(drops.named("address.announced", 3), drops.address(ip, "198.51.100.1", MAC3, 3, add=False))
    assert announcements(gateway, watch, ip) == []
    assert arp_probe(gateway, ip) == []
    assert arp_probe(gateway, "198.51.100.30") == [mac]


def test_an_address_whose_gateway_is_absent_costs_no_time(network: Isolated) -> None:
    """A4, A5: nobody waits for an answer, and "None" is no gateway."""
    gateways = ("198.51.100.254", "None", "", "null")
    for number, gateway in enumerate(gateways):
        body = drops.address(f"198.51.100.8{number}", gateway, MAC3, 3)
        network.router.drop(drops.named("address.gone", number), body)
        assert states.record(network.router, drops.named("address.gone", number))["duration"] < 2
    assert {f"198.51.100.8{number}/24" for number in range(4)} <= set(network.router.facts.addresses("eth3"))
    released = [
        drops.address(f"198.51.100.8{number}", gateway, MAC3, 3, add=False) for number, gateway in enumerate(gateways)
    ]
    states.change(network.router, *released)
    assert network.router.facts.addresses("eth3") == ["198.51.100.30/24"]
    assert ask(network.vms["db"], tcp(INTERNET, 22)).seen_from == "198.51.100.30"
    assert icmp_ping(network.internet[INTERNET], "192.0.2.22")
