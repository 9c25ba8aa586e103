# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IPv6 and routed mode of a pair: VMs do not notice which router works for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, TcpStream, ask_all, ping, tcp
from tests.lab.process import LabError
from tests.lab.router import Router
from tests.scenarios import dual, states
from tests.scenarios.dual import (
    APP,
    CLIENT6,
    GUEST,
    OWN6,
    POLICY,
    POLICY6,
    PUBLIC_MAC,
    VMS,
    WEB,
    Dual,
    address6,
    configured,
    rule,
    rule6,
    rules,
    solicit,
)
from tests.scenarios.peers import Bird, peer, peers

pytestmark = pytest.mark.timed

VM1 = address6("vm1")
MOVING = ("2001:db8:a:1::1/64", "fe80::1/64")
"""What only the primary has on the guest network."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Dual]:
    """Return a routed isolated network with IPv6 and two routers; `router` is the first of them."""
    with Lab("pair-ipv6") as lab:
        hosts = dual.outside(lab, [GUEST]) | dual.guests(lab, [GUEST])
        routers = {}
        for number in (1, 2):
            nics = {"eth0": ("guest", f"02:00:2e:00:00:1{number}"), "eth1": ("control", f"0e:00:a9:fe:03:1{number}")}
            routers[f"r{number}"] = lab.router(f"r{number}", cmdline(number), {**nics, "eth2": ("public", PUBLIC_MAC)})
        for name in ("client", "vm1", "vm2"):
            hosts[name].probe.serve(tcp=dual.SERVED_TCP, udp=dual.SERVED_UDP)
        for router in routers.values():
            router.wait_boot()
            ours = rules(POLICY, rule(801, "icmp"), rule(802, "tcp", (22, 22)))
            ours6 = rules(POLICY6, rule6(701, "icmp"), rule6(702, "tcp", (22, 22)), kind="ipv6firewallrules")
            states.change(router, dual.public_address(2), ours, ours6)
        found = Dual(lab, routers["r1"], hosts)
        primary(found)
        configured(found, "vm1", "vm2")
        yield found


def cmdline(number: int) -> str:
    """Return the boot arguments of one of the routers."""
    own = {"eth0ip": f"10.1.1.8{number}", "eth1ip": f"169.254.3.10{number}", "name": f"r-10{number}-VM"}
    own |= {**dual.IPV6_ARGUMENTS, "eth0ip6": f"2001:db8:a:1::8{number}", "is_routed": "true"}
    shared = {"redundant_router": "1", "advert_int": "1", "guestgw": "10.1.1.1", "guestbrd": "10.1.1.255"}
    shared |= {"guestcidrsize": "24", "guestgw6": "2001:db8:a:1::1", "guestcidr6size": "64"}
    return dual.isolated_cmdline(**own, **shared)


def states_of(pair: Dual) -> dict[str, str]:
    """Return the state of each router."""
    return {
        name: router.command("checkrouter.sh", check=False).stdout.split(":")[-1].strip()
        for name, router in pair.lab.routers.items()
    }


def primary(pair: Dual, within: float = 30) -> Router:
    """Wait until exactly one router is primary, and return it."""
    end = time.monotonic() + within
    while True:
        found = [name for name, state in states_of(pair).items() if state.startswith("PRIMARY")]
        if len(found) == 1:
            return pair.lab.routers[found[0]]
        if time.monotonic() > end:
            raise LabError(f"states are {states_of(pair)}")
        time.sleep(0.2)


def other(pair: Dual, router: Router) -> Router:
    """Return the other router of the pair."""
    return next(one for one in pair.lab.routers.values() if one is not router)


def guest_addresses(router: Router) -> str:
    """Return what a router has of IPv6 on the guest NIC."""
    return router.exec("ip", "-6", "address", "show", "dev", "eth0").stdout


def test_routed_11_a_routed_pair_elects_one_and_both_families_pass(pair: Dual) -> None:
    states_now = sorted(states_of(pair).values())
    assert [state.split()[0] for state in states_now] == ["BACKUP", "PRIMARY"]
    hosts = pair.hosts
    questions = [(hosts["vm1"], tcp(CLIENT6, 80)), (hosts["client"], tcp(VM1, 22)), (hosts["client"], ping(OWN6))]
    questions += [(hosts["vm1"], tcp(dual.CLIENT, 80)), (hosts["client"], tcp(VMS["vm1"][1], 22))]
    assert [bool(result) for result in ask_all(questions)] == [True] * 5


def test_ipv6_18_one_router_has_what_vms_know_and_one_advertises(pair: Dual) -> None:
    """Also after a drop and a reboot of the backup."""
    active = primary(pair)
    idle = other(pair, active)
    for _round in range(2):
        assert all(address in guest_addresses(active) for address in MOVING)
        assert not any(address in guest_addresses(idle) for address in MOVING)
        assert idle.facts.unit("radvd")["ActiveState"] == "inactive"
        assert solicit(pair.hosts["vm1"]).count("from fe80::1") == 1
        states.change(idle, rules(rule6(703, "udp", (53, 53)), kind="ipv6firewallrules"))
        idle.reboot()
    assert primary(pair) is active


@pytest.mark.alone
def test_ipv6_19_a_handover_and_a_loss_of_power_are_survived(pair: Dual) -> None:
    """The gap of IPv6 is that of IPv4 and 0.2 s; the default router of VMs and their connections stay."""
    for power in (False, True):
        active = primary(pair)
        routes = pair.hosts["vm1"].ip("-6", "route", "show", "default").split("expires")[0]
        with (
            TcpStream(pair.hosts["vm1"], CLIENT6, 80) as stream,
            PingStream(pair.hosts["vm1"], CLIENT6) as six,
            PingStream(pair.hosts["vm1"], dual.CLIENT) as four,
        ):
            time.sleep(0.5)
            if power:
                active.power_off()
            else:
                active.exec("systemctl", "stop", "keepalived")
            time.sleep(8)
        assert stream.error == ""
        assert six.lost <= four.lost + 20, (six.lost, four.lost)
        assert four.lost < 500
        assert pair.hosts["vm1"].ip("-6", "route", "show", "default").split("expires")[0] == routes
        if power:
            active.start()
            active.wait_boot()
        else:
            active.exec("systemctl", "start", "keepalived")
        time.sleep(3)
        assert primary(pair) is not active


def test_ipv6_20_no_address_is_in_doubt_after_handovers(pair: Dual) -> None:
    for _round in range(4):
        active = primary(pair)
        active.exec("systemctl", "stop", "keepalived")
        time.sleep(5)
        active.exec("systemctl", "start", "keepalived")
        assert primary(pair) is not active
    for router in pair.lab.routers.values():
        shown = router.exec("ip", "-6", "address").stdout
        assert "dadfailed" not in shown
        assert "tentative" not in shown
    assert OWN6 in primary(pair).exec("ip", "-6", "address", "show", "dev", "eth2").stdout


def test_bgp_13_only_the_primary_speaks_and_the_other_takes_over(pair: Dual, tmp_path: Path) -> None:
    """The peer hears no farewell at a handover: its routes stay right, and it agrees to a restart."""
    for router in pair.lab.routers.values():
        states.change(router, peers(peer(1, (dual.HOP, dual.HOP6))))
    with Bird(pair.hosts["provider"], (dual.HOP, dual.HOP6), tmp_path) as bird:
        bird.established("four", "six", within=30)
        bird.learns("four", {GUEST.network: dual.OWN})
        for _round in range(2):
            active = primary(pair)
            assert active.exec("pidof", "bgpd").stdout
            assert not other(pair, active).exec("pidof", "bgpd", check=False).stdout
            active.exec("systemctl", "stop", "keepalived")
            end = time.monotonic() + 20
            absent = 0.0
            while time.monotonic() < end:
                absent += 0.0 if GUEST.network in bird.learned("four") else 0.1
                time.sleep(0.1)
            active.exec("systemctl", "start", "keepalived")
            assert primary(pair) is not active
            assert absent < 2, f"{absent:.1f} s without the route"
            bird.established("four", "six", within=30)


def tier_of(segment: dual.Segment, number: int) -> tuple[dual.Drop, dual.Drop]:
    """Return a tier of one of the routers of a VPC's pair, and its ACL, which lets all pass."""
    mac = f"{segment.mac[:-2]}{number}{segment.nic[-1]}"
    own = {"router_guest_ip": segment.network.replace("0/24", f"8{number}"), "mac_address": mac}
    own |= {"router_guest_ip6": f"{segment.network6.partition('/')[0]}8{number}"}
    everything = [dual.acl_rule("all")]
    acl = dual.acl(segment, everything, everything, six=True) | {"mac_address": mac}
    return dual.tier(segment, six=True, **own), acl


def test_ipv6_19_a_pair_of_a_vpc() -> None:
    """Both tiers move together, and the public address answers on the primary."""
    with Lab("pair-ipv6-vpc") as lab:
        hosts = dual.outside(lab, [WEB, APP]) | dual.guests(lab, [WEB, APP])
        for number in (1, 2):
            shared = {"redundant_router": "1", "advert_int": "1", "router_id": "77", "router_password": "0f0f"}
            own = {"name": f"r-20{number}-VM", "eth0ip": f"169.254.4.20{number}"}
            nics = {"eth0": ("control", f"0e:00:a9:fe:04:0{number}"), "eth1": ("public", PUBLIC_MAC)}
            nics |= {s.nic: (s.name, f"{s.mac[:-2]}{number}{s.nic[-1]}") for s in (WEB, APP)}
            lab.router(f"r{number}", dual.vpc_cmdline(**shared, **own), nics)
        for name in ("client", "web1", "app1"):
            hosts[name].probe.serve(tcp=dual.SERVED_TCP)
        for number, router in enumerate(lab.routers.values(), start=1):
            router.wait_boot()
            states.change(router, dual.public_address(1), *tier_of(WEB, number), *tier_of(APP, number))
        vpc = Dual(lab, lab.routers["r1"], hosts)
        active = primary(vpc)
        configured(vpc, "web1", "app1")
        web, app = address6("web1"), address6("app1")
        questions = [(hosts["web1"], tcp(CLIENT6, 80)), (hosts["client"], tcp(web, 22)), (hosts["web1"], tcp(app, 22))]
        assert [bool(result) for result in ask_all(questions)] == [True] * 3
        with PingStream(hosts["web1"], CLIENT6) as stream:
            time.sleep(0.5)
            active.exec("systemctl", "stop", "keepalived")
            time.sleep(6)
        assert stream.lost < 100
        assert [bool(result) for result in ask_all(questions)] == [True] * 3
