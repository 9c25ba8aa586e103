# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel's count of transactions of nftables, and the listings that it saves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import execute, generation
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import tables as live_tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import HANDLERS, firewall
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import LoadRuleset
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.apply.test_execute import LOAD, Commands, system
from tests.unit.plan.samples import isolated

LISTED = "table inet cloudstack {\n}\n"
CHANGES = (
    "add table inet sample",
    "add set inet sample seen { type ipv4_addr; flags dynamic, timeout; timeout 1h; }",
    "add counter inet sample web",
    "add element inet sample seen { 192.0.2.1 }",
    "delete table inet sample",
)
LOOKS = ("nft list ruleset", "nft reset counters table inet sample", "nft -c flush ruleset")


def count(host: Namespace) -> int:
    """Ask the kernel in the namespace."""
    program = f"import runpy; print(runpy.run_path({generation.__file__!r})['current']())"
    return int(host((sys.executable, "-c", program)))


@needs_root
def test_the_kernel_counts_each_change_and_no_look() -> None:
    with namespace() as host:
        for number, change in enumerate(CHANGES):
            before = count(host)
            host(("nft", *change.split()))
            assert count(host) == before + 1
            for look in LOOKS if 0 < number < len(CHANGES) - 1 else ():
                host(tuple(look.split()))
            assert count(host) == before + 1


@pytest.mark.parametrize("content", [None, "", "many"])
def test_no_count_or_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    mark = tmp_path / "run" / "mark"
    monkeypatch.setattr(generation, "MARK", str(mark))
    if content is not None:
        mark.parent.mkdir()
        mark.write_text(content)
    assert generation.remembered() is None
    generation.remember(7)
    assert generation.remembered() == 7


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the kernel's count be the last of a list."""
    counts = [1]
    monkeypatch.setattr(tables, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(generation, "MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(generation, "current", lambda: counts[-1])
    return counts


def remembering(text: str) -> str:
    """Return what is kept of a load of this text, of which the kernel made LISTED."""
    return json.dumps({"loaded_digest": tables.digest(text), "listed_digest": tables.listed_digest(LISTED)})


def settled() -> tuple[Host, Commands]:
    """Return a router whose tables were loaded, and its commands since."""
    commands = Commands(answers={"nft --stateless list": LISTED})
    router = system(commands)
    for name, file in zip(tables.TABLES, tables.wanted(isolated(), router.render)[1].files, strict=True):
        path = live_tables.digest_file(name)
        path.write_text(remembering(file.content))
    return router, commands


def listings(commands: Commands) -> int:
    """Return how often a table was listed."""
    return sum("list table" in line for line in commands.lines)


CHAIN = "table inet cloudstack {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n"


@pytest.mark.parametrize(
    ("remembered", "answer", "is_open"),
    [(True, None, False), (False, CHAIN, False), (False, "", True), (False, None, True)],
)
def test_a_router_is_open_without_the_chains_that_guard_it(
    kernel: list[int], *, remembered: bool, answer: str | None, is_open: bool
) -> None:
    """Which is looked at only after somebody else's transaction: the kernel's count is at hand."""
    if remembered:
        generation.remember(1)
    asked = "nft --stateless list chain"
    absent = {} if answer is not None else {asked: "Error: No such file or directory"}
    assert live_tables.is_open(system(Commands(answers={asked: answer or ""}, failing=absent))) is is_open


@pytest.mark.parametrize(("change", "listed"), [(False, 2), (True, 4)])
def test_a_table_is_listed_again_only_after_a_transaction(kernel: list[int], *, change: bool, listed: int) -> None:
    """B3: whatever was done to a table behind our back was a transaction."""
    router, commands = settled()
    for _converge in range(2):
        steps = firewall.plan(router, isolated(), isolated())
        assert not any(isinstance(step, LoadRuleset) for step in steps)
        if change:
            kernel.append(kernel[-1] + 1)
    assert listings(commands) == listed


def test_rules_that_differ_are_loaded_whatever_the_count_is(kernel: list[int]) -> None:
    router, commands = settled()
    firewall.plan(router, isolated(), isolated())
    assert generation.remembered() == kernel[-1]
    live_tables.digest_file("cloudstack").write_text(remembering("another text"))
    steps = firewall.plan(router, isolated(), isolated())
    assert [step.table for step in steps if isinstance(step, LoadRuleset)] == ["cloudstack"]
    assert listings(commands) == 3


@pytest.mark.parametrize(("others", "listed", "kept"), [(0, 0, True), (1, 2, False)])
def test_what_this_process_has_loaded_is_listed_again_only_if_somebody_came_between(
    kernel: list[int], *, others: int, listed: int, kept: bool
) -> None:
    """B3: the load has read back and counted what it left, and each of its parts is one transaction."""
    router, commands = settled()
    live_tables.digest_file("cloudstack").write_text(remembering("another text"))
    loads = [step for step in firewall.plan(router, isolated(), isolated()) if isinstance(step, LoadRuleset)]
    assert [step.table for step in loads] == ["cloudstack"]
    router.transactions.own += 2
    kernel.append(kernel[-1] + 2 + others)
    text = loads[0].text
    live_tables.digest_file("cloudstack").write_text(remembering(text))
    before = listings(commands)
    steps = firewall.plan(router, isolated(), isolated())
    assert not any(isinstance(step, LoadRuleset) for step in steps)
    assert listings(commands) - before == listed
    assert (generation.remembered() == kernel[-1]) is kept


def test_each_part_of_a_load_counts_as_a_transaction(kernel: list[int]) -> None:
    router, _commands = settled()
    assert router.transactions.alone(kernel[-1])
    execute.apply([LOAD], router, HANDLERS)
    assert router.transactions.own == 1
    assert not router.transactions.alone(kernel[-1])
    assert router.transactions.alone(kernel[-1] + 1)
