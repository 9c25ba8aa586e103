# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules are revoked while the table is as full as that of a busy web server, within the time of one drop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import connections
from tests.unit.apply.namespace import Namespace

pytestmark = [pytest.mark.timed, pytest.mark.alone]

MEMORY = 128
"""MiB."""


@pytest.fixture(scope="module", name="table")
def _table() -> Iterator[Namespace]:
    with connections.table() as host:
        connections.put(host, 100_000, connections.OTHER)
        yield host


@pytest.mark.parametrize(("count", "limit"), [(5_000, 1.0), (50, 0.3), (0, 0.3)])
def test_a_rule_is_revoked_among_100_000_connections(table: Namespace, count: int, limit: float) -> None:
    connections.put(table, count, connections.REVOKED, 300_000)
    found = connections.cut(table, "revoked")
    assert found.count == count
    assert found.seconds <= limit
    assert found.memory <= MEMORY


def test_no_flow_that_ends_meanwhile_fails_a_drop(table: Namespace) -> None:
    """500 begin and end per second: each time some are there, and nothing else is cut."""
    with connections.coming_and_going(table, 500):
        assert sum(connections.cut(table, "revoked").count for _drop in range(5)) > 0


def test_a_full_table_of_which_nothing_is_to_be_cut(table: Namespace) -> None:
    connections.put(table, connections.FULL - 100_000, connections.OTHER, 100_000)
    found = connections.cut(table, "unused")
    assert found.count == 0
    assert found.seconds <= 1.5
    assert found.memory <= MEMORY
