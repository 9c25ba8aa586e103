# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two tiers and a third that comes and goes, a private gateway, a static route and the internet, on one router."""

# ruff: noqa: S101  (assert is what tests are made of)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import ask, tcp
from tests.scenarios import vpcs
from tests.scenarios.vpcs import ADDRESS, ALL, BEHIND, LATE, PEER, SERVED_TCP, SERVED_UDP, Vpc


@pytest.fixture(scope="module")
def vpc() -> Iterator[Vpc]:
    """Return the VPC that the scenario has brought up."""
    lab = Lab.attach("vpc")
    for host in lab.hosts.values():
        host.probe.serve(tcp=SERVED_TCP, udp=SERVED_UDP)
    yield Vpc(lab, lab.routers["r1"], lab.hosts)
    lab.detach()


@pytest.mark.parametrize("tier", vpcs.TIERS, ids=lambda tier: tier.name)
def test_tier_has_its_address_and_its_dhcp_server(host: Any, tier: vpcs.Tier) -> None:
    assert f"{tier.router}/24" in host.check_output(f"ip -4 -o address show dev {tier.nic}")
    assert host.service(f"dnsmasq@tier_{tier.network.split('/')[0].replace('.', '_')}").is_running


@pytest.mark.parametrize(
    ("source", "target", "port", "seen"),
    [
        ("web1", "app1", 8080, ADDRESS["web1"]),
        ("web1", "peer", 443, ADDRESS["web1"]),
        ("app1", "behind", 443, ADDRESS["app1"]),
        ("web2", "internet", 443, "192.0.2.90"),
        ("app1", "internet", 443, "198.51.100.90"),
        ("behind", "web1", 80, BEHIND),
    ],
)
def test_who_is_reached_sees(vpc: Vpc, source: str, target: str, port: int, seen: str) -> None:
    result = ask(vpc.hosts[source], tcp(ADDRESS[target], port))
    assert (result.server, result.seen_from) == (target, seen)


def test_what_no_rule_allows_is_not_reached(vpc: Vpc) -> None:
    assert not ask(vpc.hosts["web1"], tcp(ADDRESS["app1"], 443))
    assert not ask(vpc.hosts["peer"], tcp(ADDRESS["app1"], 8080))
    assert not ask(vpc.hosts["internet"], tcp("192.0.2.91", 6000))


def test_a_third_tier_comes_and_goes(host: Any, vpc: Vpc) -> None:
    vpc.router.plug(LATE.nic, LATE.name, LATE.mac)
    vpc.change("guest_network", vpcs.guest_network(LATE))
    vpc.acl(LATE, [ALL], [ALL])
    assert ask(vpc.hosts["late1"], tcp(ADDRESS["internet"], 443)).seen_from == "192.0.2.90"
    assert host.service("dnsmasq@tier_10_9_7_0").is_running
    vpc.change("guest_network", vpcs.guest_network(LATE, add=False))
    vpc.router.unplug(LATE.nic)
    assert not host.service("dnsmasq@tier_10_9_7_0").is_running
    assert "10.9.7." not in host.check_output("nft list ruleset; ip route show table all; ip address")
    assert ask(vpc.hosts["web1"], tcp(PEER, 443))
