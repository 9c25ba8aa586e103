# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that what the documents point at exists: files, headings, make targets, commands of the router."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePosixPath

from tests.checks.tree import PACKAGE, ROOT, Problem, files, find_collection

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)|!\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"(?:^|[\s;&$#])make((?: +[a-z][a-z-]*)+)", re.MULTILINE)
COMMAND = re.compile(r"/opt/(?:cloud/(bin)|cloudstack/(libexec))/([\w.-]*\w)")
CONTRACT = "docs/reference/contract.md"
OURS = ("vr", "vr-unlock", "configure_router.py", "set_redundant.py", "checks2svpn.sh", "setup/patch.sh")
"""What is in bin/ for people, and under names that operators know from the router which this one replaces."""
ROW = re.compile(r"^\| *(?!-)(.*?) *\| *(.*?) *\|$", re.MULTILINE)
UNIT = re.compile(r"[\w@.-]+\.(?:service|socket|path|timer)")
UNIT_ROW = re.compile(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\| (\w+) \|[^|]*\|$", re.MULTILINE)
NOT_BUILT = "## What is not built yet\n"
TARGET = re.compile(r"^([a-z][a-z -]*?)\s*:(?!=)", re.MULTILINE)


def documents() -> list[str]:
    """List the Markdown files of the project."""
    return [path for path in files() if path.endswith(".md")]


def slug(heading: str) -> str:
    """Turn a heading into its anchor, as GitHub does: lower case, no punctuation, blanks as dashes."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """List the anchors of one document; the second heading of the same name gets -1, the third -2."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        name = slug(heading)
        found.add(f"{name}-{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return found


def line_of(text: str, offset: int) -> int:
    """Turn an offset into a line number."""
    return text.count("\n", 0, offset) + 1


def check_links(path: str, text: str) -> Iterator[Problem]:
    """Find links to files or headings that do not exist; the web is not asked."""
    blanked = FENCE.sub(lambda block: "\n" * block.group().count("\n"), text)
    for match in LINK.finditer(blanked):
        target, _hash, anchor = (match.group(1) or match.group(2)).partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        file = (ROOT / path).parent / target if target else ROOT / path
        line = line_of(blanked, match.start())
        if not file.exists():
            yield Problem(path, line, f"link to {target}, which does not exist")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
            yield Problem(path, line, f"link to #{anchor}, which is no heading of {file.name}")


def make_targets(makefile: str) -> set[str]:
    """List the targets of a Makefile."""
    return {name for names in TARGET.findall(makefile) for name in names.split()}


def check_claims(path: str, text: str, targets: Set[str], commands: Set[str]) -> Iterator[Problem]:
    """Find `make` targets and commands of the router that a document names but nobody has."""
    for block in CODE.finditer(text):
        code = block.group(1) or block.group(2) or ""
        line = line_of(text, block.start())
        named = {name for names in MAKE.findall(code) for name in names.split()}
        for name in sorted(named - targets):
            yield Problem(path, line, f"make {name}: no such target")
        for name in sorted({f"{one or other}/{name}" for one, other, name in COMMAND.findall(code)} - commands):
            yield Problem(path, line, f"{name}: no such file")


def check_bin(contract: str, paths: Iterable[str]) -> Iterator[Problem]:
    """Find what is in bin/ and is neither a command of the contract nor one for people."""
    for path in paths:
        name = path.removeprefix("bin/")
        if name != path and name not in OURS and not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", contract):
            yield Problem(path, 0, "no command of docs/reference/contract.md: what units start is in libexec/")


def unbuilt() -> tuple[list[tuple[str, str]], Set[str]]:
    """Return the rows that the code's list of what is not built makes in README.md, and the commands among them."""
    find_collection()
    known = importlib.import_module(f"{PACKAGE}.plugins.module_utils._model.unbuilt")
    kinds = [("asked for by", "what follows"), *((item.kind, item.effect) for item in known.UNBUILT)]
    absent = [(f"`{name}`", use) for name, use in known.COMMANDS.items()]
    commands = [("command", "what it is for"), *absent] if absent else []
    return [*kinds, *commands], frozenset(known.COMMANDS)


def check_unbuilt(
    path: str, text: str, rows: Iterable[tuple[str, str]], absent: Set[str], commands: Set[str]
) -> Iterator[Problem]:
    """Find rows of the tables of what is not built that the code does not have, or the other way round."""
    before, _heading, section = text.partition(NOT_BUILT)
    line, wanted = line_of(before, len(before)), list(rows)
    shown = ROW.findall(section.partition("\n## ")[0])
    for row in (row for row in wanted if row not in shown):
        yield Problem(path, line, f"not built, and not in the table: {row[0]}: {row[1]}")
    for row in (row for row in shown if row not in wanted):
        yield Problem(path, line, f"in the table, and not in UNBUILT or COMMANDS: {row[0]}: {row[1]}")
    for name in sorted(absent & commands):
        yield Problem(path, line, f"{name} is in bin/, and in the list of commands that are not")


def units(paths: Iterable[str]) -> dict[str, str]:
    """Return the units that the roles install or add to, each with its role."""
    found = {}
    for path in map(PurePosixPath, paths):
        if len(path.parts) > 4 and path.parts[0] == "roles" and "systemd" in path.parts:
            name = path.parent.name.removesuffix(".d") if path.parent.name.endswith(".d") else path.name
            if UNIT.fullmatch(name):
                found[name] = path.parts[1]
    return found


def check_units(path: str, text: str, known: Mapping[str, str], there: Set[str]) -> Iterator[Problem]:
    """Compare the table of units with those of the roles; what it names of this repository has to be there."""
    rows = {row[1]: row for row in UNIT_ROW.finditer(text)}
    for name in sorted(known.keys() - rows.keys()):
        yield Problem(path, 0, f"{name} of the role {known[name]} has no row")
    for name, row in sorted(rows.items()):
        line = line_of(text, row.start())
        if known.get(name) != row[3]:
            yield Problem(path, line, f"{name}: no unit of the role {row[3]}")
        for file in re.findall("`([^`]+)`", row[2]):
            if not any(one == file or one.startswith(f"{file}/") for one in there):
                yield Problem(path, line, f"{name}: {file} is not there")


def problems() -> list[Problem]:
    """Check all documents."""
    targets = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    commands = {path for path in files() if path.startswith(("bin/", "libexec/"))}
    found = list(check_bin(Path(ROOT, CONTRACT).read_text(encoding="utf-8"), files()))
    for path in documents():
        text = Path(ROOT, path).read_text(encoding="utf-8")
        found += check_links(path, text)
        found += check_claims(path, text, targets, commands)
        if path == "README.md":
            found += check_unbuilt(path, text, *unbuilt(), {PurePosixPath(name).name for name in commands})
        if path == "docs/router.md":
            found += check_units(path, text, units(files()), set(files()))
    if "README.md" not in documents():
        found.append(Problem("README.md", 0, "missing"))
    return found


if __name__ == "__main__":
    FOUND = problems()
    print("\n".join(map(str, FOUND)) or f"{len(documents())} documents: links and commands exist")
    sys.exit(bool(FOUND))
