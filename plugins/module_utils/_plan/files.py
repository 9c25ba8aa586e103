# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare wanted files, kernel settings and units with the live ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    Run,
    SetKnob,
    Step,
    Unit,
    Wanted,
    WriteFile,
)


@dataclass(frozen=True, slots=True)
class LiveFile:
    """Content and permission bits of a file; a missing one is not in the mapping at all."""

    content: str
    mode: int


@dataclass(frozen=True, slots=True)
class Live:
    """What the router has of a service: files and settings by path, and the active units."""

    files: Mapping[str, LiveFile]
    knobs: Mapping[str, str]
    active: frozenset[str]


def compare(wanted: Wanted, live: Live, at_least: Effect = Effect.NONE) -> list[Step]:
    """Return the steps from live to wanted; a unit is touched only when a file of it changed or its state is wrong.

    `at_least` is what files that it shares with others ask of it.
    """
    writes = [
        WriteFile(file, _content(live, file)) for file in wanted.files if _differs(file, live.files.get(file.path))
    ]
    knobs = [
        SetKnob(path, value, live.knobs[path])
        for path, value in wanted.knobs
        if path in live.knobs and not _same_value(live.knobs[path], value)
    ]
    effect = max((at_least, *(write.file.effect for write in writes)), key=lambda e: e.value)
    hidden = tuple(word for file in wanted.files for word in file.hidden)
    actions = [action for unit in wanted.units for action in _unit(unit, unit.name in live.active, effect, hidden)]
    return [*knobs, *writes, *actions]


def _content(live: Live, file: File) -> str | None:
    found = live.files.get(file.path)
    return None if found is None else found.content


def _differs(file: File, found: LiveFile | None) -> bool:
    return found is None or found.content != file.content or found.mode != file.mode


def _same_value(live: str, wanted: str) -> bool:
    """Compare two settings; CPU masks are hexadecimal with commas and leading zeros."""
    return live.replace(",", "").lstrip("0") == wanted.replace(",", "").lstrip("0")


def _unit(unit: Unit, active: bool, effect: Effect, hidden: tuple[str, ...]) -> list[Step]:
    if not unit.running:
        return [_systemctl("stop", unit)] if active else []
    if not active:
        return [_systemctl("start", unit)]
    if effect is Effect.RESTART:
        return [_systemctl("restart", unit)]
    if effect is Effect.RELOAD:
        return [Run(unit.reload, f"reload {unit.name}", hidden)] if unit.reload else [_systemctl("reload", unit)]
    return []


def _systemctl(verb: str, unit: Unit) -> Step:
    return Run(("systemctl", verb, f"{unit.name}.service"), f"{verb} {unit.name}")


def together(steps: Iterable[Step]) -> list[Step]:
    """Join what systemctl is asked for, so that units start at once, after all else; what must stop does so first."""
    others: list[Step] = []
    asked: dict[str, list[str]] = {"stop": []}
    for step in steps:
        if isinstance(step, Run) and step.argv[0] == "systemctl":
            asked.setdefault(step.argv[1], []).extend(step.argv[2:])
        else:
            others.append(step)
    calls = {verb: [Run(("systemctl", verb, *units), _say(verb, units))] for verb, units in asked.items() if units}
    return [*calls.pop("stop", ()), *others, *(call for found in calls.values() for call in found)]


def _say(verb: str, units: Iterable[str]) -> str:
    return f"{verb} " + ", ".join(unit.removesuffix(".service") for unit in units)
