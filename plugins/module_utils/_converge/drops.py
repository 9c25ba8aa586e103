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
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import START, Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.start import Taken, take
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store

BOOT_DROP = "cmd_line.json"


@dataclass(frozen=True)
class Delivery:
    """The databags with the drops merged in, the names of the drops that were read, and of those taken along.

    `former` are databags of a life that ends here, because the management server starts the router. `left_out` are
    drops of this boot that came before its arguments, and do not fit what these say.
    """

    bags: dict[str, Bag]
    drops: tuple[str, ...]
    waiting: tuple[str, ...] = ()
    former: dict[str, Bag] | None = None
    left_out: tuple[str, ...] = ()


def expected_drops(store: Store, drops: Iterable[str]) -> list[str]:
    """Return the drops in merge order: boot arguments still lying in the inbox come first."""
    names = list(drops)
    lies_there = BOOT_DROP not in names and (store.paths.inbox / BOOT_DROP).is_file()
    return [BOOT_DROP, *names] if lies_there else names


def deliver(
    store: Store, bags: dict[str, Bag], drops: Iterable[str], aggregate: str | None, waiting: Iterable[str] = ()
) -> Delivery:
    """Return the databags with the drops merged into them, and after them those that can be taken along.

    A drop or aggregate may have been taken before, by a converge that was killed at its end: then it does nothing, and
    is no error. Raises DropError for the first wrong drop, and then none of them counts. A wrong one of `waiting` is
    skipped: its sender waits for a converge of its own, which refuses it.
    """
    names, boot = expected_drops(store, drops), store.boot()
    due = [name for name in names if not store.already_processed(name)]
    read = [parse_drop(name, store.read_drop(name)) for name in due]
    if aggregate is not None and not store.already_processed(os.path.basename(aggregate)):
        found = _take_aggregate(store, bags, read, aggregate)
    else:
        found = take(bags, read, boot)
    merged, taken = found.bags, []
    for name in waiting:
        try:
            more = take(merged, [parse_drop(name, store.read_drop(name))], boot)
        except DropError:
            continue
        if not more.started:  # boot arguments that end a life come in a converge of their own
            merged = more.bags
            taken.append(name)
    former = {name: bag for name, bag in bags.items() if name != START} if found.started else None
    return Delivery(merged, tuple(names), tuple(taken), former, found.left_out)


def _take_aggregate(store: Store, bags: dict[str, Bag], before: list[Drop], path: str) -> Taken:
    """Merge the drops of an aggregate, after those before it, in the order of its steps; an error names the step."""
    name = os.path.basename(path)
    found: dict[int, Drop] = {}
    try:
        for at, drop in _drops_of(name, parse_aggregate(name, store.read_drop(name))):
            found[at] = drop
        return take(bags, [*before, *found.values()], store.boot())
    except DropError as error:
        at = next((number for number, drop in found.items() if drop.name == error.file), 0)
        if not at:
            raise
        raise _at_step(name, at, error) from error


def _drops_of(name: str, steps: Iterable[FileStep | ScriptStep]) -> Iterator[tuple[int, Drop]]:
    """Yield the drops of an aggregate, each with the number of the step that takes it."""
    files: dict[str, bytes] = {}
    for at, step in enumerate(steps, start=1):
        if isinstance(step, FileStep):
            files[os.path.basename(step.path)] = step.content
        elif isinstance(step, ScriptStep) and os.path.basename(step.command) == "update_config.py":
            drop = step.args[0] if step.args else ""
            if drop not in files:
                raise DropError(name, f"step {at}", "a file that an earlier step delivers", drop)
            try:
                yield at, parse_drop(drop, files[drop])
            except DropError as error:
                raise _at_step(name, at, error) from error


def _at_step(name: str, at: int, error: DropError) -> DropError:
    return DropError(f"{name}: step {at}: {error.file}", error.path, error.expected, error.got)
