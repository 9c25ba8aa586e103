# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge the load balancer's configuration."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import whole
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import may, record
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.load_balancer import BALANCERS


def merge_load_balancer(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the configuration as a whole; a drop without rules says nothing."""
    if "rules" in body:
        workspace.edit("loadbalancer")["config"] = body["rules"]


adopt_load_balancer = whole(record({"config": may(BALANCERS)}))
