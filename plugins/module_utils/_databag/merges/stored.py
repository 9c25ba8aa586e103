# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clean the databags on disk, our own and those that the original left.

The original keeps revoked rules, addresses with ``add: false`` and empty lists, and stores what it never checked
(N3, N7). So what comes from disk is checked like a drop, and leftovers go. Each type of drop has a function for it,
made of the parts here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Kind,
    MismatchError,
)

Keep = Callable[[dict[str, Any]], bool]


def under(key: str, kind: Kind, value: Any) -> Any:
    """Check what is stored under a key, which a mismatch names."""
    try:
        return kind(value)
    except MismatchError as error:
        raise error.under(ascii(key)[1:-1]) from None


def keyed(kind: Kind, keep: Keep, key_of: Callable[[dict[str, Any]], str]) -> Callable[[Bag], Bag]:
    """Make what adopts a table of records: checked, without leftovers, under the key that ours have."""

    def take(bag: Bag) -> Bag:
        checked = [under(key, kind, value) for key, value in bag.items()]
        return {key_of(value): value for value in checked if keep(value)}

    return take


def whole(kind: Kind) -> Callable[[Bag], Bag]:
    """Make what adopts a databag that is one record."""

    def take(bag: Bag) -> Bag:
        checked: Bag = kind(bag)
        return checked

    return take
