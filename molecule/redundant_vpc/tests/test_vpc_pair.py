# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VPC's pair: the gateway addresses of all tiers are on one of two routers, and move together."""

# ruff: noqa: S101  (assert is what tests are made of)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.probes import PingStream, icmp_ping
from tests.lab.process import wait_for
from tests.scenarios import pair as pairs
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import Pair, status
from tests.scenarios.pair_failures import hand_over

GATEWAYS = {"eth2": "10.2.1.1/32", "eth3": "10.2.2.1/32"}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return the pair that the scenario has brought up, once it has elected."""
    with pairs.attached("redundant_vpc") as found:
        yield found


@pytest.mark.parametrize("unit", ["keepalived", "conntrackd", "cloudstack-redundancy"])
def test_every_router_runs(host: Any, unit: str) -> None:
    assert host.service(unit).is_running


def test_router_reports_a_state_and_no_problem(host: Any, pair: Pair) -> None:
    """The watchdog looks every two seconds: what it found before the election is there for as long."""
    states = ("Status: PRIMARY", "Status: BACKUP")
    wait_for(lambda: host.check_output("/opt/cloud/bin/checkrouter.sh") in states, 10, "no problem")


def test_one_router_has_all_gateway_addresses_and_outer_links(pair: Pair) -> None:
    for nic, address in GATEWAYS.items():
        assert address in pair.primary.facts.moved_addresses(nic)
        assert address not in pair.backup.facts.moved_addresses(nic)
    assert pair.owners("eth1") == pair.owners("eth5") == [pair.primary.name]


def test_planned_handover_is_no_election(pair: Pair) -> None:
    """An election takes more than three advertisement intervals."""
    old, new = pair.primary, pair.backup
    with PingStream(pair.vms["vm1"], INTERNET) as out, PingStream(pair.vms["vm2"], "10.2.1.11") as between:
        with hand_over(pair, old):
            wait_for(lambda: status(new) == "PRIMARY", 5, "the other router primary")
        pair.settle()
    assert max(out.longest_gap, between.longest_gap) < pair.interval
    assert pair.primary is new
    assert all(address in new.facts.moved_addresses(nic) for nic, address in GATEWAYS.items())
    assert icmp_ping(pair.vms["vm2"], "10.2.2.1")
