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


def _kept_body(value: Any) -> Any:
    """Check the body of a drop that was written down like the drop itself."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in DROP_TYPES:
        raise MismatchError("the body of a drop", value)
    return DROP_TYPES[kind].schema(value)


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
        "drops": may(list_of(record({"name": need(k.safe_name), "body": need(_kept_body)}))),
        "away": may(_AWAY),
    }
)

_ADOPT = {drop.bag: drop.adopt for drop in DROP_TYPES.values() if drop.adopt} | {START: whole(_START)}


def adopt(name: str, bag: dict[str, Any]) -> Bag:
    """Return a stored databag in clean shape; MismatchError with its path when it holds what no drop may.

    What a merge has made comes back as it is. The bag given is used up.
    """
    return {**_ADOPT[name]({key: value for key, value in bag.items() if key != "id"}), "id": name}
