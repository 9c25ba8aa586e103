# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check the rules of the house that no ready-made linter knows.

Functions under 40 lines, files under 400, the licence header, absolute imports, a docstring that starts with
a sentence, and packages that stay pure: no Ansible, no process, no file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.checks.tree import PACKAGE, ROOT, Problem, files, python_files, shell_files

FILE_LINES = 400
FUNCTION_LINES = 40
LICENCE = "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)"
UTILS = "plugins/module_utils/"
PURE = tuple(f"{UTILS}{package}/" for package in ("_databag", "_kvm", "_model", "_plan"))
# The store is the one part of _databag that touches the disk.
ON_DISK = ("store", "journal", "lock", "disk", "archive", "paths", "this_boot")
DISK = frozenset(f"{UTILS}_databag/{name}.py" for name in ON_DISK)
IMPURE_MODULES = frozenset(
    {"ansible", "fcntl", "glob", "io", "os", "shutil", "socket", "subprocess", "tempfile", "urllib"}
)
IMPURE_CALLS = frozenset({"open", "read_bytes", "read_text", "write_bytes", "write_text", "unlink", "mkdir"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_length(path: str, text: str) -> Iterator[Problem]:
    """Find a file that has grown beyond one idea."""
    lines = text.count("\n")
    if lines >= FILE_LINES:
        yield Problem(path, 0, f"{lines} lines, a file stays under {FILE_LINES}")


def check_functions(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Find functions that are too long; decorators and docstring count."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines >= FUNCTION_LINES:
                yield Problem(path, node.lineno, f"{node.name}() has {lines} lines, under {FUNCTION_LINES} is wanted")


def check_header(path: str, text: str) -> Iterator[Problem]:
    """Find Python files without licence in their first lines."""
    if LICENCE not in "\n".join(text.splitlines()[:6]):
        yield Problem(path, 1, "licence header is missing")


def check_docstrings(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Find docstrings whose first line is no sentence."""
    for node in ast.walk(tree):
        if not isinstance(node, Function | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring and not docstring.splitlines()[0].rstrip().endswith((".", ":", "?")):
            yield Problem(path, node.lineno, f"the first line of {node.name}'s docstring is no sentence")


def imports(tree: ast.Module) -> Iterator[tuple[int, str, int]]:
    """Yield the line, the module and the level (0: absolute) of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level


def check_imports(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Find relative imports: AnsiballZ, which packs a module for its router, wants absolute ones here."""
    for line, module, level in imports(tree):
        if level:
            yield Problem(path, line, f"import {'.' * level}{module} by its absolute name")


def check_purity(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Find what a pure package must not do: import Ansible or _apply, start processes, touch files."""
    for line, module, _level in imports(tree):
        if module.split(".")[0] in IMPURE_MODULES or module.startswith(f"{PACKAGE}.plugins.module_utils._apply"):
            yield Problem(path, line, f"a pure package does not import {module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if name in IMPURE_CALLS:
                yield Problem(path, node.lineno, f"a pure package does not call {name}()")


def check_python(path: str, text: str) -> Iterator[Problem]:
    """Apply every rule for Python to one file."""
    if not text.strip():
        return
    try:
        tree = ast.parse(text, filename=path)
    except SyntaxError as error:
        yield Problem(path, error.lineno or 0, f"Python does not understand it: {error.msg}")
        return
    yield from check_header(path, text)
    yield from check_functions(path, tree)
    yield from check_docstrings(path, tree)
    if path.startswith("plugins/"):
        yield from check_imports(path, tree)
    if path.startswith(PURE) and path not in DISK:
        yield from check_purity(path, tree)


def problems() -> list[Problem]:
    """Check the whole project."""
    found: list[Problem] = []
    for path in sorted({*python_files(), *shell_files(), *(name for name in files() if name.endswith(".j2"))}):
        text = (ROOT / path).read_text(encoding="utf-8")
        found += check_length(path, text)
        if path in python_files():
            found += check_python(path, text)
    return found


if __name__ == "__main__":
    FOUND = problems()
    print("\n".join(map(str, FOUND)) or f"{len(python_files())} Python files keep the rules")
    sys.exit(bool(FOUND))
