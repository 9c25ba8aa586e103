# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A tunnel of a VPC whose ESP is the kernel's own, to a peer whose is as well: IP protocol 50, no `ipsec0`.

The containers' kernel has no ESP: what the ruleset asks of it (``meta ipsec exists``, ``rt ipsec missing``) is never
true there. Here it is what lets decrypted packets in, and what keeps others from leaving in the clear.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.emulated.restored import Restored
from tests.lab.lab import Lab
from tests.lab.probes import ask, icmp_ping, tcp
from tests.lab.process import wait_for
from tests.scenarios import tunnels, vpcs
from tests.scenarios.networks import FIXTURES
from tests.scenarios.states import apply_together, ordered
from tests.scenarios.tunnels import ALICE, HERE, WEB1, Site, both_ways, connected

PATIENCE = 120.0
BRANCH = "10.41.0.5"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab("emulated-ipsec", kind=Restored) as lab:
        vpc = vpcs.vpc(lab)
        alice = tunnels.add_peer(lab, "alice", ALICE, 41, files={})
        vpc.router.wait_boot()
        directory = FIXTURES / "vpc"
        apply_together(vpc.router, "VR-all.cfg", directory, ordered(directory))
        watch = tunnels.Watch(lab.hosts["gateway1"], alice.networks)
        watch.start()
        yield Site(vpc, alice, alice, watch)


def test_nothing_leaves_in_the_clear_before_the_tunnel_is_up(site: Site) -> None:
    """The peer does not listen yet, and the route to its network leads outside."""
    site.send(site.alice)
    assert not icmp_ping(site.vpc.hosts["web1"], BRANCH)
    assert site.watch.counts()["clear"] == 0


def test_packets_pass_both_ways_by_the_kernels_esp(site: Site) -> None:
    site.alice.configure()
    wait_for(lambda: connected(site.router, ALICE), PATIENCE, "the tunnel is up")
    both_ways(site)
    assert "proto esp" in site.router.exec("ip", "xfrm", "state").stdout
    assert "ipsec0" not in site.router.facts.links()
    counts = site.watch.counts()
    assert counts["clear"] == counts["nat_t"] == 0, counts
    assert counts["raw_esp"] > 10, counts


def test_what_claims_to_come_from_the_tunnel_in_the_clear_reaches_no_vm(site: Site) -> None:
    """The provider itself sends as a host of the branch, while the tunnel is up and after the peer has closed it."""
    web, provider = site.vpc.hosts["web1"], site.vpc.lab.hosts["gateway1"]
    rule = f"ip saddr {BRANCH} counter name seen"
    hook = "type filter hook input priority -500;"
    web.run(
        "nft",
        f"add table ip spy; add counter ip spy seen; add chain ip spy all {{ {hook} }}; add rule ip spy all {rule}",
    )

    def seen() -> int:
        listed = json.loads(web.run("nft", "-j", "list", "counter", "ip", "spy", "seen").stdout)
        return int(next(item["counter"]["packets"] for item in listed["nftables"] if "counter" in item))

    assert icmp_ping(site.alice.branch, WEB1)
    assert (before := seen()) > 0, "what is decrypted is counted"
    provider.add_address(f"{BRANCH}/32")
    provider.ip("route", "replace", f"{WEB1}/32", "via", HERE, "src", BRANCH)
    for _state in ("up", "closed"):
        assert not ask(provider, tcp(WEB1, 22))
        assert not icmp_ping(provider, WEB1)
        assert seen() == before
        site.alice.machine.exec("systemctl", "stop", "strongswan")
        wait_for(lambda: not connected(site.router, ALICE), PATIENCE, "the tunnel is closed")
    assert not icmp_ping(web, BRANCH)
    assert site.watch.counts()["clear"] == 0
