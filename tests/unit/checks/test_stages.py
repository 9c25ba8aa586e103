# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.stages import Count, Outcome, judge, read_junit, report

JUNIT = """<testsuites><testsuite tests="9">
  <testcase name="good"/>
  <testcase name="also good"><system-out>text</system-out></testcase>
  <testcase name="bad"><failure message="no"/></testcase>
  <testcase name="broken"><error message="no"/></testcase>
  <testcase name="not here"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


def test_read_junit_counts_cases_and_not_the_total_claimed(tmp_path: Path) -> None:
    """A runner that claims nine tests but lists five has run five."""
    path = tmp_path / "junit.xml"
    path.write_text(JUNIT, encoding="utf-8")
    assert read_junit(path) == Count(passed=2, failed=2, skipped=1)


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
    """The last line is the sum of all stages, and stages that did not run are named."""
    outcomes = [Outcome("lint", Count(passed=2), 1.0), Outcome("units", Count(5, 1, 1), 2.0, "units broke")]
    lines = report(outcomes, ["image"]).splitlines()
    assert lines[-1] == "7 passed, 1 failed"
    assert "FAILED: units broke" in lines
    assert any(line.split() == ["image", "not", "run"] for line in lines)
    assert any(line.split() == ["total", "3.0s"] for line in lines)
