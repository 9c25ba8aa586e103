# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge BGP peers."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.bgp import STORED_PEER


def merge_bgp_peers(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace all peers; those without an id are no peers yet."""
    bag = workspace.edit("bgppeers")
    for key, _peer in records(bag):
        del bag[key]
    for peer in body["peers"]:
        if "peer_id" in peer:
            bag[f"{peer['peer_id']}-{peer['network_id']}"] = peer


adopt_peers = keyed(STORED_PEER, lambda peer: "peer_id" in peer, lambda p: f"{p['peer_id']}-{p['network_id']}")
