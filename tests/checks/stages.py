# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run stages of `make` one after another, time them, and sum up what their test runners counted.

A stage is a make target that leaves JUnit files in build/results/<stage>/. The first that fails ends the run.
Runs with Debian's own python3. The last line printed is `N passed, N failed`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "results"
# Stages that only make something; all others must have counted at least one passed test.
BUILDING = frozenset({"venv", "image"})


@dataclass(frozen=True)
class Count:
    """What test runners counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        """Sum two counts."""
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


@dataclass(frozen=True)
class Outcome:
    """One stage that has run; `seconds` is wall-clock time."""

    stage: str
    count: Count
    seconds: float
    complaint: str | None = None


def read_junit(path: Path) -> Count:
    """Count the test cases of one JUnit file by their own outcome, not by the totals it claims."""
    count = Count()
    for case in ElementTree.parse(path).getroot().iter("testcase"):  # noqa: S314  # written by our own runners
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            count += Count(failed=1)
        elif "skipped" in tags:
            count += Count(skipped=1)
        else:
            count += Count(passed=1)
    return count


def judge(stage: str, status: int, count: Count) -> tuple[Count, str | None]:
    """Decide whether a stage failed, and make sure that a failed stage is never counted as zero failures."""
    complaint = None
    if status != 0:
        complaint = f"stage {stage} failed with exit status {status}"
    elif count.failed:
        complaint = f"stage {stage} counted failures, yet ended with exit status 0"
    elif stage not in BUILDING and not count.passed:
        complaint = f"stage {stage} ended well but no test has run"
    if complaint and not count.failed:
        count += Count(failed=1)
    return count, complaint


def run_stage(stage: str) -> Outcome:
    """Run one make target with its output shown, and read what it counted."""
    results = RESULTS / stage
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    print(f"\n==== {stage} ====", flush=True)
    started = time.monotonic()
    status = subprocess.run(["make", "--no-print-directory", stage], cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - started
    count = sum((read_junit(path) for path in sorted(results.rglob("*.xml"))), Count())
    count, complaint = judge(stage, status, count)
    return Outcome(stage, count, seconds, complaint)


def report(outcomes: list[Outcome], left_out: list[str]) -> str:
    """Print the table of stages, then the line that a CI reads."""
    width = max(len(name) for name in ["stage", *(outcome.stage for outcome in outcomes), *left_out])
    lines = ["", f"{'stage':<{width}}  passed  failed  skipped      time"]
    for outcome in outcomes:
        count = outcome.count
        counted = f"{count.passed:>6}  {count.failed:>6}  {count.skipped:>7}"
        lines.append(f"{outcome.stage:<{width}}  {counted}  {outcome.seconds:>7.1f}s")
    lines += [f"{stage:<{width}}  not run" for stage in left_out]
    lines.append(f"{'total':<{width}}  {'':>23}  {sum(outcome.seconds for outcome in outcomes):>7.1f}s")
    lines += [f"FAILED: {outcome.complaint}" for outcome in outcomes if outcome.complaint]
    total = sum((outcome.count for outcome in outcomes), Count())
    return "\n".join([*lines, f"{total.passed} passed, {total.failed} failed"])


def main(stages: list[str]) -> int:
    """Run `stages` in order and return 0 only if each of them went well."""
    outcomes: list[Outcome] = []
    for stage in stages:
        outcomes.append(run_stage(stage))
        if outcomes[-1].complaint:
            break
    print(report(outcomes, stages[len(outcomes) :]), flush=True)
    return 1 if any(outcome.complaint for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
