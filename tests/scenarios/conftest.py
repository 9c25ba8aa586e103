# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks that the tests of a module share, each brought up once; modules may run beside each other.

A test that is marked `alone` measures: no other test of these runs meanwhile, in whatever process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache

import pytest

from tests.checks.tree import BUILD
from tests.lab.lab import Lab
from tests.scenarios import networks, states, tunnels, vpcs
from tests.scenarios.networks import FIXTURES, Isolated
from tests.scenarios.tunnels import Site
from tests.scenarios.turns import Turns
from tests.scenarios.vpcs import ALL, APP, WEB, Vpc

SLOWEST = (
    *("isolated_faults", "site_to_site_changes", "site_to_site_vpn", "redundant_services", "redundant_ipv6", "ways"),
    *("restart", "load_balancer", "shared_drops", "vpc_variants", "chaos", "bgp", "cloud_init", "isolated_state"),
    *("redundant_vpn", "resident_parent", "metadata"),
)
"""Modules that take more than a minute; they begin first, so that no process is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the slow modules to the front, then those of many tests; within a module nothing changes."""
    names = [item.path.stem.removeprefix("test_") for item in items]
    counts = Counter(names)
    rank = {name: SLOWEST.index(name) if name in SLOWEST else len(SLOWEST) for name in counts}
    order = sorted(
        range(len(items)), key=lambda index: (rank[names[index]], -counts[names[index]], names[index], index)
    )
    items[:] = [items[index] for index in order]


@cache
def turns() -> Turns:
    """Return the turns of this process."""
    return Turns(BUILD / "turns")


def is_alone(item: pytest.Item | None) -> bool:
    """Tell whether a test wants the machine to itself."""
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Wait for the turn of a test with all its fixtures."""
    turns().take(alone=is_alone(item))
    try:
        return (yield)
    finally:
        turns().give(next_alone=is_alone(nextitem))


@pytest.fixture(scope="module")
def isolated(worker_id: str) -> Iterator[Isolated]:
    """Return the isolated network of the fixtures, with all its drops applied."""
    with Lab(f"isolated-{worker_id}") as lab:
        network = networks.fixture_network(lab)
        network.router.wait_boot()
        network.router.replay(FIXTURES / "isolated")
        yield network


@pytest.fixture(scope="module")
def vpc(worker_id: str) -> Iterator[Vpc]:
    """Return the VPC of the fixtures, with all its drops applied at once."""
    with Lab(f"vpcs-{worker_id}") as lab:
        network = vpcs.vpc(lab)
        network.router.wait_boot()
        directory = FIXTURES / "vpc"
        states.apply_together(network.router, "VR-all.cfg", directory, states.ordered(directory))
        yield network


@pytest.fixture(scope="module")
def module_site(worker_id: str) -> Iterator[Site]:
    """Return the VPC with two peers of site-to-site VPN in the internet."""
    with tunnels.made(f"tunnels-{worker_id}") as found:
        yield found


@pytest.fixture
def site(module_site: Site) -> Iterator[Site]:
    """Return it without tunnels and with open ACLs."""
    module_site.remove()
    module_site.vpc.acls({tier: ([ALL], [ALL]) for tier in (WEB, APP)})
    module_site.watch.start()
    yield module_site
    module_site.remove()
