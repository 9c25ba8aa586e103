# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge what is to be watched."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import whole
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.monitoring import (
    MONITOR_FIELDS,
    MONITOR_SERVICE,
)


def merge_monitor_service(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Copy what the drop has over what is known: periodic refreshes come without ``config``."""
    bag = workspace.edit("monitorservice")
    bag.update({name: body[name] for name in MONITOR_FIELDS if name in body})


adopt_monitor_service = whole(MONITOR_SERVICE)
