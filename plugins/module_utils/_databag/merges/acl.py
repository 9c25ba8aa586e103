# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge ACLs: one for each NIC of a tier or private gateway."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.acl import STORED_ACL


def move_acl(workspace: Workspace, device: str, mac: str | None) -> None:
    """File the ACL of a NIC under its device: left behind, the next tier there would overwrite it."""
    for filed, acl in records(workspace.read("networkacl")):
        if filed != device and mac and acl.get("mac_address") == mac:
            workspace.remove("networkacl", filed)
            workspace.edit("networkacl")[device] = {**acl, "device": device}


def merge_network_acl(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the ACL of a device as a whole; a NIC that has changed its device has one ACL all the same."""
    mac = body.get("mac_address")
    for filed, acl in records(workspace.read("networkacl")):
        if filed != body["device"] and mac and acl.get("mac_address") == mac:
            workspace.remove("networkacl", filed)
    workspace.edit("networkacl")[body["device"]] = body


def forget_acl(workspace: Workspace, device: str, mac: str | None) -> None:
    """Remove the ACL of a NIC: the one with its MAC, or the one of its device that names no other MAC."""
    for filed, acl in records(workspace.read("networkacl")):
        theirs = acl.get("mac_address")
        if (mac and theirs == mac) or (filed == device and not (mac and theirs)):
            workspace.remove("networkacl", filed)


adopt_acls = keyed(STORED_ACL, lambda _acl: True, lambda acl: str(acl["device"]))
