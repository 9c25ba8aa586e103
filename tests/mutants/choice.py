# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Choose the tests that a change has to get past: those that run its line, the quick ones first."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from coverage import CoverageData

from tests.mutants.places import PURE, Place

COMMANDS = "tests/unit/commands"
LEFT_OUT = (COMMANDS, "tests/unit/checks", "tests/unit/chaos", "tests/unit/plugin_utils")
"""What runs programs, or is not about the code that is changed; the fuzzer finds what it finds by chance."""
FIRST, REST = 8.0, 60.0
"""Seconds of tests, by their time when nothing was changed: those that are run first, and those after them."""
DEFAULT_TIME = 0.05


@dataclass
class Choice:
    """Which tests run which lines, and how long each took."""

    tree: Path
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def rounds(self, place: Place) -> list[list[str]]:
        """Return the tests for a place in rounds, as words for pytest; none when no test runs it."""
        if place.file.startswith("bin/"):
            return self._programs(place.file)
        lines = self.lines.get(place.file, {})
        # What is run when a module is imported is run for all tests of the module.
        found = lines.get(place.line) or sorted({test for tests in lines.values() for test in tests})
        ordered = sorted(found, key=lambda test: (self.seconds.get(test, DEFAULT_TIME), test))
        first, rest, spent = list[str](), list[str](), 0.0
        for test in ordered:
            spent += self.seconds.get(test, DEFAULT_TIME)
            if spent <= FIRST or not first:
                first.append(test)
            elif spent <= FIRST + REST:
                rest.append(test)
        return [tests for tests in (first, rest) if tests]

    def _programs(self, file: str) -> list[list[str]]:
        """Return the test files that name a program, or what imports it; then all of them."""
        name = Path(file).stem if file.endswith(".py") else Path(file).name
        tests = sorted((self.tree / COMMANDS).glob("test_*.py"))
        users = {name} | {
            path.name for path in (self.tree / "bin").iterdir() if name in path.read_text(errors="replace")
        }
        named = re.compile("|".join(rf"\b{re.escape(user)}\b" for user in sorted(users)))
        first = [f"{COMMANDS}/{test.name}" for test in tests if named.search(test.read_text(encoding="utf-8"))]
        rest = [f"{COMMANDS}/{test.name}" for test in tests if f"{COMMANDS}/{test.name}" not in first]
        return [found for found in (first, rest) if found]


def measure(tree: Path, jobs: int) -> Choice:
    """Run the unit tests once with nothing changed; that they pass is what all the rest stands on."""
    words = [sys.executable, "-m", "pytest", "tests/unit", "-q", "-n", str(jobs)]
    words += [f"--ignore={path}" for path in LEFT_OUT]
    words += ["--cov=plugins/module_utils", "--cov-context=test", "--cov-report=", "--junitxml=times.xml"]
    words += ["-o", "junit_family=xunit1"]
    subprocess.run(words, cwd=tree, check=True, stdout=subprocess.DEVNULL)
    choice = Choice(tree, seconds=_times(tree / "times.xml"))
    data = CoverageData(str(tree / ".coverage"))
    data.read()
    for path in data.measured_files():
        name = Path(path).resolve().relative_to(tree.resolve()).as_posix()
        if name.startswith(PURE):
            contexts = data.contexts_by_lineno(path)
            choice.lines[name] = {line: sorted({_test(c) for c in found if c}) for line, found in contexts.items()}
    return choice


def _test(context: str) -> str:
    return context.rpartition("|")[0]


def _times(report: Path) -> dict[str, float]:
    """Return how long each test took, by its name as pytest takes it."""
    times: dict[str, float] = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        times[f"{case.get('file')}::{case.get('name')}"] = float(case.get("time") or 0)
    return times
