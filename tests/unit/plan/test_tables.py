# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.tables import (
    TABLES,
    LiveTable,
    compare,
    counters,
    digest,
    listed_digest,
    wanted,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import LoadRuleset
from tests.golden.cases import renderer
from tests.unit.plan.kernel import in_private_kernel, needs_kernel
from tests.unit.plan.samples import CONTROL, EXTRA, GUEST, PUBLIC, isolated, vpc

TEXT = "table inet cloudstack_usage { }\n"
LISTING = """\
table inet cloudstack_usage {
    counter eth2_sent {
    }

    counter eth9_received {
    }

    chain forward {
        iifname "eth0" oifname "eth2" counter name "eth2_sent"
    }
}
""".replace("    ", "\t")
RULES, FILES = wanted(isolated(GUEST, CONTROL, PUBLIC), renderer())
FILTER = FILES.files[0].content
AS_LOADED = LiveTable(LISTING, digest(TEXT), listed_digest(LISTING))


@needs_kernel
def test_wanted_without_a_helper_for_ftp_is_a_ruleset_that_names_none() -> None:
    """A kernel that has none would refuse the whole table."""
    _rules, with_it = wanted(vpc(), renderer())
    _rules, without = wanted(vpc(), renderer(), ftp=False)
    assert "helper" in with_it.files[0].content
    assert "helper" not in without.files[0].content
    in_private_kernel('printf "%s" "$text" | nft -f -', text=without.files[0].content)


def load(live: LiveTable) -> LoadRuleset | None:
    """Return the load that is due."""
    steps = compare("cloudstack_usage", TEXT, "saved", live, RULES.counters)
    assert len(steps) < 2
    return steps[0] if steps and isinstance(steps[0], LoadRuleset) else None


def test_compare_does_nothing_while_text_and_kernel_are_as_remembered() -> None:
    assert load(AS_LOADED) is None


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (LiveTable(None), "it is not there"),
        (LiveTable(LISTING), "it is not as it was loaded"),
        (LiveTable(LISTING + " ", digest(TEXT), listed_digest(LISTING)), "it is not as it was loaded"),
        (LiveTable(LISTING, digest("other"), listed_digest(LISTING)), "the rules changed"),
    ],
)
def test_compare_loads_with_a_reason(live: LiveTable, reason: str) -> None:
    """A rule flushed by hand, a lost table, lost memory and new rules are all seen (B3)."""
    step = load(live)
    assert step is not None
    assert reason in step.summary
    assert (step.text, step.before) == (TEXT, "saved")


def test_compare_deletes_counters_of_nics_that_are_gone() -> None:
    """And leaves those that are still counted alone (K6)."""
    step = load(LiveTable(LISTING))
    assert step is not None
    assert step.cleanup == "delete counter inet cloudstack_usage eth9_received\n"
    absent = load(LiveTable(None))
    assert absent is not None
    assert absent.cleanup == ""


def filter_load(saved: str | None, live: LiveTable) -> LoadRuleset:
    """Return the load of the filter that another text asks for."""
    (step,) = compare("cloudstack", FILTER.replace("3922", "22"), saved, live, RULES.counters)
    assert isinstance(step, LoadRuleset)
    return step


def test_compare_changes_the_filter_that_is_as_it_was_loaded() -> None:
    """What stays is left alone; the usage table is never replaced, so it needs no change."""
    step = filter_load(FILTER, LiveTable(FILTER, digest(FILTER), listed_digest(FILTER)))
    assert step.change is not None
    assert step.change.switch.startswith("flush chain inet cloudstack input\n")
    assert len(step.change.switch) < len(step.text) / 2
    usage = load(LiveTable(LISTING, digest("other"), listed_digest(LISTING)))
    assert usage is not None
    assert usage.change is None


@pytest.mark.parametrize(
    ("saved", "live"),
    [
        (FILTER, LiveTable(None)),
        (FILTER, LiveTable(FILTER, digest(FILTER), "what somebody changed")),
        (FILTER + "# hm", LiveTable(FILTER, digest(FILTER), listed_digest(FILTER))),
        (None, LiveTable(FILTER, digest(FILTER), listed_digest(FILTER))),
    ],
)
def test_compare_loads_the_whole_filter_without_knowing_what_is_there(saved: str | None, live: LiveTable) -> None:
    """A table that was touched, or whose text is lost, is no ground to build on."""
    assert filter_load(saved, live).change is None


def test_counters_reads_their_names() -> None:
    assert counters(LISTING) == {"eth2_sent", "eth9_received"}


def test_wanted_saves_a_text_per_table() -> None:
    """The boot unit loads the first; nobody else reads the rules."""
    assert [file.path.rsplit("/", 1)[1] for file in FILES.files] == list(TABLES.values())
    assert {file.mode for file in FILES.files} == {0o600}
    for name, file in zip(TABLES, FILES.files, strict=True):
        assert f"table inet {name} {{" in file.content


def test_wanted_replaces_the_table_in_one_transaction() -> None:
    """At no moment is there half a ruleset: it is deleted and made in one text, and only this table is."""
    lines = FILES.files[0].content.splitlines()
    assert lines[1:3] == ["add table inet cloudstack", "delete table inet cloudstack"]
    assert not any("flush ruleset" in line for line in lines)
    usage = FILES.files[1].content
    assert "delete table" not in usage, "its counters live on"


def test_wanted_is_the_same_twice() -> None:
    """Byte for byte (B1)."""
    one, two = (wanted(isolated(GUEST, CONTROL, PUBLIC, EXTRA), renderer())[1] for _number in range(2))
    assert one == two
