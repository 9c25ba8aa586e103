# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure a large VPC: 12 tiers of 40 ACL rules each, 100 forwards, 50 static NATs: ``python -m tests.bench.vpc``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import drops
from tests.bench.measuring import HEADER, Figure, choose_way, empty_playbook, measure, middle, send, send_aggregate
from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.scenarios import vpcs
from tests.scenarios.networks import PublicSubnet
from tests.scenarios.vpcs import Tier

CMDLINE = (
    "vpccidr=10.50.0.0/16 domain=bench.internal publicMtu=1500 dns1=203.0.113.53 template=domP name=r-50-VM"
    " eth0ip=169.254.50.50 eth0mask=255.255.0.0 has_public_network=true vpc_firewall_enabled=false type=vpcrouter"
    " disable_rp_filter=true logrotatefrequency=*:00:00 source_nat_ip=192.0.2.10"
)
PUBLIC = PublicSubnet("eth1", "1e:00:50:00:00:10", "192.0.2.1/24")
TIERS = [Tier(f"t{n}", f"eth{n + 1}", f"02:00:50:00:00:{n:02x}", f"10.50.{n}.1", 500 + n) for n in range(1, 13)]
FEW = (1, 3, 6)
"""Numbers of tiers that are measured besides all."""
Body = tuple[str, dict[str, Any]]


def acl(tier: Tier, count: int = 40) -> dict[str, Any]:
    """Return an ACL of random rules, no two alike, allowing and denying in turn; the last one denies the rest."""
    dice = random.Random(tier.network_id)
    rules = []
    for number in range(count - 1):
        cidr = f"{dice.randrange(1, 223)}.{dice.randrange(256)}.0.0/16"
        first = dice.randrange(1, 60000)
        kind = dice.choice(("tcp", "udp"))
        rules.append(vpcs.rule(kind, cidr, allowed=bool(number % 3), ports=(first, first + dice.randrange(9))))
    return vpcs.network_acl(tier, [*rules, vpcs.NONE], [vpcs.rule("tcp", allowed=False, ports=25), vpcs.ALL])


def static_nat(number: int, tiers: int = len(TIERS)) -> dict[str, Any]:
    """Return one of up to 240 static NATs, to VMs in all of the first tiers."""
    vm = f"10.50.{1 + number % tiers}.{20 + number // tiers}"
    rule = {"revoke": False, "source_ip_address": f"192.0.2.{10 + number}", "source_port_range": "0:0"}
    return {"rules": [{**rule, "destination_ip_address": vm}], "type": "staticnatrules"}


def forwards(count: int, tiers: int = len(TIERS)) -> dict[str, Any]:
    """Return port forwards of the source NAT address, with shifted ports."""
    found = drops.forwards(count)
    for number, rule in enumerate(found["rules"]):
        rule["destination_ip_address"] = f"10.50.{1 + number % tiers}.{100 + number // tiers}"
    return found


def whole(tiers: int = len(TIERS)) -> list[Body]:
    """Return all drops of the VPC with its first tiers."""
    addresses = drops.public_addresses(240)
    for record in addresses["ip_address"]:
        record |= {"vif_mac_address": PUBLIC.mac, "nic_dev_id": 1}
    found: list[Body] = [("ip_associations.json", addresses)]
    for tier in TIERS[:tiers]:
        found += [("guest_network.json", vpcs.guest_network(tier)), ("network_acl.json", acl(tier))]
    found.append(("forwarding_rules.json", forwards(100, tiers)))
    return [*found, *(("staticnat_rules.json", static_nat(number, tiers)) for number in range(1, 51))]


def run(router: Router) -> list[Figure]:
    """Measure on a router that has booted and knows no tier."""
    from_nothing = "VPC: 12 tiers, 480 rules, 150 NATs, from nothing"
    figures = [
        empty_playbook(router),
        measure(router, from_nothing, *send_aggregate(router, whole()), goal=1.5),
        measure(router, "VPC: nothing to do", "/opt/cloud/bin/configure.py", "monitor_service.json", goal=0.8),
    ]
    rules = [send(router, "network_acl.json", acl(tier, 41)) for tier in TIERS[:3]]
    figures.append(middle([measure(router, "VPC: one more ACL rule", *drop, goal=1.0) for drop in rules]))
    first = middle([_static_nat(router, number, "VPC: 51st static NAT") for number in (51, 52, 53)])
    many = [("staticnat_rules.json", static_nat(number)) for number in range(54, 198)]
    figures += [first, measure(router, "VPC: 144 static NATs as one aggregate", *send_aggregate(router, many))]
    last = middle([_static_nat(router, number, "VPC: 200th static NAT") for number in (198, 199, 200)])
    gone = send(router, "guest_network.json", vpcs.guest_network(TIERS[-1], add=False))
    figures += [last, measure(router, "VPC: a tier is removed", *gone)]
    back = send(router, "guest_network.json", vpcs.guest_network(TIERS[-1]))
    figures.append(measure(router, "VPC: a tier is added", *back))
    print(f"\nratio in this run: 200th static NAT / 51st {last.seconds / first.seconds:.2f} (goal 1.2)")
    return figures


def _static_nat(router: Router, number: int, what: str) -> Figure:
    return measure(router, what, *send(router, "staticnat_rules.json", static_nat(number)))


@contextmanager
def booted(*, cold: bool) -> Iterator[Router]:
    """Bring a router up that knows no tier, and take it down at the end."""
    with Lab("bench-vpc") as lab:
        for segment in ("control", "public", *(tier.name for tier in TIERS)):
            lab.segment(segment)
        nics = {"eth0": ("control", "02:50:00:00:00:00"), PUBLIC.nic: ("public", PUBLIC.mac)}
        nics |= {tier.nic: (tier.name, tier.mac) for tier in TIERS}
        router = lab.router("r1", CMDLINE, nics)
        router.wait_boot()
        choose_way(router, cold=cold)
        yield router


def main(*, cold: bool) -> tuple[list[Figure], list[tuple[int, float]]]:
    """Measure VPCs of few tiers from nothing, then one of all tiers; return figures and points (tiers, seconds)."""
    figures = []
    for count in FEW:
        with booted(cold=cold) as router:
            what = f"VPC: {count} tiers of 40 rules, 150 NATs, from nothing"
            figures.append(measure(router, what, *send_aggregate(router, whole(count))))
    with booted(cold=cold) as router:
        empty, whole_vpc, *others = run(router)
    points = [(count, figure.seconds) for count, figure in zip((*FEW, len(TIERS)), (*figures, whole_vpc), strict=True)]
    return [empty, *figures, whole_vpc, *others], points


if __name__ == "__main__":
    print(HEADER, flush=True)
    main(cold=False)
