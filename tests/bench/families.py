# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure what IPv6 and BGP cost, warm: many rules in one drop, a small drop, and the prefixes of 200 networks."""

from __future__ import annotations

from typing import Any

from tests.bench.measuring import HEADER, Figure, choose_way, empty_playbook, measure, middle, send
from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.scenarios import drops, dual
from tests.scenarios.peers import peer, peers

RULES = {1000: 0.6, 10000: 3.0}
"""How many rules of IPv6 come in one drop, and the seconds that they may take."""
NETWORKS = 200
RELOAD = 0.5
RATIO = 1.1


def main() -> tuple[list[Figure], list[str]]:
    """Return the figures of a router with both families, and notes that compare it with one of IPv4."""
    print(f"\nIPv6 and BGP, warm\n{HEADER}", flush=True)
    with Lab("bench6") as lab:
        for segment in ("guest", "control", "public"):
            lab.segment(segment)
        small4 = _small(_router(lab, "four", {}), "one DHCP drop, IPv4 alone")
        lab.routers["four"].destroy()
        router = _router(lab, "six", {"is_routed": "true", **dual.IPV6_ARGUMENTS})
        base = empty_playbook(router)
        small = _small(router, "one DHCP drop, both families")
        figures = [base, small4, small, *(_rules(router, count, goal) for count, goal in RULES.items())]
        figures += _told(router)
    ratio = small.seconds / small4.seconds
    return figures, [f"a small drop with both families / with IPv4 alone {ratio:.2f} (goal {RATIO})"]


def _router(lab: Lab, name: str, arguments: dict[str, str]) -> Router:
    """Return a router with its public address, and a warm parent."""
    nics = {
        "eth0": ("guest", dual.GUEST.mac),
        "eth1": ("control", dual.CONTROL_MAC),
        "eth2": ("public", dual.PUBLIC_MAC),
    }
    router = lab.router(name, dual.isolated_cmdline(**arguments), nics)
    router.wait_boot()
    router.exec(*send(router, "ip_associations.json", dual.public_address(2)))
    choose_way(router, cold=False)
    return router


def _small(router: Router, what: str) -> Figure:
    found = []
    for number in range(20, 27):
        entry = drops.vm(f"vm{number}", f"02:01:00:00:01:{number:02x}", f"10.1.1.{number}")
        found.append(measure(router, what, *send(router, "vm_dhcp_entry.json", entry)))
    return middle(found)


def _rules(router: Router, count: int, goal: float) -> Figure:
    """Add rules of which no two are alike, from and to networks of all kinds."""
    given: list[dict[str, Any]] = [
        dual.rule6(
            count + number,
            ("tcp", "udp")[number % 2],
            (1 + number % 60000, 1 + number % 60000 + number % 10),
            source_cidr_list=[f"2001:db8:{number:x}::/48"],
            dest_cidr_list=[f"2001:db8:a:1::{number + 1:x}/128"],
        )
        for number in range(count)
    ]
    body = dual.rules(*given, kind="ipv6firewallrules")
    return measure(
        router, f"{count} more IPv6 rules in one drop", *send(router, "ipv6_firewall_rules.json", body), goal=goal
    )


def _told(router: Router) -> list[Figure]:
    """Announce the prefixes of many networks, then one more: FRR runs by then, and is told the difference."""
    hop = (dual.HOP, dual.HOP6)
    prefixes = [(f"10.2.{number}.0/24", f"2001:db8:b:{number:x}::/64") for number in range(NETWORKS + 1)]
    everything = [
        peer(1, hop, network_id=number, guest_ip4_cidr=four, guest_ip6_cidr=six)
        for number, (four, six) in enumerate(prefixes)
    ]
    words = ("bgp_peers.json",)
    first = measure(router, "first peer, 1 network: FRR starts", *send(router, *words, peers(everything[0])))
    most = measure(router, f"{NETWORKS} networks for a peer", *send(router, *words, peers(*everything[:-1])))
    more = measure(
        router, f"{NETWORKS + 1} networks for a peer", *send(router, *words, peers(*everything)), goal=RELOAD
    )
    return [first, most, more]


if __name__ == "__main__":
    print("\n".join(main()[1]))
