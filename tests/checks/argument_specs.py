# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare every role's defaults with its argument_specs: same names, same values, the role's prefix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import yaml

from tests.checks.tree import ROOT, Problem, files

NOTHING = object()


def role_names() -> list[str]:
    """List the roles of the collection."""
    return sorted({path.split("/")[1] for path in files() if path.startswith("roles/") and path.count("/") > 1})


def load(path: str) -> Any:
    """Read one YAML file; an absent or empty one is an empty mapping."""
    file = ROOT / path
    return (yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None) or {}


def check_option(path: str, name: str, option: dict[str, Any], default: Any) -> Iterator[Problem]:
    """Compare one documented option with the value of defaults/main.yml (NOTHING: it has none)."""
    if "type" not in option:
        yield Problem(path, 0, f"{name} has no type")
    if not option.get("description"):
        yield Problem(path, 0, f"{name} has no description")
    documented = option.get("default", NOTHING)
    if option.get("required") and default is not NOTHING:
        yield Problem(path, 0, f"{name} is required, yet defaults/main.yml gives it a value")
    elif default is NOTHING and documented is not NOTHING:
        yield Problem(path, 0, f"{name} documents a default that defaults/main.yml does not have")
    elif default is not NOTHING and documented is NOTHING and not option.get("required"):
        yield Problem(path, 0, f"{name} does not document its default {default!r}")
    elif documented is not NOTHING and documented != default:
        yield Problem(path, 0, f"{name} documents the default {documented!r}, defaults/main.yml has {default!r}")


def check_role(role: str, defaults: dict[str, Any], specs: dict[str, Any]) -> Iterator[Problem]:
    """Compare the defaults of one role with the options of all its entry points."""
    path = f"roles/{role}/meta/argument_specs.yml"
    if not specs:
        yield Problem(path, 0, "missing or empty")
        return
    documented: set[str] = set()
    for entry, spec in specs.items():
        if not spec.get("short_description"):
            yield Problem(path, 0, f"entry point {entry} has no short_description")
        for name, option in (spec.get("options") or {}).items():
            documented.add(name)
            yield from check_option(path, name, option, defaults.get(name, NOTHING))
    for name in sorted(defaults.keys() - documented):
        yield Problem(path, 0, f"{name} of defaults/main.yml is not documented")
    for name in sorted(defaults.keys() | documented):
        if not name.startswith(f"{role}_") and not name.startswith("vr_"):
            yield Problem(path, 0, f"{name} does not start with {role}_")


def check_shape(role: str, specs: dict[str, Any]) -> Iterator[Problem]:
    """Find roles that lack a part all roles have, or the tasks of an entry point they document."""
    for part in ("README.md", "defaults/main.yml", *(f"tasks/{entry}.yml" for entry in specs)):
        if not (ROOT / "roles" / role / part).is_file():
            yield Problem(f"roles/{role}/{part}", 0, "missing")


def problems() -> list[Problem]:
    """Check all roles."""
    found: list[Problem] = []
    for role in role_names():
        specs = load(f"roles/{role}/meta/argument_specs.yml").get("argument_specs") or {}
        found += check_shape(role, specs)
        found += check_role(role, load(f"roles/{role}/defaults/main.yml"), specs)
    return found


if __name__ == "__main__":
    FOUND = problems()
    print("\n".join(map(str, FOUND)) or f"{len(role_names())} roles: argument_specs and defaults agree")
    sys.exit(bool(FOUND))
