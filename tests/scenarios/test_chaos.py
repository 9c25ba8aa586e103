# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bounded part of the campaign of `make chaos`: drops of every type, mistaken, damaged, hostile, and only strange."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import bad_drops, pipeline
from tests.chaos.mutations import Mutator
from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.scenarios import networks, states
from tests.scenarios.networks import FIXTURES

SEED = 20260101
REFUSED = 80
STRANGE = 30


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Return the router of the fixtures' isolated network, with all its drops applied."""
    with Lab("chaos") as lab:
        network = networks.fixture_network(lab)
        network.router.wait_boot()
        directory: Path = FIXTURES / "isolated"
        states.apply_together(network.router, "VR-all.cfg", directory, states.ordered(directory))
        yield network.router


@pytest.fixture
def mutator() -> Mutator:
    """Return a source of drops that is the same everywhere: it does not use drops that only CI has."""
    return Mutator(SEED, pipeline.right_bodies(pipeline.FIXTURES))


def test_bad_drops_are_refused_for_their_reason_and_nothing_is_written(router: Router, mutator: Mutator) -> None:
    *_earlier, tally = bad_drops.refusals(router, mutator, REFUSED)
    assert tally.problems == []
    assert tally.refused == REFUSED


def test_daemons_take_what_is_rendered_of_strange_drops(router: Router, mutator: Mutator) -> None:
    """Each is checked by the daemons' own checkers, and read back; afterwards nothing is left to do."""
    *_earlier, tally = bad_drops.strange(router, mutator, STRANGE)
    assert tally.problems == []
    assert tally.taken == STRANGE
    assert states.repaired(router) == []
