# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about VPN: remote access, its users, and site to site."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.vpn import (
    REMOTE_ACCESS,
    STORED_SITE_TO_SITE,
    VPN_USER,
)


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
    """Store or remove the connection to a peer; removing an unknown one does nothing.

    The server saves a changed gateway address first, so its removal names the new peer and the old one stays. Remote
    networks of two peers never overlap there: an entry with a network of the new one's is the old address of it.
    """
    peer = body["peer_gateway_ip"]
    for other, record in records(workspace.read("site2sitevpn")) if body["create"] else ():
        if other != peer and _overlap(record["peer_guest_cidr_list"], body["peer_guest_cidr_list"]):
            workspace.remove("site2sitevpn", other)
    _create_or_remove(workspace, "site2sitevpn", peer, body)


def _overlap(some: str, others: str) -> bool:
    """Tell whether two comma lists of networks, which are valid, have an address in common."""
    first, second = ([ip_network(cidr, strict=False) for cidr in given.split(",")] for given in (some, others))
    return any(one.version == other.version and one.overlaps(other) for one in first for other in second)


def _create_or_remove(workspace: Workspace, bag: str, key: str, body: dict[str, Any]) -> None:
    if body["create"]:
        workspace.edit(bag)[key] = body
    else:
        workspace.remove(bag, key)


def _created(value: dict[str, Any]) -> bool:
    return bool(value["create"])


adopt_remote_access = keyed(REMOTE_ACCESS, _created, lambda vpn: str(vpn["vpn_server_ip"]))
adopt_site_to_site = keyed(STORED_SITE_TO_SITE, _created, lambda vpn: str(vpn["peer_gateway_ip"]))
adopt_users = keyed(VPN_USER, lambda user: bool(user["add"]), lambda user: str(user["user"]))
