# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops into databags, without touching either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.drop_types import (
    BAGS,
    DROP_TYPES,
    START,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag, Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop

__all__ = ["BAGS", "START", "Bag", "merge", "merge_all"]


def merge(bags: Mapping[str, Bag], drop: Drop) -> dict[str, Bag]:
    """Return the databags as they are after one drop; the input is not touched.

    Databags that did not change are the same objects. DropError, when the drop does not fit this router.
    """
    return merge_all(bags, [drop])


def merge_all(bags: Mapping[str, Bag], drops: Iterable[Drop]) -> dict[str, Bag]:
    """Return the databags as they are after several drops, in order; each bag is copied at most once."""
    workspace = Workspace(bags)
    for drop in drops:
        DROP_TYPES[drop.type].merge(workspace, drop.body, drop.name)
    return workspace.result()
