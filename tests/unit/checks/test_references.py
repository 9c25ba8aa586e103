# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from tests.checks.references import check

CODES = frozenset({"B18", "F1"})
DOCUMENTS = frozenset({"drops.md"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("never a global flush (B18)", []),
        ("both (B18, F1)", []),
        ("no such row (B99)", ["(B99)"]),
        ("one of two (F1, B77)", ["(B77)"]),
        ("a parameter f(x) and a cell B99", []),
        ("see drops.md", []),
        ("see nowhere.md", ["nowhere.md"]),
        ("see ../elsewhere/nowhere.md", []),
    ],
)
def test_check(line: str, words: list[str]) -> None:
    """Codes in parentheses and plain names of documents must exist; paths are links, which another check follows."""
    found = [problem.text.split(" is no ")[0] for problem in check("x.py", f"\n{line}\n", CODES, DOCUMENTS)]
    assert found == words
