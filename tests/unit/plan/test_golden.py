# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cases of tests/golden become what their expectations say, and the kernel takes their rulesets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import ruleset as firewall
from tests.golden.cases import cases, databags, nics, outcome
from tests.unit.plan.kernel import in_private_kernel, needs_kernel

CASES = cases()
NAMES = [case.name for case in CASES]


def test_there_are_cases() -> None:
    assert len(CASES) >= 15


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_golden(case: Path) -> None:
    """Every file is as expected, and none is missing; `python -m tests.golden.update` writes them anew."""
    expected = {path.name: path.read_text("utf-8") for path in (case / "expect").iterdir()}
    found = outcome(case)
    assert sorted(found) == sorted(expected)
    for name, content in found.items():
        assert content == expected[name], f"{case.name}/expect/{name}"


def shuffled(value: Any, chance: random.Random) -> Any:
    """Return the value with the keys of every object in another order; lists keep theirs."""
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_plan_does_not_depend_on_the_order_of_keys(case: Path) -> None:
    """The router is a pure function of its databags, whatever wrote them in what order (B2)."""
    bags, plugged = databags(case), nics(case)
    router = build(bags, plugged)
    assert build(bags, plugged) == router, "the same twice"
    for seed in range(20):
        chance = random.Random(seed)
        chance.shuffle(plugged)
        other = build(shuffled(bags, chance), plugged)
        assert other == router
        assert firewall.ruleset(other) == firewall.ruleset(router)
        assert interfaces.compare(other, interfaces.Network()) == interfaces.compare(router, interfaces.Network())


def expectation(case: Path, name: str) -> str:
    """Return an expected file."""
    return (case / "expect" / name).read_text("utf-8")


@needs_kernel
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_kernel_takes_the_rulesets(case: Path) -> None:
    """As they are checked before they are applied: on an empty kernel, too (B14)."""
    texts = {name: expectation(case, f"{name}.nft") for name in ("ruleset", "usage")}
    in_private_kernel('for f in "$ruleset" "$usage"; do printf "%s" "$f" | nft -c -f -; done', **texts)


@needs_kernel
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_kernel_has_the_same_after_loading_twice(case: Path) -> None:
    """Loading again changes nothing (B1)."""
    texts = {name: expectation(case, f"{name}.nft") for name in ("ruleset", "usage")}
    load = 'for f in "$ruleset" "$usage"; do printf "%s" "$f" | nft -f -; done'
    show = "for t in cloudstack cloudstack_usage; do nft -s list table inet $t; done; echo ====="
    once, twice, rest = in_private_kernel("\n".join([load, show, load, show]), **texts).split("=====\n")
    assert once == twice
    assert rest == ""
    assert "table inet cloudstack {" in once
    assert "table inet cloudstack_usage {" in once


@needs_kernel
def test_kernel_keeps_the_counters_when_the_tables_are_loaded_again() -> None:
    """What was counted is billed (K6)."""
    case = next(case for case in CASES if case.name == "isolated-three-public-subnets")
    texts = {name: expectation(case, f"{name}.nft") for name in ("ruleset", "usage")}
    counted = "table inet cloudstack_usage { counter eth3_sent { packets 7 bytes 4711 }\n}"
    load = 'for f in "$counted" "$ruleset" "$usage" "$ruleset" "$usage"; do printf "%s\n" "$f" | nft -f -; done'
    shown = in_private_kernel(f"{load}; nft list counter inet cloudstack_usage eth3_sent", **texts, counted=counted)
    assert "packets 7 bytes 4711" in shown
