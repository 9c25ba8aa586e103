# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about services: load balancer, VPN, static routes, monitoring, BGP."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.services import (
    MONITOR_FIELDS,
)


def merge_load_balancer(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the configuration as a whole; a drop without rules says nothing."""
    if "rules" in body:
        workspace.edit("loadbalancer")["config"] = body["rules"]


def merge_vpn_users(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove users, in the order of the list; a new password takes effect."""
    for user in body["vpn_users"]:
        if user["add"]:
            workspace.edit("vpnuserlist")[user["user"]] = user
        else:
            workspace.remove("vpnuserlist", user["user"])


def merge_remote_access(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove the remote access VPN of a public address."""
    _create_or_remove(workspace, "remoteaccessvpn", body["vpn_server_ip"], body)


def merge_site_to_site(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove the connection to a peer; removing an unknown one does nothing."""
    _create_or_remove(workspace, "site2sitevpn", body["peer_gateway_ip"], body)


def _create_or_remove(workspace: Workspace, bag: str, key: str, body: dict[str, Any]) -> None:
    if body["create"]:
        workspace.edit(bag)[key] = body
    else:
        workspace.remove(bag, key)


def merge_static_routes(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the routes: the drop has all of them, and one that is revoked or missing is gone (E7)."""
    bag = workspace.edit("staticroutes")
    for network, _route in records(bag):
        del bag[network]
    for route in body["routes"]:
        if route["revoke"]:
            bag.pop(route["network"], None)
        else:
            bag[route["network"]] = route


def merge_monitor_service(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Copy what the drop has over what is known: periodic refreshes come without ``config``."""
    bag = workspace.edit("monitorservice")
    bag.update({name: body[name] for name in MONITOR_FIELDS if name in body})


def merge_bgp_peers(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace all peers; those without an id are no peers yet."""
    bag = workspace.edit("bgppeers")
    for key, _peer in records(bag):
        del bag[key]
    for peer in body["peers"]:
        if "peer_id" in peer:
            bag[f"{peer['peer_id']}-{peer['network_id']}"] = peer
