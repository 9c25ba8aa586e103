# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks with emulated routers, under the names that the scenarios' tests know them by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulated.restored import Restored
from tests.lab.lab import Lab
from tests.lab.probes import Pace
from tests.scenarios import networks, states
from tests.scenarios.networks import FIXTURES, Isolated


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Have probes wait longer: the router is emulated, and by a busy machine."""
    Pace.factor = 4.0
    yield
    Pace.factor = 1.0


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    """Return the isolated network of the fixtures, with all its drops applied at once."""
    with Lab("emulated-isolated", kind=Restored) as lab:
        network = networks.fixture_network(lab)
        network.router.wait_boot()
        directory = FIXTURES / "isolated"
        states.apply_together(network.router, "VR-all.cfg", directory, states.ordered(directory))
        yield network
