# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A pair of routers of a VPC: from no tier at all to several, and back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, TcpStream, icmp_ping, tcp_scan
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios import operating, pair_vpc, spoofing, states
from tests.scenarios.hostile import (
    SECONDS,
    Identity,
    connection_tracker,
    flooding,
    frames,
    roles_of,
    smuggled,
)
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import SERVED, Pair, is_up, known, started, status, transitions
from tests.scenarios.pair_failures import cut
from tests.scenarios.pair_upgrade import upgrade
from tests.scenarios.pair_vpc import IDS, OWN, TIERS, dhcp_entry, mac, tier_drop, tier_drops
from tests.scenarios.spoofing import NOBODYS, Place

pytestmark = pytest.mark.timed

DAEMONS = ("keepalived", "conntrackd", "cloudstack-redundancy", "cloudstack-pair-relay")

UNKNOWN = "10.2.1.200"
"""An address of a tier that no VM of it has, as far as the routers know."""


def send(router: Router, drop: str, body: dict[str, Any]) -> None:
    """Send a drop, which must leave no trace of an error in the log of redundancy."""
    router.drop(drop, body)
    assert "failed (" not in router.exec("sh", "-c", "cat /var/log/cloudstack/redundancy.log || true").stdout


def add_tier(pair: Pair, tier: int, pause: float = 0.0) -> None:
    """Plug a tier into both routers, one after the other, as the management server does."""
    for router in pair.routers.values():
        plug_tier(router, tier)
        time.sleep(pause)


def plug_tier(router: Router, tier: int) -> None:
    """Plug a tier into a router, and send what belongs to it."""
    router.plug(TIERS[tier], f"tier{tier}", mac(router.name, tier))
    for drop, body in tier_drops(router.name, tier):
        send(router, drop, body)


def remove_tier(pair: Pair, tier: int, pause: float = 0.0) -> None:
    """Take a tier from both routers: first the drop, then the NIC."""
    for name, router in pair.routers.items():
        send(router, f"guest_network.json.remove{tier}", tier_drop(name, tier, add=False))
        router.unplug(TIERS[tier])
        time.sleep(pause)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a pair without any tier."""
    with Lab("vpcpair") as lab:
        made = pair_vpc.make(lab)
        for router in made.routers.values():
            router.wait_boot()
            for drop, body in pair_vpc.addresses():
                router.drop(drop, body)
        yield made


def watched(pair: Pair) -> list[Any]:
    """Return what must not change: the daemons' PIDs, and how many elections there were."""
    return [([started(r, unit) for unit in DAEMONS], transitions(r)) for r in pair.routers.values()]


def test_without_a_tier_both_are_idle_and_nothing_is_wrong(pair: Pair) -> None:
    """C4: no configuration for keepalived, no link it could run on."""
    for router in pair.routers.values():
        answer = router.exec("/opt/cloud/bin/checkrouter.sh")
        assert (answer.stdout, answer.stderr) == ("Status: UNKNOWN\n", "")
        assert not is_up(router, "eth1")
        assert not is_up(router, "eth5")
        assert "default" not in router.exec("ip", "route").stdout


def test_first_tier_makes_one_primary(pair: Pair) -> None:
    add_tier(pair, 1)
    pair.settle()
    assert pair.owners("eth1") == pair.owners("eth5") == [pair.primary.name]
    assert icmp_ping(pair.vms["vm1"], INTERNET)
    assert icmp_ping(pair.vms["vm1"], "10.2.1.1")
    for router in pair.routers.values():
        wait_for(lambda router=router: is_member(router, TIERS[1]), 30, "a member for switches that look for them")


def is_member(router: Router, nic: str) -> bool:
    """Tell whether IGMP says on a NIC that what the routers of a pair say is wanted there."""
    return "inet  224.0.0.18" in router.exec("ip", "maddress", "show", "dev", nic).stdout


def test_the_commands_of_operating_for_a_pair_work_as_printed(pair: Pair) -> None:
    commands = operating.commands("pair")
    assert len(commands) > 1
    for router in (pair.primary, pair.backup):
        for line in commands:
            router.exec("sh", "-lc", line)


def test_further_tier_costs_no_election_and_no_packet(pair: Pair) -> None:
    """C1, C2, C5: with time between the two routers."""
    pair.settle()
    before, primary = watched(pair), pair.primary
    with PingStream(pair.vms["vm1"], INTERNET) as stream:
        add_tier(pair, 2, pause=4.0)
    assert stream.lost == 0
    assert watched(pair) == before
    assert pair.primary is primary
    for address_ in (INTERNET, "10.2.2.1", "10.2.1.11"):
        assert icmp_ping(pair.vms["vm2"], address_), address_


def test_no_source_gets_in_where_it_cannot_be(pair: Pair) -> None:
    """The addresses of the pair's own link are for its groups, and serve no VM to reach anything else."""
    pair.settle()
    primary, hosts = pair.primary, pair.lab.hosts
    other = pair.backup.exec("cat", "/var/lib/cloudstack/redundancy/relay").stdout
    sources = {
        **NOBODYS,
        "vm1": "10.2.1.11",
        "vm2": "10.2.2.11",
        "site": "172.20.0.1",
        "internet": INTERNET,
        "management": "169.254.0.1",
        "neighbour": "192.0.2.77",
        "gateway": "10.2.2.1",
        "other router": re.findall(r"240\.[0-9.]+", other)[0],
    }
    aims = [("10.2.1.11", SERVED), ("10.2.2.11", SERVED), (INTERNET, SERVED), ("172.20.0.1", SERVED)]
    own = [("10.2.1.1", 53), ("10.2.2.1", 53)]
    places = [Place(nic, hosts[host], [*aims, *own]) for nic, host in (("eth2", "vm1"), ("eth3", "vm2"))]
    places += [Place(nic, hosts[host], aims) for nic, host in (("eth1", "gateway1"), ("eth5", "site"))]
    passed, taken = spoofing.believed(primary, places, sources)
    # Nothing is forwarded from outside, nor has the private gateway an ACL; all may come from there.
    assert passed == spoofing.pairs({"eth2": ("vm1",), "eth3": ("vm2",), "eth5": ("site", "internet")})
    assert taken == spoofing.pairs({"eth2": ("vm1",), "eth3": ("vm2",)})


def test_a_tier_below_all_others_comes_and_goes_unnoticed(pair: Pair) -> None:
    """C2: for longer than an election takes, the lowest tier of the one router is none of the other's."""
    pair.settle()
    assert IDS[3] < min(IDS[1], IDS[2])
    before, primary = watched(pair), pair.primary
    with PingStream(pair.vms["vm1"], INTERNET) as stream:
        add_tier(pair, 3, pause=4.0)
        wait_for(lambda: all(map(is_heard, pair.routers.values())), 30, "both at the tier that is the lowest for both")
        remove_tier(pair, 3, pause=4.0)
    assert stream.lost == 0
    assert watched(pair) == before
    assert pair.primary is primary


def is_heard(router: Router) -> bool:
    """Tell whether a router hears the other one on its lowest tier, and so needs no other tier to be heard."""
    status = router.facts.unit("cloudstack-pair-relay.service")["StatusText"]
    return status.startswith("the other router is heard by ")


def test_both_routers_are_alike_but_for_their_own_addresses(pair: Pair) -> None:
    """C1: the same gateway addresses in the same order, on the same networks, and the same rules."""
    own = re.compile("|".join(rf"10\.2\.\d\.{number}\b" for number in OWN.values()) + r"|240\.0\.0\.20\d|r-20\d-VM")
    rules = ["\n".join(states.table(router, "cloudstack")) for router in pair.routers.values()]
    elections = [router.exec("cat", "/etc/keepalived/keepalived.conf").stdout for router in pair.routers.values()]
    for texts in (rules, elections):
        one, other = (own.sub("own", text) for text in texts)
        assert one == other
    assert re.findall(r"(10[0-9.]+)/32 dev", one) == ["10.2.1.1", "10.2.2.1"]


@pytest.mark.alone
def test_a_tier_that_lost_its_cable_is_a_reason_to_give_way(pair: Pair) -> None:
    """The other router still reaches the tier; keepalived watches the links of all its addresses."""
    pair.settle()
    old, new = pair.primary, pair.backup
    with PingStream(pair.vms["vm2"], INTERNET) as stream:
        with cut(pair, old, TIERS[2]):
            wait_for(lambda: status(new) == "PRIMARY" and status(old) == "FAULT", 30, "the other router primary")
            time.sleep(1)
        pair.settle()
    assert stream.longest_gap < pair.interval, "it gave way, which takes no election"
    assert pair.primary is new


@pytest.mark.alone
def test_a_vm_is_not_taken_for_a_router(pair: Pair) -> None:
    """Whatever it says, says again, and as whom, while the primary's elector is killed."""
    pair.settle()
    old, new, vm = pair.primary, pair.backup, pair.vms["vm1"]
    stranger = pair.lab.host("stranger", "tier1", f"{UNKNOWN}/24")
    for router in pair.routers.values():
        router.drop("vm_dhcp_entry.json.vm1", dhcp_entry("vm1", "10.2.1.11", pair.lab.mac("vm1")))
    recorded = vm.probe.call("record", seconds=1.0, port=3782)["frames"]
    assert len(recorded) >= 6
    mac, unknown = pair.lab.mac("vm1"), pair.lab.mac("stranger")
    peers = [f"10.2.1.{OWN[old.name]}", f"240.0.0.20{old.name[1]}", f"240.0.0.20{new.name[1]}", "240.0.0.99"]
    identities = [Identity(mac, "10.2.1.11"), Identity(mac, UNKNOWN), Identity(unknown, "10.2.1.11")]
    identities += [Identity(unknown, ip) for ip in (UNKNOWN, *peers)]
    moving = ["10.2.1.1", *(f"10.2.1.{number}" for number in OWN.values()), *peers[1:], pair_vpc.SOURCE_NAT]
    contents = [frame for who in identities for frame in (*frames(who, 7, "240.0.0.0", moving), *recorded)]
    ports = [22, 80, 3780, 3922, 8080]
    before = tcp_scan(pair.internet, pair_vpc.SOURCE_NAT, ports)
    with (
        roles_of(pair) as roles,
        connection_tracker(pair, vm, "10.2.1.11"),
        connection_tracker(pair, stranger, UNKNOWN),
        flooding(vm, contents),
        flooding(stranger, contents),
    ):
        time.sleep(SECONDS / 4)
        assert smuggled(old) == smuggled(new) == []
        old.exec("pkill", "-KILL", "keepalived")
        wait_for(lambda: status(new) == "PRIMARY", pair.bound + 5, "the failover that is due")
        time.sleep(SECONDS / 2)
        new.exec("/opt/cloudstack/libexec/vr-transition", "again")
        assert smuggled(old) == smuggled(new) == []
    assert roles.both == []
    assert roles.seen == {old.name: ["PRIMARY", "BACKUP"], new.name: ["BACKUP", "PRIMARY"]}
    assert tcp_scan(pair.internet, pair_vpc.SOURCE_NAT, ports) == before
    stranger.ip("link", "set", "eth0", "down")
    vm.ip("neigh", "flush", "all")
    pair.settle()


@pytest.mark.alone
def test_a_relay_that_is_killed_is_back_before_it_is_missed(pair: Pair) -> None:
    pair.settle()
    before = [transitions(router) for router in pair.routers.values()]
    pids = [started(router, "cloudstack-pair-relay") for router in pair.routers.values()]
    for _number in range(3):
        for router in pair.routers.values():
            router.exec("systemctl", "kill", "--signal=KILL", "cloudstack-pair-relay")
            time.sleep(pair.interval)
    wait_for(lambda: all(map(is_heard, pair.routers.values())), 30, "both heard again")
    assert [transitions(router) for router in pair.routers.values()] == before
    assert not set(pids) & {started(router, "cloudstack-pair-relay") for router in pair.routers.values()}


def test_an_upgrade_is_no_election(pair: Pair) -> None:
    pair.settle()
    with PingStream(pair.vms["vm1"], INTERNET) as stream:
        upgrade(pair)
    assert stream.lost == 0


def test_a_new_router_knows_the_connections_of_the_old_ones(pair: Pair) -> None:
    """C17: the backup goes first; its successor has no tier before the management server plugs one in."""
    pair.settle()
    old, backup = pair.primary, pair.backup
    pair.internet.probe.serve(tcp=[SERVED])
    with TcpStream(pair.vms["vm1"], INTERNET, SERVED) as out, TcpStream(pair.vms["vm2"], INTERNET, SERVED) as other:
        pair.remove(backup)
        new = pair.routers["r3"] = pair_vpc.router(pair.lab, "r3")
        new.wait_boot()
        for drop, body in pair_vpc.addresses():
            new.drop(drop, body)
        for tier in (1, 2):
            plug_tier(new, tier)
        pair.settle()
        assert pair.primary is old
        wait_for(lambda: known(new) >= 2, 30, "the connections on the new router")
        old.exec("systemctl", "stop", "keepalived")
        wait_for(lambda: status(new) == "PRIMARY", 30, "handover")
        time.sleep(1)
    old.exec("systemctl", "start", "keepalived")
    assert (out.error, other.error) == ("", "")
    assert out.lost == other.lost == 0
    pair.settle()
    assert pair.primary is new


@pytest.mark.alone
def test_failover_moves_all_tiers_at_once(pair: Pair) -> None:
    pair.settle()
    old, new = pair.primary, pair.backup
    with PingStream(pair.vms["vm1"], INTERNET) as one, PingStream(pair.vms["vm2"], "10.2.1.11") as two:
        time.sleep(0.3)
        old.exec("systemctl", "stop", "keepalived")
        wait_for(lambda: status(new) == "PRIMARY", 30, "handover")
        time.sleep(1)
    old.exec("systemctl", "start", "keepalived")
    assert max(one.longest_gap, two.longest_gap) < 0.2
    pair.settle()
    assert pair.owners("eth1") == pair.owners("eth5") == [new.name]
    assert new.facts.unit("dnsmasq@tier_10_2_2_0.service")["ActiveState"] == "active"
    assert old.facts.unit("dnsmasq@tier_10_2_2_0.service")["ActiveState"] == "inactive"


def test_tier_that_is_removed_takes_its_address_along(pair: Pair) -> None:
    pair.settle()
    before, primary = watched(pair), pair.primary
    with PingStream(pair.vms["vm1"], INTERNET) as stream:
        remove_tier(pair, 2)
    assert stream.lost == 0
    assert watched(pair) == before
    assert pair.primary is primary
    for router in pair.routers.values():
        assert "10.2.2" not in router.exec("cat", "/etc/keepalived/keepalived.conf").stdout


def test_last_tier_that_goes_leaves_both_idle(pair: Pair) -> None:
    pair.settle()
    remove_tier(pair, 1)
    for router in pair.routers.values():
        wait_for(lambda router=router: status(router) == "UNKNOWN", 30, "no state without a tier")
        assert not is_up(router, "eth1")
        assert not is_up(router, "eth5")
