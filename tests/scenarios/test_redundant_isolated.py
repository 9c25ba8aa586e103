# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a pair of routers of an isolated network survives, and what it costs.

CONNECTIONS and INTERVAL (seconds) of the environment make it a bench, which `make failover` runs and prints.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator

import pytest

from tests.lab.probes import PingStream, arp_probe, icmp_ping
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios import pair as pairs
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import FAR, GATEWAY, LOG, OWN, SOURCE_NAT, STATIC, VMS, Pair, is_up, status
from tests.scenarios.pair_failures import FAILURES, advertisements, cut, frozen, hand_over
from tests.scenarios.pair_traffic import Report, traffic

pytestmark = pytest.mark.timed

CONNECTIONS = int(os.environ.get("CONNECTIONS", "120"))
INTERVAL = float(os.environ.get("INTERVAL", "1"))
CLAIMED = "claimed by another machine"
ARP_TABLE = "add table arp seen; add chain arp seen input { type filter hook input priority 0; };"
VRRP_TABLE = "add table ip seen; add chain ip seen input { type filter hook input priority -200; };"
DAEMONS = ("keepalived", "conntrackd", "cloudstack-redundancy")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a configured pair."""
    with pairs.running("pair", INTERVAL) as made:
        yield made


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Collect a line per failure, and print them together, past pytest's capture."""
    lines: list[str] = []
    yield lines
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        # Not to standard output: that of one of several processes goes nowhere.
        print(f"\n{'failure':32} advert_int {INTERVAL:g} s", *lines, sep="\n", file=sys.stderr)


@pytest.mark.alone
@pytest.mark.parametrize("failure", FAILURES)
def test_no_connection_is_lost(pair: Pair, table: list[str], failure: str) -> None:
    """C7, C8, N4, N6: another router takes over within the time of an election, and knows every connection."""
    happen, bound = FAILURES[failure]
    pair.settle()
    old, new = pair.primary, pair.backup
    with traffic(pair, CONNECTIONS) as report:
        time.sleep(0.5)
        with happen(pair, old):
            wait_for(lambda: status(new) == "PRIMARY", pair.bound + 5, f"{failure}: {new.name} primary")
            time.sleep(1)
            assert pair.owners() == [new.name], failure
    table.append(f"{failure:32} {report}")
    check(report, bound or pair.bound)
    pair.settle()
    assert pair.primary is new, "no preemption: the one that took over stays primary"


def check(report: Report, bound: float) -> None:
    """Want every connection alive and no longer gap."""
    assert report.broken == ()
    assert report.gap <= bound
    assert report.connections == CONNECTIONS


@pytest.mark.alone
def test_a_public_cable_is_missed_by_the_watchdog(pair: Pair, table: list[str]) -> None:
    """Nobody but the watchdog can see it: the link of VRRP is well."""
    pair.settle()
    old, new = pair.primary, pair.backup
    time.sleep(16)  # a new primary keeps the job for 15 s
    pair.plug_again(old, "eth2", 0.25 * min(pair.interval, 0.3))
    time.sleep(1)
    assert pair.primary is old, "a link that is plugged in again is no reason to give way"
    with traffic(pair, CONNECTIONS) as report, cut(pair, old, "eth2"):
        wait_for(lambda: status(new) == "PRIMARY", 10, "the other primary")
        time.sleep(1)
    table.append(f"{'public cable cut':32} {report}")
    check(report, pair.bound)
    assert "giving way: no carrier on eth2" in old.exec("cat", LOG).stdout


@pytest.mark.alone
@pytest.mark.parametrize("intervals", [1.0, 2.9])
def test_a_short_freeze_is_no_failover(pair: Pair, table: list[str], intervals: float) -> None:
    """C7: live migration stops a router for a moment; below three intervals no moment is a bad one."""
    pair.settle()
    primary, seconds = pair.primary, intervals * pair.interval
    before = [pairs.elections(router) for router in pair.routers.values()]
    with traffic(pair, CONNECTIONS) as report, advertisements(pair) as watch:
        with frozen(primary, watch):
            time.sleep(seconds)
        time.sleep(1)
        assert watch.silence > seconds
        assert {each["sender"] for each in watch.seen} == {OWN[primary.name]}
    table.append(f"{f'freeze of {seconds:g} s':32} {report}")
    assert report.broken == ()
    assert pair.primary is primary
    assert before == [pairs.elections(router) for router in pair.routers.values()]


@pytest.mark.alone
def test_a_restart_in_sequence_loses_no_connection(pair: Pair, table: list[str]) -> None:
    """C17: the backup first; when it knows everything again, the primary hands over and reboots."""
    pair.settle()
    primary, backup = pair.primary, pair.backup
    with traffic(pair, CONNECTIONS) as report:
        for router in (backup, primary):
            router.reboot()
            pair.settle()
    table.append(f"{'restart in sequence':32} {report}")
    check(report, pair.interval)  # no election, which takes more than three; how long a handover takes is tested above
    assert pair.primary is backup


def test_a_long_freeze_ends_with_one_primary(pair: Pair, table: list[str]) -> None:
    """The one that wakes up believes to be primary still."""
    pair.settle()
    old = pair.primary
    with traffic(pair, CONNECTIONS) as report, advertisements(pair) as watch:
        with frozen(old, watch):
            time.sleep(4 * pair.interval + 1)
        healed = wait_for(lambda: len(pair.owners()) == 1, 3 * pair.interval + 1, "one owner again")
        time.sleep(2)
    table.append(f"{f'freeze of {4 * pair.interval + 1:g} s':32} {report}, one owner after {healed:.1f} s")
    pair.settle()
    assert report.broken == ()


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5])
def test_lossy_link(pair: Pair, table: list[str], loss: float) -> None:
    """Lost advertisements may make an election, never a lost connection or two primaries that stay."""
    pair.settle()
    with traffic(pair, CONNECTIONS) as report, pair.partition(loss):
        time.sleep(10)
    table.append(f"{f'{loss:.0%} of VRRP and sync lost':32} {report}")
    pair.settle(timeout=15)
    assert report.broken == ()


def test_partition_is_reported_and_heals(pair: Pair, table: list[str]) -> None:
    """C1, C3, N5: two primaries for as long as they cannot hear each other, and three intervals longer at most."""
    pair.settle()
    before = [pairs.elections(router) for router in pair.routers.values()]
    with pair.partition():
        wait_for(lambda: list(pair.states().values()) == ["PRIMARY"] * 2, 4 * pair.interval + 3, "two primaries")
    healed = wait_for(lambda: len(pair.owners()) == 1, 3 * pair.interval + 1, "one owner again")
    table.append(f"{'partition, then healed':32} one owner after {healed:.1f} s")
    pair.settle()
    after = [pairs.elections(router) for router in pair.routers.values()]
    assert sum(after) - sum(before) == 2, "one became primary, one gave way, no more"


def test_a_primary_that_nobody_heard_keeps_nothing(pair: Pair, table: list[str]) -> None:
    """The router that stays primary hears no advertisement of the other one, which had the last word on every segment.

    Neighbours learn addresses from ARP, switches from any frame: the second public NIC has another MAC on each router.
    """
    pair.settle()
    winner, loser = pair.routers["r2"], pair.routers["r1"]
    if pair.primary is loser:
        with hand_over(pair, loser):
            wait_for(lambda: status(winner) == "PRIMARY", 30, "handover")
        pair.settle()
    time.sleep(max(3.0, 4 * pair.interval))  # a new primary has just announced its addresses, and does not defend them
    wait_for(lambda: CLAIMED not in problems(winner), 20, "the end of what was claimed before")
    with traffic(pair, CONNECTIONS) as report:
        with pair.partition(silent=["r1"]):
            with pair.partition(silent=["r2"]):
                wait_for(lambda: status(loser) == "PRIMARY", 4 * pair.interval + 3, "two primaries")
            wait_for(lambda: status(loser) == "BACKUP", 4 * pair.interval + 3, f"{loser.name} gives way")
        wait_for(lambda: CLAIMED in problems(winner), 30, "the claims reported")
    table.append(f"{'primary that nobody heard':32} {report}")
    assert report.broken == ()
    for gateway, ip, nic in ((1, SOURCE_NAT, 0), (1, STATIC, 0), (2, FAR, 1)):
        host, mac = pair.lab.hosts[f"gateway{gateway}"], pairs.public_mac(winner.name, pairs.SUBNETS[nic])
        wait_for(lambda host=host, ip=ip, mac=mac: mac in host.ip("neigh", "show", ip), 5, f"{ip} back at the winner")
    assert pair.primary is winner


def test_a_strangers_claim_is_answered_for_that_address_alone(pair: Pair) -> None:
    """RFC 5227, section 2.4: a lasting conflict is reported, defended, and makes no storm."""
    pair.settle()
    primary, gateway = pair.primary, pair.lab.hosts["gateway2"]
    stranger = pair.lab.host("stranger", "eth3", f"{FAR}/24")
    mac = pairs.public_mac(primary.name, pairs.SUBNETS[1])
    announced = "arp operation request arp saddr ip {} arp daddr ip {}".format(*[FAR] * 2)
    gateway.run("nft", ARP_TABLE + f" add rule arp seen input {announced} arp saddr ether {mac} counter")
    before, started = pairs.transitions(primary), time.monotonic()
    while time.monotonic() - started < 5:
        stranger.ip("neigh", "flush", "all")
        icmp_ping(stranger, "198.51.100.1", timeout=0.2)  # asks for the gateway, and says that it has the address
    assert CLAIMED in problems(primary)
    stranger.ip("link", "set", "eth0", "down")
    wait_for(lambda: mac in gateway.ip("neigh", "show", FAR), 5, "the address back at the primary")
    packets = int(re.findall(r"packets (\d+)", gateway.run("nft", "list", "table", "arp", "seen").stdout)[0])
    looks = (time.monotonic() - started) // 2 + 2
    assert 1 <= packets <= 2 * looks, "two packets for a claim, whatever number of times it was made"
    assert pairs.transitions(primary) == before, "one address is not the other router"


@pytest.mark.parametrize(
    "order",
    ["both at once", "one by one", "both lose power", "elector restarts on both"],
)
def test_every_start_ends_with_one_primary(pair: Pair, table: list[str], order: str) -> None:
    """C6: BACKUP/BACKUP and PRIMARY/PRIMARY after stops, starts and reboots; B19: a ping that began before goes on."""
    pair.settle()
    with PingStream(pair.vms["web"], INTERNET) as stream:
        took = start(pair, order)
        time.sleep(2)
    table.append(f"{order:32} {pair.states()} after {took:.1f} s")
    assert len(pair.owners("eth2")) == len(pair.owners("eth3")) == 1
    assert pair.owners() == [pair.primary.name]
    lost = stream.figures["lost"]
    assert not lost or lost[-1] < stream.sent - 50, "answered at the end: translated, whatever passed during the boot"


def start(pair: Pair, order: str) -> float:
    """Stop and start routers; return the seconds until there was one primary again."""
    routers = list(pair.routers.values())
    if order in ("both at once", "both lose power", "one by one"):
        for router in routers:
            (router.stop if order == "both at once" else router.power_off)()
        for router in routers:
            router.start()
            if order == "one by one":
                router.wait_boot()
                pair.settle(("BACKUP", "PRIMARY")[-len(pair.states()) :])
        for router in routers:
            router.wait_boot()
    else:
        for router in routers:
            router.exec("systemctl", "restart", "keepalived")
    return pair.settle()


@pytest.mark.parametrize("which", ["backup", "primary"])
def test_a_router_that_the_management_server_stops_and_starts_disturbs_nobody(
    pair: Pair, table: list[str], which: str
) -> None:
    """It begins empty, and closed, so that it hears nobody: it must not become a second primary meanwhile."""
    pair.settle()
    router = pair.primary if which == "primary" else pair.backup
    (other,) = (each for each in pair.routers.values() if each is not router)
    router.stop()
    pair.settle(("PRIMARY",))
    before = pairs.transitions(other)
    with PingStream(pair.vms["web"], INTERNET) as stream:
        router.start()
        time.sleep(3)
        router.bring_arguments(pairs.cmdline(router.name, pair.interval))
        pairs.send_all(router)
        took = pair.settle()
        time.sleep(1)
    table.append(f"{f'the server restarts the {which}':32} {pair.states()} after {took:.1f} s")
    assert pair.primary is other
    assert pairs.transitions(other) == before
    assert stream.figures["lost"] == []


def problems(router: Router) -> str:
    """Return what the watchdog found wrong at its last look."""
    return router.exec("/opt/cloud/bin/checkrouter.sh").stdout


def routing(router: Router) -> tuple[str, str]:
    """Return all routes and rules."""
    routes, rules = (("-4", "route", "show", "table", "all"), ("-4", "rule", "show"))
    return router.exec("ip", *routes).stdout, router.exec("ip", *rules).stdout


def test_routes_after_failover_are_those_after_boot(pair: Pair) -> None:
    """C9, byte for byte."""
    pair.settle()
    primary, backup = pair.primary, pair.backup
    idle = routing(backup)
    with hand_over(pair, primary):
        wait_for(lambda: status(backup) == "PRIMARY", 30, "handover")
    pair.settle()
    taken_over = routing(backup)
    assert routing(primary)[0] != taken_over[0]
    assert routing(primary)[1] == idle[1]
    # The same router, as primary from its boot on.
    primary.power_off()
    backup.reboot()
    pair.settle(("PRIMARY",))
    assert routing(backup) == taken_over
    primary.start()
    primary.wait_boot()
    pair.settle()


def test_a_backup_stays_a_backup_whatever_is_converged(pair: Pair) -> None:
    """C18, C13: links down, no route through them, services stopped, and nothing announced."""
    backup = pair.backup
    backup.command("configure.py")
    assert not is_up(backup, "eth2")
    assert not is_up(backup, "eth3")
    assert "default" not in backup.exec("ip", "route").stdout
    assert backup.facts.unit("dnsmasq.service")["ActiveState"] == "inactive"
    assert backup.facts.moved_addresses("eth0") == []
    assert arp_probe(pair.vms["web"], GATEWAY) == [pair.lab.mac(f"{pair.primary.name}.guest")]


def test_drops_touch_no_daemon_and_no_packet(pair: Pair) -> None:
    """C5: a rule, a VM and a forward cost neither an election nor a restart."""
    pair.settle()
    before = {name: [pairs.started(router, unit) for unit in DAEMONS] for name, router in pair.routers.items()}
    elections = {name: pairs.transitions(router) for name, router in pair.routers.items()}
    with traffic(pair) as report:
        for router in pair.routers.values():
            router.drop("forwarding_rules.json.a", {"rules": [pairs.forward(2223)], "type": "forwardrules"})
            router.drop(
                "forwarding_rules.json.b", {"rules": [pairs.forward(2223, revoke=True)], "type": "forwardrules"}
            )
            router.drop("vm_dhcp_entry.json.new", pairs.dhcp_entry("new", "10.1.1.99", "02:01:00:00:00:63"))
            router.drop(
                "vm_dhcp_entry.json.old", pairs.dhcp_entry("new", "10.1.1.99", "02:01:00:00:00:63", remove=True)
            )
    assert report.lost == 0
    assert before == {name: [pairs.started(router, unit) for unit in DAEMONS] for name, router in pair.routers.items()}
    assert elections == {name: pairs.transitions(router) for name, router in pair.routers.items()}


def test_configurations_of_the_pair_agree(pair: Pair) -> None:
    """C1, C2: the same addresses, the same id; apart from the own address and name nothing differs."""
    texts = [
        router.exec("cat", "/etc/keepalived/keepalived.conf")
        .stdout.replace(OWN[name], "own")
        .replace(f"10{name[1]}", "n")
        for name, router in pair.routers.items()
    ]
    assert texts[0] == texts[1]
    assert texts[0].count("vrrp_instance") == 1
    assert "auth" not in texts[0], "VRRP version 3 has no authentication, and AH's counters made two primaries (N5)"


def test_an_election_among_vms_is_none_of_ours(pair: Pair) -> None:
    """VMs that run VRRP have ids of their own; one that has the pair's is a VM none the less."""
    pair.settle()
    conf = pair.primary.exec("cat", "/etc/keepalived/keepalived.conf").stdout
    own = int(re.findall(r"virtual_router_id (\d+)", conf)[0])
    pair.primary.exec("nft", VRRP_TABLE + f" add rule ip seen input ip saddr {VMS['db']} ip protocol 112 counter")
    for number in (own % 255 + 1, own):
        sent = pair.vms["db"].probe.call(
            "send_raw", dst="224.0.0.18", protocol=112, payload=f"31{number:02x}fd010019" * 2
        )
        assert sent["verdict"] == "sent"
        time.sleep(0.3)
        assert VMS["db"] not in heard(pair.primary)
    assert "packets 2 " in pair.primary.exec("nft", "list", "table", "ip", "seen").stdout, "both have arrived"
    pair.primary.exec("nft", "delete", "table", "ip", "seen")


def heard(router: Router) -> str:
    """Return whose advertisements a router has heard lately."""
    return router.exec("nft", "list", "set", "inet", "cloudstack_pair", "primaries").stdout


@pytest.mark.parametrize("daemon", ["keepalived", "conntrackd"])
def test_watchdog_brings_a_stopped_daemon_back(pair: Pair, daemon: str) -> None:
    """N4: also one that an operator stopped."""
    pair.settle()
    backup = pair.backup
    backup.exec("systemctl", "stop", daemon)
    took = wait_for(lambda: pairs.active(backup, daemon), 10, f"{daemon} back")
    assert took < 10
    assert f"{daemon} is not running" in backup.exec("cat", LOG).stdout
    pair.settle()


def test_new_public_owner_is_known_to_the_gateway_at_once(pair: Pair) -> None:
    """C8, D9: the second public NIC has another MAC on each router."""
    pair.settle()
    old, new = pair.primary, pair.backup
    gateway = pair.lab.hosts["gateway2"]
    wanted = pairs.public_mac(new.name, pairs.SUBNETS[1])
    with hand_over(pair, old):
        wait_for(lambda: status(new) == "PRIMARY", 30, "handover")
        wait_for(lambda: wanted in gateway.ip("neigh", "show", FAR), 2, "the new MAC")
    pair.settle()
    assert arp_probe(pair.lab.hosts["gateway1"], SOURCE_NAT) == arp_probe(pair.lab.hosts["gateway1"], STATIC)
