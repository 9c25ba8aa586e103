# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks import stages
from tests.checks.stages import Count, Outcome, can_run, cases, judge, read_junit, report

JUNIT = """<testsuites><testsuite tests="9">
  <testcase name="good"/>
  <testcase name="also good"><system-out>text</system-out></testcase>
  <testcase classname="a" name="bad"><failure message="no"/></testcase>
  <testcase classname="b" name="broken"><error message="no"/></testcase>
  <testcase name="not here"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


def test_read_junit_counts_cases_and_not_the_total_claimed(tmp_path: Path) -> None:
    """A runner that claims nine tests but lists five has run five."""
    path = tmp_path / "junit.xml"
    path.write_text(JUNIT, encoding="utf-8")
    assert read_junit(path) == Count(passed=2, failed=2, skipped=1)
    assert [name for name, count in cases(path) if count.failed] == ["a::bad", "b::broken"]


@pytest.mark.parametrize("length", [0, len(JUNIT) // 2])
def test_what_a_killed_runner_has_not_finished_is_a_failure(tmp_path: Path, length: int) -> None:
    """The stages after it run all the same, and the sum is printed."""
    path = tmp_path / "junit.xml"
    path.write_text(JUNIT[:length], encoding="utf-8")
    assert read_junit(path) == Count(failed=1)
    assert cases(path)[0][0].startswith("junit.xml::")


@pytest.mark.parametrize(
    ("stage", "status", "count", "failed", "words"),
    [
        ("units", 0, Count(passed=3), 0, None),
        ("venv", 0, Count(), 0, None),
        ("venv", 2, Count(), 1, "exit status 2"),
        ("units", 0, Count(), 1, "no test has run"),
        ("units", 0, Count(skipped=4), 1, "no test has run"),
        ("units", 1, Count(passed=3), 1, "exit status 1"),
        ("units", 1, Count(passed=3, failed=2), 2, "exit status 1"),
        ("units", 0, Count(passed=3, failed=2), 2, "counted failures"),
    ],
)
def test_judge(stage: str, status: int, count: Count, failed: int, words: str | None) -> None:
    """A stage without complaint has no failure, one with a complaint at least one."""
    judged, complaint = judge(stage, status, count)
    assert judged.failed == failed
    assert (complaint is None) == (failed == 0)
    assert words is None or words in str(complaint)


def test_report_ends_with_the_sum() -> None:
    """The last line is the sum of all stages, and stages that did not run are named, and so are failed tests."""
    failed = Outcome("units", Count(5, 1, 1), 2.0, "units broke", ("a::bad",))
    lines = report([Outcome("lint", Count(passed=2), 1.0), failed], ["image"], 2.5).splitlines()
    assert lines[-1] == "7 passed, 1 failed"
    assert "FAILED: units broke" in lines
    assert "FAILED: units: a::bad" in lines
    assert any(line.split() == ["image", "not", "run"] for line in lines)
    assert any(line.split() == ["total", "2.5s"] for line in lines)


@pytest.mark.parametrize(
    ("failed", "kept_from"),
    [("venv", {"units", "parallel", "timed"}), ("image", {"parallel", "timed"}), ("units", set()), ("parallel", set())],
)
def test_a_failure_keeps_only_what_is_made_of_it_from_running(failed: str, kept_from: set[str]) -> None:
    outcomes = [Outcome(failed, Count(failed=1), 1.0, "it broke")]
    assert {stage for stage in ("units", "parallel", "timed") if not can_run(stage, outcomes)} == kept_from


def test_lanes_that_fail_are_all_run_and_all_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With real makes; what is joined by a plus runs at the same time, each waiting for the other to have begun."""
    meet = 'timeout 30 sh -c "touch {}; until [ -e {} ]; do sleep 0.1; done"'
    case = 'echo \'<t><testcase classname="{0}" name="test">{1}</testcase></t>\' > build/results/{0}/one.xml'
    failed = "<failure/>"
    rules = {
        "lint": [meet.format("here", "there"), case.format("lint", "")],
        "units": [meet.format("there", "here"), "echo said by units", case.format("units", "")],
        "parallel": [case.format("parallel", failed), "false"],
        "timed": [case.format("timed", failed), "false"],
    }
    text = "".join(f"{name}:\n" + "".join(f"\t@{line}\n" for line in lines) for name, lines in rules.items())
    (tmp_path / "Makefile").write_text(text, encoding="utf-8")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "RESULTS", tmp_path / "build" / "results")
    assert stages.main(["lint+units", "parallel", "timed"]) == 1
    printed = capfd.readouterr().out.splitlines()
    assert printed.index("said by units") > printed.index("==== units, which ran beside lint ====")
    assert {"FAILED: parallel: parallel::test", "FAILED: timed: timed::test"} <= set(printed)
    assert printed[-1] == "2 passed, 2 failed"
