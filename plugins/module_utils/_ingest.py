# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take drops in: read, check and merge them, in the order given. Nothing on the router changes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import (
    FileStep,
    ScriptStep,
    parse_aggregate,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store

BOOT_DROP = "cmd_line.json"


@dataclass(frozen=True)
class Delivery:
    """The databags with the drops merged in, the names of the drops that were read, and of those taken along."""

    bags: dict[str, Bag]
    drops: tuple[str, ...]
    along: tuple[str, ...] = ()


def expected_drops(store: Store, drops: Iterable[str]) -> list[str]:
    """Return the drops in merge order: boot arguments still lying in the inbox come first."""
    names = list(drops)
    waiting = BOOT_DROP not in names and (store.paths.inbox / BOOT_DROP).is_file()
    return [BOOT_DROP, *names] if waiting else names


def deliver(
    store: Store, bags: dict[str, Bag], drops: Iterable[str], aggregate: str | None, along: Iterable[str] = ()
) -> Delivery:
    """Return the databags with the drops merged into them, and after them those that can be taken along.

    Raises DropError for the first drop that is wrong, and then none of them counts. One of `along` that is wrong is
    left where it is: it is refused in a converge of its own, which its sender waits for.
    """
    names = expected_drops(store, drops)
    for name in names:
        bags = merge(bags, parse_drop(name, store.read_drop(name)))
    if aggregate is not None:
        bags = _merge_aggregate(store, bags, aggregate)
    taken = []
    for name in along:
        try:
            bags = merge(bags, parse_drop(name, store.read_drop(name)))
        except DropError:
            continue
        taken.append(name)
    return Delivery(bags, tuple(names), tuple(taken))


def _merge_aggregate(store: Store, bags: dict[str, Bag], path: str) -> dict[str, Bag]:
    """Merge the drops of an aggregate in the order its steps name them; an error names the step."""
    name = os.path.basename(path)
    files: dict[str, bytes] = {}
    for number, step in enumerate(parse_aggregate(name, store.read_drop(name)), start=1):
        if isinstance(step, FileStep):
            files[os.path.basename(step.path)] = step.content
        elif isinstance(step, ScriptStep) and os.path.basename(step.command) == "update_config.py":
            drop = step.args[0] if step.args else ""
            bags = _merge_step(bags, name, number, drop, files)
    return bags


def _merge_step(
    bags: dict[str, Bag], aggregate: str, number: int, drop: str, files: dict[str, bytes]
) -> dict[str, Bag]:
    if drop not in files:
        raise DropError(aggregate, f"step {number}", "a file that an earlier step delivers", drop)
    try:
        return merge(bags, parse_drop(drop, files[drop]))
    except DropError as error:
        raise DropError(f"{aggregate}: step {number}: {error.file}", error.path, error.expected, error.got) from error
