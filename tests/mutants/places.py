# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find what can be changed: cosmic-ray's operators over the pure packages and the Python of bin/, libexec/ and lib/."""

from __future__ import annotations

import difflib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from tests.checks.tree import ROOT, files

PURE = "plugins/module_utils/"
PACKAGES = tuple(f"{PURE}{package}/" for package in ("_databag", "_model", "_plan"))
_BINARY = ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul")
_BITS = ("BitOr_BitAnd", "BitAnd_BitOr", "LShift_RShift", "RShift_LShift", "BitXor_BitAnd")
_COMPARISONS = (
    *("Eq_NotEq", "Eq_LtE", "Eq_GtE", "NotEq_Eq", "Lt_LtE", "Lt_Gt", "LtE_Lt", "LtE_Gt"),
    *("Gt_GtE", "Gt_Lt", "GtE_Gt", "GtE_Lt", "Is_IsNot", "IsNot_Is"),
)
# Left out: `is` for `==` and back, which are the same for None and for small numbers, and what only makes nonsense of a
# type, such as a string divided by another.
OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{name}" for name in (*_BINARY, *_BITS)),
    *(f"core/ReplaceComparisonOperator_{name}" for name in _COMPARISONS),
    *("core/ReplaceUnaryOperator_Delete_Not", "core/ReplaceUnaryOperator_Delete_USub", "core/AddNot"),
    *("core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue", "core/ReplaceAndWithOr", "core/ReplaceOrWithAnd"),
    *("core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak", "core/ExceptionReplacer"),
    *("core/NumberReplacer", "core/RemoveDecorator", "core/ZeroIterationForLoop"),
)
_ANNOTATIONS = ("annassign", "tfpdef")


@dataclass(frozen=True)
class Place:
    """One change that can be made: which operator, at which of its occurrences in the file, and where that is."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int


@dataclass(frozen=True)
class Mutant:
    """A changed file, with the lines that differ, as one who reads the report wants them."""

    place: Place
    text: str
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what stays the same when lines are added above."""
        return (self.place.file, self.before, self.after)


def sources() -> list[str]:
    """Return the files that are changed, as paths from the root."""
    return [name for name in files() if (name.startswith(PACKAGES) and name.endswith(".py")) or _program(name)]


def _program(name: str) -> bool:
    if not name.startswith(("bin/", "lib/", "libexec/")):
        return False
    first = (ROOT / name).read_text(encoding="utf-8").partition("\n")[0]
    return name.endswith(".py") or "python" in first


def places(file: str, root: Path) -> Iterator[Place]:
    """Yield everything that can be changed in a file."""
    tree = get_ast((root / file).read_text(encoding="utf-8"))
    nodes = [(node, _is_code(node)) for node in ast_nodes(tree)]
    for name in OPERATORS:
        operator, occurrence = get_operator(name)(), 0
        for node, code in nodes:
            for start, _end in operator.mutation_positions(node):
                if code:
                    yield Place(file, start[0], start[1], name, occurrence)
                occurrence += 1


def _is_code(node: Any) -> bool:
    """Tell whether a node does something: annotations are text, and what a dataclass forbids, mypy forbids first."""
    child, parent = node, node.parent
    while parent is not None:
        if parent.type in _ANNOTATIONS and child is parent.children[1]:
            return "=" in [getattr(part, "value", "") for part in getattr(child, "children", ())[:1]]
        if parent.type == "funcdef" and child is parent.annotation:
            return False
        if parent.type == "decorator" and child is not parent.children[0] and "dataclass" in parent.get_code():
            return False
        child, parent = parent, parent.parent
    return True


def sample(found: Iterable[Place], size: int, seed: int) -> list[Place]:
    """Return so many changes, each at another place of the code, in an order that is chance, too; by the seed."""
    by_place: dict[tuple[str, int, int], list[Place]] = defaultdict(list)
    for place in found:
        by_place[place.file, place.line, place.column].append(place)
    chance = random.Random(seed)
    chosen = chance.sample(sorted(by_place), min(size, len(by_place)))
    return [chance.choice(by_place[at]) for at in chosen]


def mutant(place: Place, root: Path) -> Mutant:
    """Return a file with its change."""
    text = (root / place.file).read_text(encoding="utf-8")
    changed = mutate_code(text, get_operator(place.operator)(), place.occurrence)
    if changed is None:
        raise ValueError(f"nothing to change at {place}")
    lines = [line for line in difflib.ndiff(text.splitlines(), changed.splitlines()) if line[:1] in "-+"]
    before, after = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(place, changed, before, after)
