# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge firewall rules."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.firewall import (
    STORED_RULE4,
    STORED_RULE6,
)


def merge_rules(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove rules of IPv4."""
    _merge("firewallrules", workspace, body)


def merge_ipv6_rules(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove rules of IPv6."""
    _merge("ipv6firewallrules", workspace, body)


def _merge(bag_name: str, workspace: Workspace, body: dict[str, Any]) -> None:
    """Store rules under their id, the newer over the older; only ``revoked`` removes one."""
    bag = workspace.edit(bag_name)
    for rule in body["rules"]:
        key = str(rule["id"])
        if rule["revoked"]:
            bag.pop(key, None)
        else:
            bag[key] = rule


adopt_rules = keyed(STORED_RULE4, lambda rule: not rule["revoked"], lambda rule: str(rule["id"]))
adopt_ipv6_rules = keyed(STORED_RULE6, lambda rule: not rule["revoked"], lambda rule: str(rule["id"]))
