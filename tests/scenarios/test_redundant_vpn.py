# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A tunnel of a pair of routers: the primary alone has it, and its peer is connected again after a failover."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import icmp_ping
from tests.lab.router import Router
from tests.scenarios import pair_vpc, tunnels
from tests.scenarios.pair import Pair, active
from tests.scenarios.tunnels import ALICE, Peer, connected, wait

CIDR, UNITS = "10.2.0.0/16", ("strongswan", "cloudstack-vpn")
FAILOVER = 30.0
"""Seconds from the loss of the primary to traffic (H6)."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Pair, Peer]]:
    """Return a pair with one tier, and a peer that is connected."""
    with Lab("vpnpair") as lab:
        made = pair_vpc.make(lab, tunnels.LAB_FILES)
        alice = tunnels.add_peer(lab, "alice", ALICE, 41, vpc=CIDR)
        alice.configure(here=pair_vpc.SOURCE_NAT, vpc=CIDR)
        for name, router in made.routers.items():
            router.wait_boot()
            router.plug(pair_vpc.TIERS[1], "tier1", pair_vpc.mac(name, 1))
            for drop, body in (*pair_vpc.addresses(), *pair_vpc.tier_drops(name, 1)):
                router.drop(drop, body)
        made.settle()
        for router in made.routers.values():
            send(router, alice)
        yield made, alice


def send(router: Router, peer: Peer) -> None:
    """Send the drop of the tunnel."""
    body = tunnels.drop(peer, local_public_ip=pair_vpc.SOURCE_NAT, local_guest_cidr=CIDR)
    router.drop("site_2_site_vpn.json.alice", body)


def runs(router: Router) -> list[bool]:
    """Tell of each daemon of VPN whether it runs."""
    return [active(router, unit) for unit in UNITS]


def test_vpn_25_the_primary_alone_runs_it(pair: tuple[Pair, Peer]) -> None:
    """Also after drops on the backup, which has the same files."""
    made, alice = pair
    wait(lambda: connected(made.primary, ALICE), 20, "connected")
    send(made.backup, alice)
    assert (runs(made.primary), runs(made.backup)) == ([True, True], [False, False])
    assert made.backup.exists("/etc/swanctl/conf.d/cloudstack-s2s-203_0_113_41.conf")
    assert not connected(made.backup, ALICE)
    assert icmp_ping(made.vms["vm1"], "10.41.0.5")


def test_vpn_25_a_failover_takes_the_tunnel_along(pair: tuple[Pair, Peer]) -> None:
    made, _alice = pair
    former, next_one = made.primary, made.backup
    former.power_off()
    seconds = wait(lambda: icmp_ping(made.vms["vm1"], "10.41.0.5", timeout=0.3), FAILOVER, "traffic passes again")
    print(f"traffic {seconds:.1f} s after the loss of the primary")
    assert connected(next_one, ALICE)
