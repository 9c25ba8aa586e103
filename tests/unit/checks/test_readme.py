# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""README.md shows what there is: the demonstration's network and packets, and tests that exist."""

from __future__ import annotations

import re

from tests.checks.tree import ROOT, files
from tests.demo.__main__ import ATTEMPTS, PICTURE

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_picture_is_that_of_the_demonstration() -> None:
    assert PICTURE.strip("\n") in README
    for attempt in ATTEMPTS:
        fate = "passes" if attempt.passes else "is dropped"
        assert f"  {attempt.words:<52} {fate}\n" in README


def test_each_row_of_what_works_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (.*?) \| (`test_.*?`) \|$", README, re.MULTILINE)
    assert len(rows) > 8
    there = [name.removeprefix("tests/scenarios/") for name in files() if name.startswith("tests/scenarios/")]
    for words, cell in rows:
        for pattern in re.findall("`([^`]+)`", cell):
            regex = re.escape(pattern).replace(r"\*", ".*")
            assert any(re.fullmatch(regex, name) for name in there), f"{words}: {pattern}"
