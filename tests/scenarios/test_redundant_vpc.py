# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A pair of routers of a VPC: from no tier at all to several, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, icmp_ping
from tests.lab.router import Router
from tests.scenarios.networks import INTERNET, PublicSubnet, gateway
from tests.scenarios.pair import Pair, is_up, started, status, transitions, wait_for

PUBLIC = PublicSubnet("eth1", "1e:00:2d:00:00:32", "192.0.2.1/24")
SOURCE_NAT = "192.0.2.50"
PRIVATE = PublicSubnet("eth5", "02:00:55:00:00:05", "172.20.0.1/24")
OWN = {"r1": 84, "r2": 85}
TIERS = {1: "eth2", 2: "eth3", 3: "eth4"}
"""Number of a tier to the NIC it is plugged as; tier 3 comes last and has the lowest network id."""
IDS = {1: 2041, 2: 2042, 3: 2030}
DAEMONS = ("keepalived", "conntrackd", "cloudstack-redundancy")


def cmdline(name: str) -> str:
    """Return the boot arguments of one of the two."""
    number = name[-1]
    return (
        f"vpccidr=10.2.0.0/16 domain=lab.internal publicMtu=1500 dns1=203.0.113.10 template=domP name=r-20{number}-VM"
        f" eth0ip=169.254.4.20{number} eth0mask=255.255.0.0 redundant_router=1 advert_int=1 router_id=7"
        f" redundant_state={'PRIMARY' if number == '1' else 'BACKUP'} has_public_network=true type=vpcrouter"
        f" vpc_firewall_enabled=false disable_rp_filter=true logrotatefrequency=*:00:00 source_nat_ip={SOURCE_NAT}"
    )


def mac(name: str, tier: int) -> str:
    """Return the MAC of a router's NIC in a tier."""
    return f"02:00:55:0{name[-1]}:00:0{tier}"


def address(subnet: PublicSubnet, ip: str) -> dict[str, Any]:
    """Return the drop of a public address, or of a private gateway's."""
    record = {
        "public_ip": ip,
        "source_nat": subnet is PUBLIC,
        "add": True,
        "one_to_one_nat": False,
        "first_i_p": True,
        "gateway": subnet.gateway.split("/")[0],
        "netmask": "255.255.255.0",
        "vif_mac_address": subnet.mac,
        "nic_dev_id": int(subnet.nic[-1]),
        "new_nic": False,
        "nw_type": "Public",
        "is_private_gateway": subnet is PRIVATE,
        "mtu": 1500,
    }
    return {"ip_address": [record], "type": "ips"}


def tier_drop(name: str, tier: int, *, add: bool) -> dict[str, Any]:
    """Return the drop of a tier for one of the routers."""
    return {
        "add": add,
        "mac_address": mac(name, tier),
        "device": TIERS[tier],
        "router_guest_ip": f"10.2.{tier}.{OWN[name]}",
        "router_guest_netmask": "255.255.255.0",
        "router_guest_gateway": f"10.2.{tier}.1",
        "cidr": "24",
        "dns": "203.0.113.10",
        "domain_name": "lab.internal",
        "is_vr_guest_gateway": True,
        "network_id": IDS[tier],
        "mtu": 1500,
        "type": "guestnetwork",
    }


def acl_drop(name: str, tier: int) -> dict[str, Any]:
    """Return an ACL that lets everything through."""
    everything = [{"type": "all", "cidr": "0.0.0.0/0", "allowed": True}]
    return {
        "device": TIERS[tier],
        "mac_address": mac(name, tier),
        "private_gateway_acl": False,
        "nic_ip": f"10.2.{tier}.{OWN[name]}",
        "nic_netmask": "24",
        "ingress_rules": everything,
        "egress_rules": everything,
        "type": "networkacl",
    }


def send(pair: Pair, name: str, router: Router, drop: str, body: dict[str, Any]) -> None:
    """Send a drop, which must leave no trace of an error in the log of redundancy."""
    router.drop(drop, body)
    assert "failed (" not in router.exec("sh", "-c", "cat /var/log/cloudstack/redundancy.log || true").stdout


def add_tier(pair: Pair, tier: int, pause: float = 0.0) -> None:
    """Plug a tier into both routers, one after the other, as the management server does."""
    for name, router in pair.routers.items():
        router.plug(TIERS[tier], f"tier{tier}", mac(name, tier))
        send(pair, name, router, f"guest_network.json.add{tier}", tier_drop(name, tier, add=True))
        send(pair, name, router, f"network_acl.json.{tier}", acl_drop(name, tier))
        time.sleep(pause)


def remove_tier(pair: Pair, tier: int) -> None:
    """Take a tier from both routers: first the drop, then the NIC."""
    for name, router in pair.routers.items():
        send(pair, name, router, f"guest_network.json.remove{tier}", tier_drop(name, tier, add=False))
        router.unplug(TIERS[tier])


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a pair without any tier."""
    with Lab("vpcpair") as lab:
        for segment in ("control", "internet", PUBLIC.nic, PRIVATE.nic, *(f"tier{tier}" for tier in TIERS)):
            lab.segment(segment)
        gateway(lab, 1, PUBLIC)
        internet = lab.host("internet", "internet", f"{INTERNET}/24")
        internet.add_route(PUBLIC.network, "203.0.113.241")
        lab.host("site", PRIVATE.nic, PRIVATE.gateway)
        vms = {f"vm{t}": lab.host(f"vm{t}", f"tier{t}", f"10.2.{t}.11/24", gateway=f"10.2.{t}.1") for t in TIERS}
        nics = {subnet.nic: (subnet.nic, subnet.mac) for subnet in (PUBLIC, PRIVATE)}
        routers = {
            name: lab.router(name, cmdline(name), {"eth0": ("control", lab.mac(f"{name}.control")), **nics})
            for name in OWN
        }
        for router in routers.values():
            router.wait_boot()
            router.drop("ip_associations.json.public", address(PUBLIC, SOURCE_NAT))
            router.drop("ip_associations.json.private", address(PRIVATE, "172.20.0.2"))
        yield Pair(lab, 1.0, routers, vms, internet)


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


def test_failover_moves_all_tiers_at_once(pair: Pair) -> None:
    pair.settle()
    old, new = pair.primary, pair.backup
    with PingStream(pair.vms["vm1"], INTERNET) as one, PingStream(pair.vms["vm2"], "10.2.1.11") as two:
        time.sleep(0.3)
        old.exec("systemctl", "stop", "keepalived")
        wait_for(lambda: status(new) == "PRIMARY", 5, "handover")
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
        wait_for(lambda router=router: status(router) == "UNKNOWN", 5, "no state without a tier")
        assert not is_up(router, "eth1")
        assert not is_up(router, "eth5")
