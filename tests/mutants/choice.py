# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Choose the tests that a change has to get past: those that are named after its file, then those that use it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mutants.places import PURE, Place

UNIT = "tests/unit"
COMMANDS = f"{UNIT}/commands"
GOLDEN = f"{UNIT}/plan/test_golden.py"
PROGRAMS = ("bin/", "lib/", "libexec/")
LEFT_OUT = ("checks", "chaos", "plugin_utils")
"""What is not about the code that is changed; the fuzzer finds what it finds by chance."""


def rounds(place: Place, tree: Path) -> list[list[str]]:
    """Return test files in rounds; a later one is asked when the one before has noticed nothing."""
    first, rest = _programs(place.file, tree) if place.file.startswith(PROGRAMS) else _modules(place.file, tree)
    return [sorted(found) for found in (first, rest - first) if found]


def _modules(file: str, tree: Path) -> tuple[set[str], set[str]]:
    package, *between, name = file.removeprefix(PURE).removesuffix(".py").split("/")
    files = [path for path in (tree / UNIT).glob("*/test_*.py") if path.parent.name not in LEFT_OUT]
    own = {path for path in files if path.parent.name == package.strip("_")}
    stems = {part.rstrip("s") for part in (*between, package.strip("_") if name == "__init__" else name)}
    first = {path for path in own if any(_about(path, stem) for stem in stems)}
    used = re.compile(rf"\b{re.escape(name)}\b")
    users = {path for path in files if path.parent.name != "commands" and used.search(path.read_text(encoding="utf-8"))}
    # Much of a planner is asked by its golden files only, and much of the model by what is planned of it.
    rest = own | users | {tree / GOLDEN}
    return _names(first, tree), _names(rest, tree)


def _about(path: Path, stem: str) -> bool:
    name = path.stem.removeprefix("test_").rstrip("s")
    return name == stem or stem.startswith(f"{name}_") or name.startswith(f"{stem}_")


def _names(paths: set[Path], tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in paths}


def _programs(file: str, tree: Path) -> tuple[set[str], set[str]]:
    """Return the test files that name a program, or one that uses it; then all of them."""
    name = Path(file).stem if file.endswith(".py") else Path(file).name
    texts = {
        path.name: path.read_text(errors="replace")
        for folder in PROGRAMS
        for path in (tree / folder).rglob("*")
        if path.is_file()
    }
    names = rf"vrlib(\.| import (.*, )?){name}\b" if file.startswith("lib/") else re.escape(name)
    users = {Path(file).name} | {user for user, text in texts.items() if re.search(names, text)}
    named = re.compile("|".join([names, *(rf"\b{re.escape(user)}\b" for user in sorted(users))]))
    tests = {
        f"{COMMANDS}/{path.name}": path.read_text(encoding="utf-8") for path in (tree / COMMANDS).glob("test_*.py")
    }
    return {test for test, text in tests.items() if named.search(text)}, set(tests)
