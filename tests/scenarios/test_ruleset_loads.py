# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""While rules change, what is allowed before and after is allowed at every moment; `make bench` says more of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.steady import CHANGES, Steady, steady, texts, there_and_back

ROUNDS = 40


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steady]:
    with steady("loads", tmp_path_factory.mktemp("loads")) as made:
        yield made


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_rules_loses_no_new_connection(router: Steady, change: str) -> None:
    """Sets and maps of ranges decide over each of them; a table that is made anew loses one in some ten loads."""
    one, other = texts(change)
    passed = router.loads(one, ROUNDS, there_and_back(one, other), CHANGES[change][2])
    assert passed.come > 10 * ROUNDS
    assert passed.lost == 0
