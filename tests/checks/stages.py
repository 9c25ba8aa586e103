# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run stages of `make`, time them, and sum up what their test runners counted.

A stage is a make target that leaves JUnit files in build/results/<stage>/. Stages are run one after another; those
joined by a plus (`sanity+image`) beside each other. One that fails ends nothing but what is made of it. Every failed
test is named at the end. Runs with Debian's own python3. The last line printed is `N passed, N failed`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "results"
# Stages that only make something; all others must have counted at least one passed test.
BUILDING = frozenset({"venv", "image"})
# Stages that need the image; all need the virtual environment.
SCENARIOS = frozenset({"molecule", "parallel", "timed"})


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
    """One stage that has run; `seconds` is wall-clock time, `failures` are names of failed tests."""

    stage: str
    count: Count
    seconds: float
    complaint: str | None = None
    failures: tuple[str, ...] = ()


def cases(path: Path) -> list[tuple[str, Count]]:
    """Return the test cases of one JUnit file, each with its own outcome; a half-written file is a failed one."""
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314  # written by our own runners
    except ElementTree.ParseError as error:
        return [(f"{path.name}::{error}", Count(failed=1))]
    found = []
    for case in root.iter("testcase"):
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            count = Count(failed=1)
        elif "skipped" in tags:
            count = Count(skipped=1)
        else:
            count = Count(passed=1)
        found.append((f"{case.get('classname', '')}::{case.get('name', '')}", count))
    return found


def read_junit(path: Path) -> Count:
    """Count the test cases of one JUnit file by their own outcome, not by the totals it claims."""
    return sum((count for _name, count in cases(path)), Count())


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


def run_stage(stage: str, output: Path | None = None) -> Outcome:
    """Run one make target, with its output shown or written to a file, and read what it counted."""
    results = RESULTS / stage
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    print(f"\n==== {stage} ====", flush=True)
    command, started = ["make", "--no-print-directory", stage], time.monotonic()
    if output is None:
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
    else:
        with output.open("wb") as file:
            status = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False).returncode
    seconds = time.monotonic() - started
    found = [case for path in sorted(results.rglob("*.xml")) for case in cases(path)]
    count, complaint = judge(stage, status, sum((count for _name, count in found), Count()))
    return Outcome(stage, count, seconds, complaint, tuple(name for name, case in found if case.failed))


def run_together(stages: list[str]) -> list[Outcome]:
    """Run stages beside each other; the output of the first is shown at once, that of each other one at the end."""
    outputs = {stage: RESULTS / f"{stage}.txt" for stage in stages[1:]}
    with ThreadPoolExecutor(len(stages)) as pool:
        outcomes = list(pool.map(lambda stage: run_stage(stage, outputs.get(stage)), stages))
    for stage, output in outputs.items():
        print(f"\n==== {stage}, which ran beside {stages[0]} ====", flush=True)
        sys.stdout.buffer.write(output.read_bytes())
        sys.stdout.flush()
    return outcomes


def can_run(stage: str, outcomes: list[Outcome]) -> bool:
    """Tell whether all that a stage needs was made, as far as this run made it."""
    failed = {outcome.stage for outcome in outcomes if outcome.complaint}
    return not failed & ({"venv", "image"} if stage in SCENARIOS else {"venv"})


def report(outcomes: list[Outcome], left_out: list[str], seconds: float) -> str:
    """Return the table of stages, what failed, and the line that a CI reads; `seconds` is the time of all together."""
    width = max(len(name) for name in ["stage", *(outcome.stage for outcome in outcomes), *left_out])
    lines = ["", f"{'stage':<{width}}  passed  failed  skipped      time"]
    for outcome in outcomes:
        count = outcome.count
        counted = f"{count.passed:>6}  {count.failed:>6}  {count.skipped:>7}"
        lines.append(f"{outcome.stage:<{width}}  {counted}  {outcome.seconds:>7.1f}s")
    lines += [f"{stage:<{width}}  not run" for stage in left_out]
    lines.append(f"{'total':<{width}}  {'':>23}  {seconds:>7.1f}s")
    for outcome in outcomes:
        lines += [f"FAILED: {outcome.complaint}"] if outcome.complaint else []
        lines += [f"FAILED: {outcome.stage}: {name}" for name in outcome.failures]
    total = sum((outcome.count for outcome in outcomes), Count())
    return "\n".join([*lines, f"{total.passed} passed, {total.failed} failed"])


def main(words: list[str]) -> int:
    """Run the stages of each word in order and return 0 only if all of them went well."""
    outcomes: list[Outcome] = []
    left_out: list[str] = []
    started = time.monotonic()
    for word in words:
        stages = [stage for stage in word.split("+") if can_run(stage, outcomes)]
        left_out += [stage for stage in word.split("+") if stage not in stages]
        outcomes += run_together(stages) if stages else []
    print(report(outcomes, left_out, time.monotonic() - started), flush=True)
    return 1 if any(outcome.complaint for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
