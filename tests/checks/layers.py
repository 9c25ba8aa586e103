# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that no import runs from a lower layer to a higher one, and that no module leads back to itself.

Imports inside of functions count, too: they are there to save time, not to close a circle. What is imported for
annotations alone may come from beside, but not from above.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import PurePosixPath

from tests.checks.tree import PACKAGE, ROOT, Problem, python_files

PROGRAMS = ("lib", "libexec", "bin")
PLUGINS = ("_kvm", "_databag", "_model", "_plan", "_apply", "_converge", "plugin_utils", "modules", "action", "filter")
LAYERS = (*PLUGINS, *PROGRAMS)
"""The packages of plugins/, and what runs without Ansible, the lowest first: each imports those before it."""
Graph = dict[str, dict[str, int]]
"""Module to the modules that it imports, each with the line of the import."""


def module_of(path: str) -> str:
    """Return the name of a module: its path, with dots."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """Return the layer of a module, nothing for any other of plugins/."""
    first, *rest = module.split(".")
    return first if first in PROGRAMS else next((part for part in rest[:2] if part in LAYERS), "")


def graph(texts: Mapping[str, str], *, types: bool = True) -> Graph:
    """Return who imports whom, of the files given by path; without `types`, what is imported for annotations only."""
    known = {module_of(path) for path in texts}
    found: Graph = {}
    for path, text in texts.items():
        edges = found.setdefault(module_of(path), {})
        tree = ast.parse(text, filename=path)
        for line, target in _targets(tree if types else Running().visit(tree), known):
            if target != module_of(path):
                edges.setdefault(target, line)
    return found


class Running(ast.NodeTransformer):
    """Take out of a tree what a type checker alone reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Drop `if TYPE_CHECKING:`."""
        test = node.test
        return None if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING" else self.generic_visit(node)


def _targets(tree: ast.Module, known: Set[str]) -> Iterator[tuple[int, str]]:
    """Yield which of the known modules are imported: `from a import b` means `a.b` where that is a module, else `a`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [[alias.name] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [[f"{node.module}.{alias.name}", node.module] for alias in node.names]
        else:
            continue
        for choice in names:
            if target := next((found for name in choice for found in _places(name) if found in known), None):
                yield node.lineno, target


def _places(name: str) -> tuple[str, str, str, str]:
    """Return as what an imported name may be known: below plugins/, in lib/, or as a program."""
    return name.replace(f"{PACKAGE}.", "", 1), f"lib.{name}", f"libexec.{name}", f"bin.{name}"


def check_layers(found: Graph, paths: Mapping[str, str]) -> Iterator[Problem]:
    """Find imports from a lower layer to a higher one."""
    for module, edges in found.items():
        own = layer_of(module)
        for target, line in edges.items():
            other = layer_of(target)
            if own and other and LAYERS.index(other) > LAYERS.index(own):
                yield Problem(paths[module], line, f"{own} is below {other}, and imports {target}")


def check_circles(found: Graph, paths: Mapping[str, str]) -> Iterator[Problem]:
    """Find modules that lead back to themselves; each circle is told once, from its first module."""
    for start in sorted(found):
        way = _way_back(found, start)
        if way and start == min(way):
            yield Problem(paths[start], found[start][way[1]], f"a circle: {' → '.join([*way, start])}")


def _way_back(found: Graph, start: str) -> list[str]:
    """Return the modules on the shortest way from one to itself, nothing when there is none."""
    ways, seen = [[start]], {start}
    while ways:
        longer: list[list[str]] = []
        for way in ways:
            for target in found.get(way[-1], {}):
                if target == start:
                    return way
                if target not in seen:
                    seen.add(target)
                    longer.append([*way, target])
        ways = longer
    return []


def check(texts: Mapping[str, str]) -> list[Problem]:
    """Check files, given by path."""
    paths = {module_of(path): path for path in texts}
    return [*check_layers(graph(texts), paths), *check_circles(graph(texts, types=False), paths)]


def sources(paths: Iterable[str]) -> dict[str, str]:
    """Return the content of the files that this check is about."""
    wanted = (path for path in paths if path.startswith(("plugins/", *(f"{name}/" for name in PROGRAMS))))
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in wanted}


if __name__ == "__main__":
    TEXTS = sources(python_files())
    FOUND = check(TEXTS)
    print("\n".join(map(str, FOUND)) or f"{len(TEXTS)} modules: every import leads downwards")
    sys.exit(bool(FOUND))
