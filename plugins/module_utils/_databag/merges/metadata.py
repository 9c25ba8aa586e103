# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge what VMs are served: metadata and passwords."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import under
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag, Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import metadata
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    MismatchError,
    list_of,
)


def forget_vms(workspace: Workspace, addresses: list[str]) -> None:
    """Remove metadata and password of addresses that no VM has any more: the next one must not read them."""
    for address in addresses:
        workspace.remove("vmdata", address)
        workspace.remove("vmpassword", address)


def merge_vm_data(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the metadata of an address; an empty list removes it."""
    address = body["vm_ip_address"]
    if body["vm_metadata"]:
        workspace.edit("vmdata")[address] = body["vm_metadata"]
    else:
        workspace.remove("vmdata", address)


def merge_vm_password(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Keep one password per VM."""
    workspace.edit("vmpassword")[body["ip_address"]] = body["password"]


def adopt_passwords(bag: Bag) -> Bag:
    """Check the passwords; a message shows none."""
    for address, text in bag.items():
        under(address, k.ip, address)
        try:
            under(address, k.text, text)
        except MismatchError as error:
            error.secret = True
            raise
    return bag


def adopt_metadata(bag: Bag) -> Bag:
    """Check the items of each VM; one that has none goes."""
    for address, items in bag.items():
        under(address, k.ip, address)
        under(address, list_of(metadata.metadata_item), items)
    return {address: items for address, items in bag.items() if items}
