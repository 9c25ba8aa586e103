# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drops that the management server's own code wrote, replayed on real routers; skipped where they are not kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import Probe, ask_all, ping, tcp, udp
from tests.lab.router import Answer
from tests.scenarios import networks, states
from tests.scenarios.networks import SHARED_DROPS, SHARED_SUBNETS, Isolated

if not SHARED_DROPS.is_dir():
    pytest.skip(f"the management server's drops are not in {SHARED_DROPS}", allow_module_level=True)

NEAR, MIDDLE, FAR, BLOCKED = "203.0.113.7", "203.0.113.150", "203.0.113.200", "203.0.113.99"
Row = tuple[str, Probe, str | None]
# From where, what, and who answers; None: nobody. As after the load balancer's drops.
ENTERING: list[Row] = [
    (NEAR, tcp("192.0.2.10", 8002), "vm12:9002"),
    (MIDDLE, tcp("192.0.2.10", 8003), "vm12:9003"),
    (FAR, tcp("192.0.2.10", 8002), None),
    (NEAR, tcp("192.0.2.10", 2222), None),
    (NEAR, udp("192.0.2.10", 5353), None),
    (NEAR, udp("192.0.2.10", 30000), None),
    (NEAR, tcp("192.0.2.10", 33060), None),
    (NEAR, tcp("192.0.2.12", 22), "vm11:22"),
    (FAR, tcp("192.0.2.12", 8080), "vm11:8080"),
    (NEAR, udp("192.0.2.12", 4000), "vm11:4000"),
    (FAR, ping("192.0.2.12"), "192.0.2.12:"),
    (NEAR, tcp("198.51.100.20", 2022), None),
    ("vm21", tcp("192.0.2.10", 2222), "vm11:22"),
    ("vm11", tcp("192.0.2.10", 2222), "vm11:22"),
    ("vm21", tcp("198.51.100.20", 2022), "vm12:22"),
]
# The same rules block under the one default policy and allow under the other; the last column is under "allow".
LEAVING: list[tuple[str, Probe, bool]] = [
    ("vm11", tcp(NEAR, 25), False),
    ("vm11", tcp(NEAR, 6000), False),
    ("vm21", tcp(NEAR, 6000), True),
    ("vm11", udp(NEAR, 123), False),
    ("vm12", udp(NEAR, 4000), True),
    ("vm11", ping(NEAR), False),
    ("vm11", tcp(MIDDLE, 22), False),
    ("vm11", tcp(NEAR, 22), True),
    ("vm12", tcp(NEAR, 22), True),
    ("vm21", tcp(BLOCKED, 22), False),
]
# After everything that is revoked is revoked.
LATER: list[Row] = [
    (NEAR, tcp("192.0.2.10", 8002), None),
    (NEAR, tcp("192.0.2.12", 22), None),
    (NEAR, tcp("198.51.100.20", 2022), None),
    ("vm21", tcp("192.0.2.10", 2222), "vm11:22"),
    ("vm21", tcp("192.0.2.10", 8002), None),
]
CASES = {"isolated": ("031-", True), "isolated-egress-deny": ("032-", False)}
"""The last drop of the load balancer, and the default policy for what leaves."""


def verdicts(network: Isolated, rows: list[Row]) -> list[Row]:
    """Return the rows with who answered."""
    hosts = {**network.vms, **network.internet}
    results = ask_all([(hosts[source], probe) for source, probe, _expected in rows])
    found: list[Row] = []
    for (source, probe, _expected), result in zip(rows, results, strict=True):
        who = f"{result.server or result.seen_from}:{result.port or ''}" if result else None
        found.append((source, probe, who))
    return found


def leaving(network: Isolated) -> list[tuple[str, Probe, bool]]:
    """Return the rows of what leaves, with what did."""
    results = ask_all([(network.vms[vm], probe) for vm, probe, _allowed in LEAVING])
    return [(vm, probe, bool(result)) for (vm, probe, _a), result in zip(LEAVING, results, strict=True)]


Played = tuple[str, Isolated, Iterator[Answer]]


@pytest.fixture(scope="module", params=CASES)
def played(request: pytest.FixtureRequest) -> Iterator[Played]:
    """Return a network whose router has taken the drops up to the load balancer's, and the commands that are left.

    The first case is played command by command, the other in two aggregates.
    """
    name = str(request.param)
    directory = SHARED_DROPS / name
    order = states.ordered(directory)
    half = next(number for number, drop in enumerate(order, start=1) if drop.startswith(CASES[name][0]))
    with Lab("shared-drops") as lab:
        network = networks.shared_network(lab)
        network.router.wait_boot()
        if name == "isolated":
            steps = network.router.replay_steps(directory)
            for _number in range(half):
                next(steps)
        else:
            halves = {"VR-first.cfg": order[:half], "VR-rest.cfg": order[half:]}.items()
            steps = (states.apply_together(network.router, sent, directory, drops) for sent, drops in halves)
            next(steps)
        yield name, network, steps


def test_replay(played: Played) -> None:
    """Half way everything is open that was asked for, at the end it is closed again; nothing is left to converge."""
    name, network, steps = played
    default_allows = CASES[name][1]
    assert verdicts(network, ENTERING) == ENTERING
    assert leaving(network) == [(vm, probe, allowed is default_allows) for vm, probe, allowed in LEAVING]
    seen = ask_all([(network.vms["vm11"], tcp(NEAR if default_allows else MIDDLE, 22))])[0]
    assert seen.seen_from == "192.0.2.12"
    for _answer in steps:
        pass
    assert verdicts(network, LATER) == LATER
    assert network.router.facts.addresses("eth2") == ["192.0.2.10/24", "192.0.2.11/24"]
    assert network.router.facts.addresses("eth3") == []
    assert states.repaired(network.router) == []


OTHERS = (
    "edge-empty-lists",
    "edge-pf-conflict",
    "isolated-redundant",
    "isolated-restart-aggregate",
    "scale-pf-1000",
    "scale-vms-500-aggregate",
)


@pytest.mark.parametrize("name", OTHERS)
def test_replay_ends_in_a_state_that_needs_no_change(name: str) -> None:
    """Every command succeeds, and the router is then what its databags say."""
    directory = SHARED_DROPS / name
    kind = (directory / "CMDLINE").read_text(encoding="utf-8").strip()
    with Lab("shared-others") as lab:
        for segment in ("guest", "control", *(subnet.nic for subnet in SHARED_SUBNETS)):
            lab.segment(segment)
        nics = {"eth0": ("guest", lab.mac("guest")), "eth1": ("control", lab.mac("control"))}
        nics |= {subnet.nic: (subnet.nic, subnet.mac) for subnet in SHARED_SUBNETS}
        router = lab.router("r1", (SHARED_DROPS / "cmdline" / f"{kind}.txt").read_text(encoding="utf-8"), nics)
        router.wait_boot()
        assert router.replay(directory)
        assert states.repaired(router) == []
