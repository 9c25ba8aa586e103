# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about DHCP: entries of VMs, and ranges."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.metadata import forget_vms
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.segments import (
    addresses_of,
    same_network,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed, whole
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Bag,
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import may
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import record as checked
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.dhcp import RANGES, STORED_ENTRY

Entry = dict[str, Any]


class EntryIndex:
    """Find DHCP entries by MAC, and by host name within one network (its gateway)."""

    def __init__(self, bag: Bag) -> None:
        self.by_mac: dict[str, list[str]] = {}
        self.by_name: dict[tuple[str, str], str] = {}
        for key, entry in records(bag):
            self.add(key, entry)

    def add(self, key: str, entry: Entry) -> None:
        """Note an entry that was stored under a key."""
        self.by_mac.setdefault(entry["mac_address"], []).append(key)
        if name := _name_in_network(entry):
            self.by_name[name] = key

    def discard(self, key: str, entry: Entry) -> None:
        """Forget an entry that was stored under a key."""
        self.by_mac[entry["mac_address"]].remove(key)
        name = _name_in_network(entry)
        if name and self.by_name.get(name) == key:
            del self.by_name[name]


def _name_in_network(entry: Entry) -> tuple[str, str] | None:
    """Return what must be unique (F13): a VM in two tiers has its name in both (F5)."""
    name, gateway = entry.get("host_name"), entry.get("default_gateway")
    return (name.lower(), gateway) if name and gateway else None


def merge_dhcp_entry(workspace: Workspace, body: Entry, _file: str) -> None:
    """Store the entry of a VM's NIC under its address, or remove it.

    One entry per MAC and network, one per address, the newer wins (F4, F5, F8). A removal touches the entry that has
    its MAC and its address, and no other: the address may be another VM's by now (F9), and the MAC in another tier.
    """
    index = workspace.index("dhcpentry", EntryIndex)
    addresses = addresses_of(body)
    if body.get("remove", False):
        for key in _of_mac(index, body):
            if set(addresses) & set(addresses_of(workspace.read("dhcpentry")[key])):
                forget_vms(workspace, addresses_of(_drop_entry(workspace, index, key)))
        bag = workspace.read("dhcpentry")
        forget_vms(workspace, [address for address in addresses if address not in bag])
        return
    for key in _of_mac(index, body):
        if key == addresses[0] or same_network(workspace, workspace.read("dhcpentry")[key], body):
            entry = _drop_entry(workspace, index, key)
            forget_vms(workspace, [a for a in addresses_of(entry) if a not in addresses])
    if addresses[0] in workspace.read("dhcpentry"):
        older = _drop_entry(workspace, index, addresses[0])
        if _is_another(older, body):
            forget_vms(workspace, addresses_of(older))
    _take_name_from_older(workspace, index, body)
    workspace.edit("dhcpentry")[addresses[0]] = body
    index.add(addresses[0], body)


def _of_mac(index: EntryIndex, body: Entry) -> list[str]:
    return list(index.by_mac.get(body["mac_address"], ()))


def _is_another(older: Entry, newer: Entry) -> bool:
    """Tell whether an address has gone to another VM; one whose NIC has a new MAC keeps its name.

    The other one must not read what was the older one's. Its own data come after its entry, as the server sends them.
    """
    return bool(older.get("host_name", "").lower() != newer.get("host_name", "").lower())


def _drop_entry(workspace: Workspace, index: EntryIndex, key: str) -> Entry:
    entry: Entry = workspace.edit("dhcpentry").pop(key)
    index.discard(key, entry)
    return entry


def _take_name_from_older(workspace: Workspace, index: EntryIndex, body: Entry) -> None:
    """Let the newest VM of a name have it: the older one keeps its address, not its name (F13)."""
    name = _name_in_network(body)
    older = index.by_name.get(name) if name else None
    if older is not None:
        entry = _drop_entry(workspace, index, older)
        nameless = {**entry, "host_name": ""}
        workspace.edit("dhcpentry")[older] = nameless
        index.add(older, nameless)


def forget_network(workspace: Workspace, *networks: str) -> None:
    """Remove all that is known of the VMs of networks that are gone: others will have their addresses."""
    gone = [ipaddress.ip_network(network, strict=False) for network in networks]

    def inside(address: str) -> bool:
        ip = ipaddress.ip_address(address)
        return any(ip in network for network in gone)

    index = workspace.index("dhcpentry", EntryIndex)
    for key, entry in records(workspace.read("dhcpentry")):
        if any(map(inside, addresses_of(entry))):
            _drop_entry(workspace, index, key)
    for bag in ("vmdata", "vmpassword"):
        for address, _content in records(workspace.read(bag)):
            if inside(address):
                workspace.remove(bag, address)


def merge_dhcp_config(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Keep the latest list of ranges of a shared network (F6)."""
    workspace.edit("dhcpconfig")["entries"] = body["entries"]


adopt_ranges = whole(checked({"entries": may(RANGES)}))
adopt_entries = keyed(STORED_ENTRY, lambda entry: not entry.get("remove"), lambda e: addresses_of(e)[0])
