# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the documentation of every plugin and role through ansible-doc, and look for what it leaves out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.checks.argument_specs import role_names
from tests.checks.tree import COLLECTION, ROOT, Problem, files, link_collection

# Directory under plugins/ → the type as ansible-doc calls it. Action plugins are documented by their module.
KINDS = {
    "modules": "module",
    "filter": "filter",
    "test": "test",
    "lookup": "lookup",
    "connection": "connection",
}


def plugin_names(directory: str) -> list[str]:
    """List the plugins below plugins/<directory>."""
    parent = f"plugins/{directory}"
    paths = (Path(path) for path in files())
    return sorted(
        {
            path.stem
            for path in paths
            if str(path.parent) == parent and path.suffix in {".py", ".yml"} and path.stem[0] != "_"
        }
    )


def ansible_doc(kind: str, names: list[str]) -> dict[str, Any]:
    """Ask ansible-doc for the documentation of `names` as data."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(link_collection()),
        "ANSIBLE_DEVEL_WARNING": "false",
    }
    qualified = [f"{COLLECTION}.{name}" for name in names]
    program = str(Path(sys.executable).with_name("ansible-doc"))
    done = subprocess.run(
        [program, "--type", kind, "--json", *qualified],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"ansible-doc --type {kind}: {done.stderr.strip()}")
    documented: dict[str, Any] = json.loads(done.stdout)
    return documented


def undescribed(options: dict[str, Any], where: str) -> Iterator[str]:
    """Yield the options or return values, at any depth, that lack a description or a type."""
    for name, option in options.items():
        place = f"{where}{name}"
        if not option.get("description"):
            yield f"{place} has no description"
        if not option.get("type"):
            yield f"{place} has no type"
        yield from undescribed(option.get("suboptions") or option.get("contains") or {}, f"{place}.")


def check_module(path: str, entry: dict[str, Any]) -> Iterator[Problem]:
    """Check what a reader of a module expects: attributes, options, examples, typed return values."""
    doc = entry.get("doc") or {}
    attributes = doc.get("attributes") or {}
    for attribute in ("check_mode", "diff_mode"):
        if attribute not in attributes:
            yield Problem(path, 0, f"attribute {attribute} is not documented")
    for text in (
        *undescribed(doc.get("options") or {}, "option "),
        *undescribed(entry.get("return") or {}, "return "),
    ):
        yield Problem(path, 0, text)
    if not entry.get("return"):
        yield Problem(path, 0, "RETURN is empty")
    tasks = yaml.safe_load(entry.get("examples") or "")
    if not tasks or not all(isinstance(task, dict) and task.get("name") for task in tasks):
        yield Problem(path, 0, "EXAMPLES is no list of named tasks")


def check_pairs() -> Iterator[Problem]:
    """Find modules without an action plugin, which may be a link to that of another one, and the reverse."""
    modules, actions = set(plugin_names("modules")), set(plugin_names("action"))
    for name in sorted(modules - actions):
        yield Problem(f"plugins/modules/{name}.py", 0, "has no action plugin of the same name")
    for name in sorted(actions - modules):
        yield Problem(f"plugins/action/{name}.py", 0, "has no module of the same name")


def problems() -> list[Problem]:
    """Check all plugins and roles."""
    found = list(check_pairs())
    for directory, kind in KINDS.items():
        names = plugin_names(directory)
        documented = ansible_doc(kind, names) if names else {}
        for name in names:
            path = f"plugins/{directory}/{name}.py"
            entry = documented.get(f"{COLLECTION}.{name}")
            if not entry or not (entry.get("doc") or {}).get("short_description"):
                found.append(Problem(path, 0, "ansible-doc finds no documentation"))
            elif kind == "module":
                found += check_module(path, entry)
    roles = role_names()
    documented = ansible_doc("role", roles) if roles else {}
    found += [
        Problem(f"roles/{role}", 0, "ansible-doc finds no entry point")
        for role in roles
        if not documented.get(f"{COLLECTION}.{role}", {}).get("entry_points")
    ]
    return found


if __name__ == "__main__":
    FOUND = problems()
    counted = sum(len(plugin_names(directory)) for directory in KINDS)
    print("\n".join(map(str, FOUND)) or f"{counted} plugins and {len(role_names())} roles: {ROOT.name} reads well")
    sys.exit(bool(FOUND))
