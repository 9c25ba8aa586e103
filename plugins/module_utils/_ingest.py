# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take drops in: read, check and merge them, in the order given. Nothing on the router changes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import (
    FileStep,
    ScriptStep,
    parse_aggregate,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop
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

    A drop or aggregate that was taken before, by a converge that was killed at its end, is no error and does nothing.
    Raises DropError for the first drop that is wrong, and then none of them counts. One of `along` that is wrong is
    left where it is: it is refused in a converge of its own, which its sender waits for.
    """
    names = expected_drops(store, drops)
    due = [name for name in names if not store.already_processed(name)]
    bags = merge_all(bags, (parse_drop(name, store.read_drop(name)) for name in due))
    if aggregate is not None and not store.already_processed(os.path.basename(aggregate)):
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
    name, at = os.path.basename(path), 0
    steps = parse_aggregate(name, store.read_drop(name))

    def drops() -> Iterator[Drop]:
        nonlocal at
        files: dict[str, bytes] = {}
        for at, step in enumerate(steps, start=1):
            if isinstance(step, FileStep):
                files[os.path.basename(step.path)] = step.content
            elif isinstance(step, ScriptStep) and os.path.basename(step.command) == "update_config.py":
                drop = step.args[0] if step.args else ""
                if drop not in files:
                    raise DropError(name, f"step {at}", "a file that an earlier step delivers", drop)
                yield parse_drop(drop, files[drop])

    try:
        return merge_all(bags, drops())
    except DropError as error:
        if error.file == name:
            raise
        raise DropError(f"{name}: step {at}: {error.file}", error.path, error.expected, error.got) from error
