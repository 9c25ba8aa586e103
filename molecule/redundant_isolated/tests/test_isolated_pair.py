# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An isolated network's pair: one of two routers works, and hands its connections over."""

# ruff: noqa: S101  (assert is what tests are made of)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.probes import PingStream, icmp_ping
from tests.lab.process import wait_for
from tests.scenarios import pair as pairs
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import GATEWAY, STATIC, Pair, status
from tests.scenarios.pair_failures import hand_over


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return the pair that the scenario has brought up, once it has elected."""
    with pairs.attached("redundant_isolated") as found:
        yield found


@pytest.mark.parametrize("unit", ["keepalived", "conntrackd", "cloudstack-redundancy"])
def test_every_router_runs(host: Any, unit: str) -> None:
    assert host.service(unit).is_running


def test_router_reports_a_state_and_no_problem(host: Any, pair: Pair) -> None:
    """The watchdog looks every two seconds: what it found before the election is there for as long."""
    states = ("Status: PRIMARY", "Status: BACKUP")
    wait_for(lambda: host.check_output("/opt/cloud/bin/checkrouter.sh") in states, 10, "no problem")


def test_one_router_has_the_gateway_address_and_the_public_links(pair: Pair) -> None:
    assert f"{GATEWAY}/32" in pair.primary.facts.moved_addresses("eth0")
    assert f"{GATEWAY}/32" not in pair.backup.facts.moved_addresses("eth0")
    assert pair.owners("eth2") == pair.owners("eth3") == [pair.primary.name]


def test_planned_handover_is_no_election(pair: Pair) -> None:
    """An election takes more than three advertisement intervals."""
    old, new = pair.primary, pair.backup
    with PingStream(pair.vms["web"], INTERNET) as out, PingStream(pair.internet, STATIC) as entering:
        with hand_over(pair, old):
            wait_for(lambda: status(new) == "PRIMARY", 5, "the other router primary")
        pair.settle()
    assert max(out.longest_gap, entering.longest_gap) < pair.interval
    assert pair.primary is new
    assert f"{GATEWAY}/32" in new.facts.moved_addresses("eth0")
    assert icmp_ping(pair.vms["db"], GATEWAY)
