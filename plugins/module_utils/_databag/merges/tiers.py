# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about the tiers of a VPC: guest networks and their ACLs."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import addresses, machines
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
    records,
)

Tier = dict[str, Any]

DEFAULT_MTU = 1500


def same_tier(one: Tier, other: Tier) -> bool:
    """Tell whether two drops are about one tier: one NIC by its MAC, or one network."""
    return any(field in one and one[field] == other.get(field) for field in ("mac_address", "network_id"))


def merge_guest_network(workspace: Workspace, body: Tier, _file: str) -> None:
    """Put the tier on its device, or take it away with its address, its ACL and its VMs.

    One device carries one tier. A tier that comes back on another device has moved; one whose device is given
    to another tier is gone, as one NIC cannot be in two networks.
    """
    device = body["device"]
    for filed, known in records(workspace.read("guestnetwork")):
        for tier in known:
            if same_tier(tier, body):
                _remove(workspace, filed, tier, for_good=not body["add"])
            elif filed == device and body["add"]:
                _remove(workspace, filed, tier, for_good=True)
    if not body["add"]:
        return
    workspace.edit("guestnetwork")[device] = [body]
    addresses.put(workspace, addresses.complete(_address_of(body), device))
    _move_acl(workspace, device, body.get("mac_address"))


def _remove(workspace: Workspace, device: str, tier: Tier, *, for_good: bool) -> None:
    """Take a tier off its device; one that is gone for good takes its ACL and its VMs with it."""
    workspace.remove("guestnetwork", device)
    if for_good:
        addresses.forget_acl(workspace, device, tier.get("mac_address"))
    if _succeeded(workspace, tier):
        return
    addresses.take(workspace, tier["router_guest_ip"])
    if not for_good:
        return
    networks = [f"{tier['router_guest_ip']}/{tier['router_guest_netmask']}"]
    networks += [tier["router_guest_ip6_cidr"]] if tier.get("router_guest_ip6_cidr") else []
    machines.forget_network(workspace, *networks)


def _succeeded(workspace: Workspace, gone: Tier) -> bool:
    """Tell whether another tier has the address by now: the removal came late, and the VMs there are the other's."""
    others = (tier for _device, known in records(workspace.read("guestnetwork")) for tier in known)
    return any(tier["router_guest_ip"] == gone["router_guest_ip"] for tier in others)


def _move_acl(workspace: Workspace, device: str, mac: str | None) -> None:
    """File the ACL of a NIC under its device: left behind, the next tier there would overwrite it."""
    for filed, acl in records(workspace.read("networkacl")):
        if filed != device and mac and acl.get("mac_address") == mac:
            workspace.remove("networkacl", filed)
            workspace.edit("networkacl")[device] = {**acl, "device": device}


def _address_of(tier: Tier) -> dict[str, Any]:
    """Make the drop record of the router's address in a tier; without an MTU it is 1500."""
    record = {
        "public_ip": tier["router_guest_ip"],
        "netmask": tier["router_guest_netmask"],
        "gateway": tier.get("router_guest_gateway", ""),
        "add": True,
        "source_nat": False,
        "one_to_one_nat": False,
        "nic_dev_id": tier["device"].removeprefix("eth"),
        "nw_type": "guest",
        "mtu": tier.get("mtu", DEFAULT_MTU),
    }
    if "mac_address" in tier:
        record["vif_mac_address"] = tier["mac_address"]
    return record


def merge_network_acl(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Replace the ACL of a device as a whole; a NIC that has changed its device has one ACL all the same."""
    mac = body.get("mac_address")
    for filed, acl in records(workspace.read("networkacl")):
        if filed != body["device"] and mac and acl.get("mac_address") == mac:
            workspace.remove("networkacl", filed)
    workspace.edit("networkacl")[body["device"]] = body
