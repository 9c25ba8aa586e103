# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an isolated network's router lets through, where it goes, and which address it has then.

The drops are those of tests/fixtures/isolated; the expectations are written by hand, one line per packet.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.lab.host import Host
from tests.lab.probes import Probe, Result, ask, ask_all, icmp_ping, ping, raw_protocol, tcp, tcp_scan, udp
from tests.scenarios import drops, ftp, spoofing
from tests.scenarios.networks import ELSEWHERE, INTERNET, Isolated
from tests.scenarios.spoofing import NOBODYS, Place

WEB, DB, BACKUP = "10.7.0.11", "10.7.0.12", "10.7.0.13"
ROUTER = "10.7.0.1"

# public address and port → who answers, at which port; None: nobody
ENTERING: list[tuple[str, Probe, tuple[str, int] | None]] = [
    (INTERNET, tcp("192.0.2.20", 2222), ("web", 22)),
    (ELSEWHERE, tcp("192.0.2.20", 2222), ("web", 22)),
    (INTERNET, tcp("192.0.2.20", 22), None),
    (INTERNET, tcp("192.0.2.20", 3922), None),
    (INTERNET, tcp("192.0.2.20", 8000), ("db", 9000)),
    (INTERNET, tcp("192.0.2.20", 8001), ("db", 9001)),
    (INTERNET, tcp("192.0.2.20", 8003), ("db", 9003)),
    (INTERNET, tcp("192.0.2.20", 8004), None),
    (ELSEWHERE, tcp("192.0.2.20", 8002), ("db", 9002)),
    (INTERNET, udp("192.0.2.20", 5353), ("db", 53)),
    (INTERNET, tcp("192.0.2.20", 5353), None),
    (INTERNET, tcp("192.0.2.20", 33060), ("db", 3306)),
    (ELSEWHERE, tcp("192.0.2.20", 33060), None),
    (INTERNET, tcp("192.0.2.20", 9100), ("web", 9100)),
    (INTERNET, tcp("192.0.2.20", 9110), ("web", 9110)),
    (INTERNET, udp("192.0.2.20", 9100), None),
    (INTERNET, tcp("192.0.2.21", 80), ("db", 8080)),
    (ELSEWHERE, tcp("192.0.2.21", 80), None),
    (INTERNET, tcp("192.0.2.21", 8080), None),
    (INTERNET, tcp("192.0.2.22", 22), ("web", 22)),
    (INTERNET, tcp("192.0.2.22", 443), ("web", 443)),
    (INTERNET, udp("192.0.2.22", 53), None),
    (INTERNET, tcp("198.51.100.30", 22), ("db", 22)),
    (INTERNET, tcp("198.51.100.30", 80), ("db", 80)),
    (INTERNET, tcp("198.51.100.30", 443), None),
    (INTERNET, udp("198.51.100.30", 4000), ("db", 4000)),
    (INTERNET, tcp("198.18.5.40", 22), ("backup", 22)),
    (INTERNET, udp("198.18.5.40", 4000), ("backup", 4000)),
    (INTERNET, udp("198.18.5.40", 53), None),
]
PINGED = [
    (INTERNET, "192.0.2.20", True),
    (ELSEWHERE, "192.0.2.20", False),
    (INTERNET, "192.0.2.21", False),
    (INTERNET, "192.0.2.22", True),
    (ELSEWHERE, "192.0.2.22", True),
    (INTERNET, "198.51.100.30", False),
]
# from which VM, what, and the source address that is seen outside; None: it does not leave
LEAVING: list[tuple[str, Probe, str | None]] = [
    ("web", tcp(INTERNET, 22), "192.0.2.22"),
    ("db", tcp(INTERNET, 22), "198.51.100.30"),
    ("backup", tcp(INTERNET, 22), "198.18.5.40"),
    ("web", udp(INTERNET, 123), "192.0.2.22"),
    ("db", udp(ELSEWHERE, 4000), "198.51.100.30"),
    ("backup", udp(ELSEWHERE, 4000), "198.18.5.40"),
    ("web", tcp(INTERNET, 25), None),
    ("backup", tcp(ELSEWHERE, 25), None),
    ("web", udp(INTERNET, 6000), None),
    ("db", udp(INTERNET, 6005), None),
    ("backup", udp(INTERNET, 6005), "198.18.5.40"),
    ("web", tcp(INTERNET, 6000), "192.0.2.22"),
    ("web", ping(INTERNET), "192.0.2.22"),
    ("db", ping(INTERNET), None),
    ("backup", ping(INTERNET), "198.18.5.40"),
]
HAIRPIN: list[tuple[str, Probe, tuple[str, int]]] = [
    (vm, tcp(address, port), answer)
    for vm in ("web", "db", "backup")
    for address, port, answer in (
        ("192.0.2.20", 2222, ("web", 22)),
        ("192.0.2.20", 8003, ("db", 9003)),
        ("192.0.2.20", 9105, ("web", 9105)),
        ("192.0.2.21", 80, ("db", 8080)),
        ("192.0.2.22", 80, ("web", 80)),
        ("198.51.100.30", 80, ("db", 80)),
        ("198.18.5.40", 22, ("backup", 22)),
    )
]


def answered(result: Result) -> tuple[str | None, int | None] | None:
    """Return who answered and at which port, None where nobody did."""
    return (result.server, result.port) if result else None


def test_each_rule_and_forward_lets_in_what_it_says_and_nothing_else(isolated: Isolated) -> None:
    results = ask_all([(isolated.internet[source], probe) for source, probe, _expected in ENTERING])
    found = [(source, probe, answered(result)) for (source, probe, _e), result in zip(ENTERING, results, strict=True)]
    assert found == ENTERING


def test_what_enters_keeps_its_source_address(isolated: Isolated) -> None:
    seen = ask(isolated.internet[INTERNET], tcp("198.51.100.30", 22, source_port=40001))
    assert (seen.seen_from, seen.seen_port, seen.seen_at) == (INTERNET, 40001, DB)


@pytest.mark.parametrize(("source", "target", "allowed"), PINGED)
def test_icmp_rules_decide_who_may_ping(isolated: Isolated, source: str, target: str, allowed: bool) -> None:
    assert bool(icmp_ping(isolated.internet[source], target)) is allowed


def test_only_the_given_icmp_type_passes(isolated: Isolated) -> None:
    """Rule 14 allows echo requests; a timestamp request (type 13) is something else."""
    assert not icmp_ping(isolated.internet[INTERNET], "192.0.2.20", kind=13)
    assert icmp_ping(isolated.internet[INTERNET], "192.0.2.22", kind=8)


def test_egress_rules_and_source_nat_of_each_nic(isolated: Isolated) -> None:
    """Each VM leaves by the NIC of its static NAT and with that address (D1, D3); blocked is only what rules say."""
    results = ask_all([(isolated.vms[vm], probe) for vm, probe, _expected in LEAVING])
    found = []
    for (vm, probe, _expected), result in zip(LEAVING, results, strict=True):
        seen = result.seen_from if probe.op != "ping" else _pinged_as(isolated, vm, result)
        found.append((vm, probe, seen if result else None))
    assert found == LEAVING


def _pinged_as(isolated: Isolated, vm: str, result: Result) -> str | None:
    """Return the address that the router gave the VM's ping; the answering host cannot say which it saw."""
    if not result:
        return None
    begun_by_vm = f"src={isolated_ip(vm)} dst={INTERNET} type=8"
    line = next(line for line in isolated.router.facts.conntrack() if begun_by_vm in line)
    return line.split("dst=")[2].split()[0]


def isolated_ip(vm: str) -> str:
    """Return the address of a VM of the fixtures."""
    return {"web": WEB, "db": DB, "backup": BACKUP}[vm]


def test_a_vm_without_static_nat_leaves_with_the_source_nat_address(isolated: Isolated) -> None:
    plain = isolated.lab.host("plain", "guest", "10.7.0.99/24", gateway=ROUTER)
    assert ask(plain, tcp(INTERNET, 22)).seen_from == "192.0.2.20"


def test_hairpin_reaches_every_forward_from_every_vm(isolated: Isolated) -> None:
    """From the VM's own network, also to itself; the VM sees the router's guest address (D6)."""
    results = ask_all([(isolated.vms[vm], probe) for vm, probe, _expected in HAIRPIN])
    found = [(vm, probe, answered(result)) for (vm, probe, _e), result in zip(HAIRPIN, results, strict=True)]
    assert found == HAIRPIN
    assert {result.seen_from for result in results} == {ROUTER}


def test_the_router_itself_reaches_the_forwards(isolated: Isolated) -> None:
    results = ask_all([(isolated.router, probe) for vm, probe, _expected in HAIRPIN if vm == "web"])
    assert [answered(result) for result in results] == [expected for vm, _p, expected in HAIRPIN if vm == "web"]
    assert {result.seen_from for result in results} == {ROUTER}


def test_all_pairs_of_own_public_addresses_reach_each_other(isolated: Isolated) -> None:
    """D4: a VM with an address in one public subnet reaches those of the others."""
    targets = {"web": "192.0.2.22", "db": "198.51.100.30", "backup": "198.18.5.40"}
    pairs = [(source, target) for source in targets for target in targets]
    results = ask_all([(isolated.vms[source], tcp(targets[target], 22)) for source, target in pairs])
    assert [result.server for result in results] == [target for _source, target in pairs]


@pytest.mark.parametrize(
    ("address", "opened"),
    [
        ("192.0.2.20", {2222, 9100, 9105, 9110}),
        ("192.0.2.21", set()),
        ("198.51.100.30", {22, 25, 80}),
    ],
)
def test_a_scan_from_outside_finds_only_what_was_opened(isolated: Isolated, address: str, opened: set[int]) -> None:
    """F14: from a host that no source list lets in, except where a rule is for all."""
    scanner = isolated.lab.hosts.get("scanner") or _scanner(isolated)
    found = tcp_scan(scanner, address, [(1, 12000), (33000, 34000)], timeout=0.5, concurrency=2000)
    assert set(found["open"]) <= opened
    assert all(ask_all([(scanner, tcp(address, port)) for port in opened]))


def _scanner(isolated: Isolated) -> Host:
    host = isolated.lab.host("scanner", "internet", "203.0.113.201/24")
    for number, network in enumerate(("192.0.2.0/24", "198.51.100.0/24", "198.18.5.0/24"), start=1):
        host.add_route(network, f"203.0.113.{240 + number}")
    return host


def test_the_guest_network_cannot_be_reached_around_its_addresses(isolated: Isolated) -> None:
    """A host beside the router that sends straight to a VM, with the router as gateway, gets nowhere."""
    neighbour = isolated.lab.host("neighbour", "eth2", "192.0.2.77/24")
    neighbour.add_route("10.7.0.0/24", "192.0.2.20")
    neighbour.add_route("169.254.0.0/16", "192.0.2.20")
    results = ask_all([(neighbour, probe) for probe in (tcp(WEB, 22), udp(DB, 53), ping(WEB), tcp("169.254.0.1", 22))])
    assert not any(results)


def test_no_protocol_without_a_rule_enters(isolated: Isolated) -> None:
    assert not raw_protocol(isolated.internet[INTERNET], isolated.vms["web"], "192.0.2.22", 47)


def test_guests_reach_the_services_of_the_router_and_no_others(isolated: Isolated) -> None:
    vm = isolated.vms["web"]
    found = tcp_scan(vm, ROUTER, [(1, 12000)], timeout=0.5, concurrency=2000)
    assert set(found["open"]) <= {53, 80, 443, 8080}
    assert all(ask_all([(vm, tcp(ROUTER, port)) for port in (53, 80, 443, 8080)]))
    assert not ask(vm, tcp("169.254.0.1", 22)), "the control network is not the guests'"


def test_management_reaches_sshd_on_the_control_address_only(isolated: Isolated) -> None:
    found = tcp_scan(isolated.management, "169.254.7.7", [(1, 12000)], timeout=0.5, concurrency=2000)
    assert set(found["open"]) <= {3922}
    assert ask(isolated.management, tcp("169.254.7.7", 3922))
    assert icmp_ping(isolated.management, "169.254.7.7")


def test_usage_counts_bytes_between_guests_and_each_public_nic(isolated: Isolated) -> None:
    """One line, sent and received of each NIC; a reload of the rules keeps the counts (K6)."""
    isolated.router.command("netusage.sh -r")
    for _number in range(5):
        assert ask(isolated.vms["db"], tcp(INTERNET, 22))
    before = ""
    # The last packets of a connection may come late.
    while before != (before := isolated.router.command("netusage.sh -g -l 198.51.100.30").stdout.strip()):
        time.sleep(0.3)
    sent, received, *own = before.split(":")
    assert int(sent) > 5 * 40
    assert int(received) > 5 * 40
    assert own == ["0", "0", ""], "nothing ends on the router"
    isolated.router.exec("nft", "flush", "chain", "inet", "cloudstack", "forward")
    isolated.router.command("configure.py monitor_service.json")
    assert isolated.router.command("netusage.sh -g -l 198.51.100.30").stdout.strip() == before


SOURCES = {
    **NOBODYS,
    "web": WEB,
    "no VM": "10.7.0.99",
    "other network": "10.8.0.5",
    "internet": INTERNET,
    "management": "169.254.0.1",
    "neighbour": "192.0.2.77",
    "other neighbour": "198.51.100.77",
    "broadcast": "10.7.0.255",
    "router": ROUTER,
    "router outside": "192.0.2.20",
}
OUTSIDE = ("internet", "other network", "neighbour", "other neighbour")


def test_no_source_gets_in_where_it_cannot_be(isolated: Isolated) -> None:
    """A rule that admits the guest network, as the servers of some clouds have it, admits nobody outside."""
    aims = [("192.0.2.20", 2222), ("198.51.100.30", 22), ("198.18.5.40", 22), (INTERNET, 22), (DB, 22)]
    senders = {"eth0": "backup", "eth1": "management", "eth2": "gateway1", "eth3": "gateway2", "eth4": "gateway3"}
    own = {"eth0": [(ROUTER, 53)], "eth1": [("169.254.7.7", 3922)]}
    places = [Place(nic, isolated.lab.hosts[host], [*aims, *own.get(nic, [])]) for nic, host in senders.items()]
    passed, taken = spoofing.believed(isolated.router, places, SOURCES)
    honest = {"eth0": ("web", "no VM"), **dict.fromkeys(("eth2", "eth3", "eth4"), OUTSIDE)}
    assert passed == spoofing.pairs(honest)
    assert taken == spoofing.pairs({"eth0": ("web", "no VM"), "eth1": ("management", *OUTSIDE[:2])})


SEGMENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as opened:
    print(opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
"""


def test_segments_fit_the_smaller_of_two_nics(isolated: Isolated) -> None:
    """The guest NIC takes 1,450 bytes, the public ones 1,500; neither end depends on ICMP to learn it."""
    found = [
        int(host.run(sys.executable, "-c", SEGMENT, address, 22).stdout)
        for host, address in ((isolated.internet[INTERNET], "192.0.2.22"), (isolated.vms["web"], INTERNET))
    ]
    assert all(1300 < size <= 1450 - 40 for size in found), found


# FTP: control connections tell where data connections go


def test_data_connections_of_ftp_find_their_way(isolated: Isolated, tmp_path: Path) -> None:
    """In and out, by static NAT and by a forward of another port, whichever side opens the data connection."""
    for number, address in enumerate(("192.0.2.22", "192.0.2.20"), start=901):
        isolated.router.drop(drops.named("firewall_rules", number), drops.ingress(number, address, "tcp", (21, 21)))
    isolated.router.drop(drops.named("firewall_rules", 903), drops.ingress(903, "192.0.2.20", "tcp", (2121, 2121)))
    isolated.router.drop(drops.named("forwarding_rules", 904), drops.forward("192.0.2.20", (2121, 2121), DB, (21, 21)))
    web, db, internet = isolated.vms["web"], isolated.vms["db"], isolated.internet[INTERNET]
    with ftp.server(web, tmp_path), ftp.server(db, tmp_path), ftp.server(internet, tmp_path):
        ways = [(internet, "192.0.2.22", 21), (internet, "192.0.2.20", 2121), (web, INTERNET, 21), (db, INTERNET, 21)]
        ways += [(db, "192.0.2.22", 21)]
        found = {(host.name, address, mode): ftp.fetch(host, address, mode, port)
                 for host, address, port in ways for mode in ftp.MODES}  # fmt: skip
        assert [way for way, whole in found.items() if not whole] == []


def test_ftp_opens_nothing_but_what_its_two_ends_could_open_anyway(isolated: Isolated) -> None:
    """A VM's word opens its own address only, to its server only, and no well-known port."""
    db, server, other = isolated.vms["db"], isolated.internet[INTERNET], isolated.internet[ELSEWHERE]
    server.probe.serve(tcp=(21,))
    closed = [(host, tcp("198.51.100.30", port)) for host in (server, other) for port in (443, 9000)]
    assert not any(ask_all(closed))
    with ftp.control(db, INTERNET) as connection:
        connection.say(f"PORT {ftp.told(WEB, 9000)}")
        connection.say(f"PORT {ftp.told('192.0.2.20', 9000)}")
        connection.say(f"PORT {ftp.told(ROUTER, 8080)}")
        assert expected(isolated) == [], "other addresses than the sender's"
        connection.say(f"PORT {ftp.told(DB, 443)}")
        assert len(expected(isolated)) == 1
        assert not ask(server, tcp("198.51.100.30", 443))
        connection.say(f"PORT {ftp.told(DB, 9000)}")
        assert not ask(other, tcp("198.51.100.30", 9000))
        assert ask(server, tcp("198.51.100.30", 9000)).server == "db"
        assert not ask(server, tcp("198.51.100.30", 9000)), "once"
    assert not any(ask_all(closed))


def expected(isolated: Isolated) -> list[str]:
    """Return the data connections that connection tracking waits for."""
    return isolated.router.exec("conntrack", "-L", "expect").stdout.splitlines()
