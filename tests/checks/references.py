# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that what comments, docstrings and pages refer to is in the repository.

Codes such as B18 are rows of docs/reference/field_problems.md, and names of Markdown files are files of the project.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath

from tests.checks.tree import ROOT, Problem, files

PROBLEMS = "docs/reference/field_problems.md"
ROW = re.compile(r"^\| ([A-N][0-9]{1,2}) \|", re.MULTILINE)
# Codes stand in parentheses, alone or as a list; elsewhere a letter and a number may be anything.
CODES = re.compile(r"\(([A-N][0-9]{1,2}(?:(?:,| and| to) ?[A-N][0-9]{1,2})*)\)")
DOCUMENT = re.compile(r"(?<![\w./-])([\w-]+\.md)\b")
# `make mutants` writes it.
WRITTEN = frozenset({"mutants.md"})
SUFFIXES = frozenset({".py", ".md", ".j2", ".yml", ".sh", ".nft", ".service", ".socket", ".path", ".conf", ""})


def texts() -> list[str]:
    """List the files that people wrote and may refer from: no fixtures, no licence, no expected outcome."""
    left_out = ("tests/golden/", "tests/fixtures/", "tests/unit/checks/", "LICENSE", "docs/bench.svg")
    return [path for path in files() if not path.startswith(left_out) and PurePosixPath(path).suffix in SUFFIXES]


def check(path: str, text: str, codes: Set[str], documents: Set[str]) -> Iterator[Problem]:
    """Find codes and names of documents that nothing in the repository explains."""
    for number, line in enumerate(text.splitlines(), 1):
        for listed in CODES.findall(line):
            for code in re.findall(r"[A-N][0-9]{1,2}", listed):
                if code not in codes:
                    yield Problem(path, number, f"({code}) is no row of {PROBLEMS}")
        for name in DOCUMENT.findall(line):
            if name not in documents:
                yield Problem(path, number, f"{name} is no document of the project")


def problems() -> list[Problem]:
    """Check every text of the project."""
    codes = set(ROW.findall(Path(ROOT, PROBLEMS).read_text(encoding="utf-8")))
    documents = {PurePosixPath(path).name for path in files() if path.endswith(".md")} | WRITTEN
    found: list[Problem] = []
    for path in texts():
        found += check(path, Path(ROOT, path).read_text(encoding="utf-8"), codes, documents)
    return found


if __name__ == "__main__":
    FOUND = problems()
    print("\n".join(map(str, FOUND)) or f"{len(texts())} files: codes and documents resolve")
    sys.exit(bool(FOUND))
