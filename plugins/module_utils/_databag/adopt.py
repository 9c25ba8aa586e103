# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Adopt the databags on disk, our own and those that the original left, as the same clean shape (N3, N7)."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.drop_types import DROP_TYPES, START
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import whole
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    MismatchError,
    list_of,
    map_of,
    may,
    need,
    record,
)

_DROPS = list_of(record({"name": need(k.safe_name), "body": need(record({}))}))


def _kept_drops(value: Any) -> Any:
    """Check drops that were written down; one whose body does not fit goes, as another release may accept more."""
    return [drop for drop in _DROPS(value) if _fits(drop["body"])]


def _fits(body: dict[str, Any]) -> bool:
    kind = DROP_TYPES.get(str(body.get("type")))
    try:
        return kind is not None and bool(kind.schema(body))
    except MismatchError:
        return False


_AWAY = record(
    {
        "vms": need(map_of(k.ip, record({"mac": need(k.mac), "name": may(k.host_name)}))),
        "tiers": need(list_of(k.cidr4)),
    }
)
_START = record(
    {
        "boot": may(k.text),
        "by": may(k.one_of("server", "open", "own")),
        "mark": may(k.text),
        "drops": may(_kept_drops),
        "away": may(_AWAY),
    }
)

_ADOPT = {drop.bag: drop.adopt for drop in DROP_TYPES.values() if drop.adopt} | {START: whole(_START)}


def adopt(name: str, bag: dict[str, Any]) -> Bag:
    """Return a stored databag in clean shape; MismatchError with its path when it holds what no drop may.

    What a merge has made comes back as it is. The bag given is used up.
    """
    return {**_ADOPT[name]({key: value for key, value in bag.items() if key != "id"}), "id": name}
