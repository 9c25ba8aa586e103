# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The management server stops and starts the routers of a VPC's pair, and a forward is revoked meanwhile.

Each start begins with empty databags. The other router of the pair is at work and knows what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, TcpStream, ask, tcp
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios import drops, pair_vpc, states
from tests.scenarios.drops import Drop
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import SERVED, Pair, status
from tests.scenarios.pair_vpc import SOURCE_NAT, TIERS

pytestmark = pytest.mark.timed

KEPT, REVOKED = 2222, 2223


def forward(port: int, *, revoke: bool = False) -> Drop:
    return drops.forward(SOURCE_NAT, (port, port), "10.2.1.11", (SERVED, SERVED), revoke=revoke)


def configure(router: Router, *ports: int) -> None:
    """Plug the tiers in, as the server does one after the other, and send all that is wanted."""
    for drop, body in pair_vpc.addresses():
        router.drop(drop, body)
    for tier in (1, 2):
        router.plug(TIERS[tier], f"tier{tier}", pair_vpc.mac(router.name, tier))
        for drop, body in pair_vpc.tier_drops(router.name, tier):
            router.drop(drop, body)
    for port in ports:
        router.drop(drops.named("forwarding_rules", port), forward(port))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a pair with two tiers and two forwards."""
    with Lab("vpcrestart") as lab:
        made = pair_vpc.make(lab)
        made.vms["vm1"].probe.serve(tcp=[SERVED])
        for router in made.routers.values():
            router.wait_boot()
            configure(router, KEPT, REVOKED)
        made.settle()
        yield made


def answering(pair: Pair, port: int) -> str | None:
    """Return the VM that answers an internet host at a port of the public address."""
    return ask(pair.internet, tcp(SOURCE_NAT, port)).server


def start(router: Router, *ports: int) -> None:
    """Start a router that is off: its tiers are plugged in later, and boot arguments come some time after the boot."""
    for nic in TIERS.values():
        if nic in router.nics:
            del router.nics[nic]
    router.start()
    wait_for(lambda: router.exists("/run/cloudstack/closed"), 60, "the boot of a router that was off")
    router.bring_arguments(pair_vpc.cmdline(router.name))
    assert tiers(router) == set(), "nothing is left of the life before"
    configure(router, *ports)


def tiers(router: Router) -> set[str]:
    """Return the tiers that a router's databags know."""
    return set(json.loads(router.read(f"{states.DATABAGS}/guestnetwork.json"))) - {"id"}


def test_the_backup_comes_back_without_what_was_revoked_and_nobody_notices(pair: Pair) -> None:
    primary, backup = pair.primary, pair.backup
    assert [answering(pair, port) for port in (KEPT, REVOKED)] == ["vm1", "vm1"]
    with PingStream(pair.vms["vm2"], INTERNET) as pings, TcpStream(pair.internet, SOURCE_NAT, KEPT) as stream:
        backup.stop()
        primary.drop(drops.named("forwarding_rules", 9), forward(REVOKED, revoke=True))
        start(backup, KEPT)
        pair.settle()
        assert pair.primary is primary
    assert (pings.lost, stream.lost, stream.error) == (0, 0, "")
    assert states.repaired(backup) == []


def test_the_primary_is_restarted_and_the_other_serves_what_is_wanted(pair: Pair) -> None:
    primary, backup = pair.primary, pair.backup
    with PingStream(pair.vms["vm2"], INTERNET) as pings, TcpStream(pair.internet, SOURCE_NAT, KEPT) as stream:
        primary.stop()
        wait_for(lambda: status(backup) == "PRIMARY", 10, "handover")
        assert [answering(pair, port) for port in (KEPT, REVOKED)] == ["vm1", None]
        start(primary, KEPT)
        pair.settle()
        assert pair.primary is backup
    assert pings.longest_gap < pair.bound
    assert (stream.lost, stream.error) == (0, "")
    assert [answering(pair, port) for port in (KEPT, REVOKED)] == ["vm1", None]
    assert states.repaired(primary) == []
    assert forwards(primary) == forwards(backup)


def forwards(router: Router) -> str:
    return router.read(f"{states.DATABAGS}/forwardingrules.json")
