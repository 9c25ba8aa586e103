# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Forget what a public address was used for when it goes: it may come back for another purpose, or another user.

The server need not have revoked it before (apache/cloudstack#3862, #6189). What comes before its address waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)

_LISTENERS = ("add_rules", "stat_rules")


def forget(workspace: Workspace, addresses: Iterable[str]) -> None:
    """Remove forwards, static NAT, firewall rules, listeners and VPNs of addresses that the router no longer has."""
    gone = frozenset(addresses)
    if not gone:
        return
    for address in gone:
        workspace.remove("forwardingrules", address)
        workspace.remove("remoteaccessvpn", address)
    for bag, field in (("firewallrules", "src_ip"), ("site2sitevpn", "local_public_ip")):
        for key, record in records(workspace.read(bag)):
            if record.get(field) in gone:
                workspace.remove(bag, key)
    _close(workspace, gone)


def _close(workspace: Workspace, gone: frozenset[str]) -> None:
    """Take the listeners out of what is opened: the configuration that names them is one text, and comes as a whole."""
    given = workspace.read("loadbalancer").get("config") or []
    closed = [_without(balancer, gone) for balancer in given]
    if closed != given:
        workspace.edit("loadbalancer")["config"] = closed


def _without(balancer: dict[str, Any], gone: frozenset[str]) -> dict[str, Any]:
    left = {
        field: [rule for rule in balancer[field] if rule.partition(":")[0] not in gone]
        for field in _LISTENERS
        if field in balancer
    }
    return {**balancer, **left}
