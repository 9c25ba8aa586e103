# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load balancing on a VPC's router: the rules of two tiers in one configuration, with listeners on public addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import TcpStream, tcp_connect
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios.balancer import Balancer, Rule
from tests.scenarios.web import WebServer, curl

ARGUMENTS = (
    "vpccidr=10.2.0.0/16 domain=lab.internal publicMtu=1500 dns1=203.0.113.53 template=domP name=r-201-VM"
    " eth0ip=169.254.4.201 eth0mask=255.255.0.0 has_public_network=true vpc_firewall_enabled=false type=vpcrouter"
    " disable_rp_filter=true source_nat_ip=192.0.2.50"
)
SOURCE_NAT, PUBLIC = "192.0.2.50", "192.0.2.53"
PUBLIC_MAC = "1e:00:2d:00:00:32"
TIERS = {"eth2": ("10.2.1", "02:00:55:00:00:02"), "eth3": ("10.2.2", "02:00:55:00:00:03")}


@dataclass(frozen=True)
class Vpc:
    """A VPC with a machine in each of two tiers, and a client outside."""

    router: Router
    machines: dict[str, Host]
    client: Host


@pytest.fixture(scope="module")
def vpc() -> Iterator[Vpc]:
    """Return the VPC; the ACL of each tier denies whatever comes in, also from the other tier."""
    with Lab("vpc-lb") as lab:
        for segment in ("public", "control", *TIERS):
            lab.segment(segment)
        client = lab.host("client", "public", "192.0.2.1/24")
        machines = {
            nic: lab.host(nic, nic, f"{prefix}.11/24", gateway=f"{prefix}.1") for nic, (prefix, _mac) in TIERS.items()
        }
        for machine in machines.values():
            machine.probe.serve(tcp=(9000,))
        nics = {"eth0": ("control", lab.mac("r1.control")), "eth1": ("public", PUBLIC_MAC)}
        router = lab.router("r1", ARGUMENTS, nics | {nic: (nic, mac) for nic, (_prefix, mac) in TIERS.items()})
        router.wait_boot()
        for number, body in enumerate(drops()):
            router.drop(f"drop.json.{number}", json.dumps(body))
        yield Vpc(router, machines, client)


def drops() -> Iterator[dict[str, Any]]:
    """Yield the addresses, tiers and ACLs of the VPC."""
    common = {"gateway": "192.0.2.1", "netmask": "255.255.255.0", "vif_mac_address": PUBLIC_MAC, "nic_dev_id": 1}
    flags = {"add": True, "one_to_one_nat": False, "first_i_p": True, "new_nic": False, "is_private_gateway": False}
    addresses = [
        {"public_ip": ip, "source_nat": ip == SOURCE_NAT, "nw_type": "Public", "mtu": 1500, **common, **flags}
        for ip in (SOURCE_NAT, PUBLIC)
    ]
    yield {"ip_address": addresses, "type": "ips", "delete_from_processed_cache": False}
    for number, (nic, (prefix, mac)) in enumerate(TIERS.items()):
        gateway = f"{prefix}.1"
        names = {"router_guest_ip": gateway, "router_guest_gateway": gateway, "router_guest_netmask": "255.255.255.0"}
        tier = {"add": True, "mac_address": mac, "device": nic, **names, "cidr": "24", "dns": "203.0.113.53"}
        yield {**tier, "is_vr_guest_gateway": True, "network_id": 2041 + number, "mtu": 1500, "type": "guestnetwork"}
        deny = [{"type": "all", "cidr": "0.0.0.0/0", "allowed": False}]
        place = {
            "device": nic,
            "mac_address": mac,
            "private_gateway_acl": False,
            "nic_ip": gateway,
            "nic_netmask": "24",
        }
        yield {**place, "ingress_rules": deny, "egress_rules": [], "type": "networkacl"}


@pytest.fixture
def balancer(vpc: Vpc) -> Balancer:
    """Return the load balancer; each test says which rules it has."""
    return Balancer(vpc.router)


FIRST, SECOND = (
    Rule(PUBLIC, port, machines=[f"{TIERS[nic][0]}.11:9000"]) for port, nic in ((80, "eth2"), (81, "eth3"))
)


def test_rules_of_two_tiers_work_at_once(vpc: Vpc, balancer: Balancer) -> None:
    """G3. The ACL of a tier does not see the clients, as they talk to the router (B10)."""
    balancer.apply(FIRST, SECOND)
    assert tcp_connect(vpc.client, PUBLIC, 80).server == "eth2"
    assert tcp_connect(vpc.client, PUBLIC, 81).server == "eth3"


@pytest.mark.parametrize("tier", TIERS)
def test_tiers_reach_the_public_address(vpc: Vpc, balancer: Balancer, tier: str) -> None:
    """D6: their own rule's, and the other tier's, though the ACLs keep the tiers apart."""
    balancer.apply(FIRST, SECOND)
    assert tcp_connect(vpc.machines[tier], PUBLIC, 80).server == "eth2"
    assert tcp_connect(vpc.machines[tier], PUBLIC, 81).server == "eth3"


def test_revoking_the_rule_of_one_tier_leaves_the_other(vpc: Vpc, balancer: Balancer) -> None:
    balancer.apply(FIRST, SECOND)
    with TcpStream(vpc.client, PUBLIC, 80) as staying:
        balancer.apply(FIRST, revoked=(SECOND,))
        assert not tcp_connect(vpc.client, PUBLIC, 81)
    assert (staying.lost, staying.error) == (0, "")


def test_machines_that_come_and_go_cut_nobody_elses_connection(vpc: Vpc, balancer: Balancer) -> None:
    """A machine more, another weight, a machine less: each is a reload that the first machine's connection survives."""
    first, second = (f"{TIERS[nic][0]}.11:9000" for nic in TIERS)
    balancer.apply(FIRST)
    with TcpStream(vpc.client, PUBLIC, 80) as stream:
        balancer.apply(Rule(PUBLIC, 80, machines=[first, second]))
        assert {tcp_connect(vpc.client, PUBLIC, 80).server for _ in range(4)} == set(TIERS)
        balancer.apply(Rule(PUBLIC, 80, machines=[first, f"{second} weight 200"]))
        balancer.apply(FIRST)
        assert {tcp_connect(vpc.client, PUBLIC, 80).server for _ in range(4)} == {"eth2"}
    assert (stream.lost, stream.error) == (0, "")


@pytest.mark.parametrize("address", [SOURCE_NAT, "10.2.1.1"])
def test_statistics_of_a_vpc(vpc: Vpc, balancer: Balancer, address: str) -> None:
    """On a public address, or on a tier's: then only from inside."""
    balancer.statistics, balancer.stat_rule = {"stats": f"{address}:8081"}, f"{address}:8081:0/0:,"
    balancer.apply(FIRST)
    vpc.client.ip("route", "replace", "10.2.1.1", "via", SOURCE_NAT)
    assert bool(tcp_connect(vpc.machines["eth2"], address, 8081).verdict != "timeout")
    assert (tcp_connect(vpc.client, address, 8081).verdict != "timeout") is (address == SOURCE_NAT)


def test_the_average_number_of_connections_is_of_the_vms_that_are_up(vpc: Vpc) -> None:
    """get_haproxy_stats.sh: autoscaling compares it with a threshold per VM."""
    balancer, up, down = Balancer(vpc.router), ("10.2.1.11:9000", "10.2.2.11:9000"), "10.2.1.11:5999"
    balancer.apply(
        Rule(PUBLIC, 80, machines=(*up, down)), Rule(PUBLIC, 81, machines=up), Rule(PUBLIC, 82, machines=[down])
    )
    wait_for(lambda: balancer.up() == len(up) * 2, 30, "the server without a listener is down")
    with ExitStack() as streams:
        for port in (80, 80, 80, 80, 80, 81):
            streams.enter_context(TcpStream(vpc.client, PUBLIC, port))
        assert [balancer.sessions(PUBLIC, port) for port in (80, 81, 82, 83)] == [2, 0, 0, 0]


def test_what_goes_through_the_balancer_is_counted(vpc: Vpc) -> None:
    """Once, at the public NIC, as what goes through a forward; the ways to the VMs are inside."""
    balancer, rule = Balancer(vpc.router), Rule(PUBLIC, 80, machines=("10.2.1.11:8000",), more=("mode http",))
    with WebServer(vpc.machines["eth2"], (8000,)):
        balancer.apply(rule)
        vpc.router.command(f"vpc_netusage.sh -l {PUBLIC} -r")
        for _number in range(10):
            assert "xxx" in curl(vpc.client, f"http://{PUBLIC}", "--header", f"X-Load: {'x' * 6000}")
    line = vpc.router.command(f"vpc_netusage.sh -l {PUBLIC} -g").stdout
    forwarded, own = line.strip(":\n").split(":")[:2], [int(count) for count in line.strip(":\n").split(":")[2:]]
    assert forwarded == ["0", "0"]
    assert len(own) == 2
    assert all(60_000 < count < 80_000 for count in own), line
    balancer.apply(rule, Rule(PUBLIC, 81, machines=("10.2.1.11:9000",)))
    assert vpc.router.command(f"vpc_netusage.sh -l {PUBLIC} -g").stdout == line
