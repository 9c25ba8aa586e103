# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from tests.scenarios.turns import Turns


def waits(begun: Future[None]) -> bool:
    """Tell whether a test has not begun, after more time than one needs that may."""
    return not wait([begun], 0.3).done


def test_who_measures_is_alone_and_comes_before_those_who_ask_later(tmp_path: Path) -> None:
    """Two tests run, a third wants to measure, a fourth comes after it: none begins too early, all do in the end."""
    everybody = first, second, measuring, late = [Turns(tmp_path) for _number in range(4)]
    with ThreadPoolExecutor() as pool:
        try:
            first.take(alone=False)
            pool.submit(second.take, alone=False).result(30)
            alone = pool.submit(measuring.take, alone=True)
            assert waits(alone)
            other = pool.submit(late.take, alone=False)
            first.give(next_alone=False)
            assert waits(alone)
            assert waits(other)
            second.give(next_alone=False)
            alone.result(30)
            assert waits(other)
            measuring.give(next_alone=True)
            assert waits(other), "the next one measures, too"
            measuring.take(alone=True)
            measuring.give(next_alone=False)
            other.result(30)
        finally:
            for each in everybody:
                each.give(next_alone=False)
