# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give merges a view of the databags in which only what they change is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Bag = dict[str, Any]
T = TypeVar("T")


class Workspace:
    """Lay copies of changed databags over the ones given.

    A copy is one level deep: a merge replaces records and lists, it never changes one in place. So a drop
    that touches one of 10,000 rules copies a table of references and not the rules.
    """

    def __init__(self, bags: Mapping[str, Bag]) -> None:
        self._given = bags
        self._edited: dict[str, Bag] = {}
        self._indexes: dict[str, Any] = {}

    def read(self, name: str) -> Bag:
        """Return a databag to look at, an empty one if there is none."""
        return self._edited.get(name) or self._given.get(name) or {"id": name}

    def edit(self, name: str) -> Bag:
        """Return the copy of a databag that this workspace may change."""
        if name not in self._edited:
            self._edited[name] = {**self._given.get(name, {}), "id": name}
        return self._edited[name]

    def remove(self, name: str, key: str) -> None:
        """Take a key out of a databag, which may not have it."""
        if key in self.read(name):
            del self.edit(name)[key]

    def index(self, name: str, build: Callable[[Bag], T]) -> T:
        """Return what ``build`` made of a databag the first time; the merge that owns it keeps it true.

        Without it, each of 2,000 DHCP drops of one run would search all entries for its MAC (A1, A3).
        """
        if name not in self._indexes:
            self._indexes[name] = build(self.read(name))
        found: T = self._indexes[name]
        return found

    def result(self) -> dict[str, Bag]:
        """Return all databags; those that came out equal are the very objects that were given."""
        changed = {name: bag for name, bag in self._edited.items() if bag != self._given.get(name, {"id": name})}
        return {**self._given, **changed}


def records(bag: Bag) -> list[tuple[str, Any]]:
    """Return the content of a databag without its ``id``, as a list that survives changes to the bag."""
    return [(key, value) for key, value in bag.items() if key != "id"]
