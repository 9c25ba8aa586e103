# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Begin with empty databags when the management server starts the router, and with the former ones otherwise.

When the server starts a router, the hypervisor's agent writes boot arguments anew, and the server then sends everything
that is still wanted and nothing about what is not. So the databags of the life before go, as with the original
(boot_arguments.md). A reboot from inside, or by the hypervisor alone, brings no arguments, and keeps them (J1).

The sign is a `cmdline` drop with a mark, which vr-boot gives to each writing of the agent's file. The note of what was
taken is committed with the databags: a kill leaves both or neither. The first new mark of a boot is a start; later
ones of the same boot are merged like any drop. Until a mark comes, the drops of the boot are written down: arguments
that come late empty the databags, and these drops are merged again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import (
    START,
    Bag,
    merge,
    merge_all,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.segments import addresses_of
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop

MARK = "written"
"""The field of a `cmdline` drop that says which writing of the agent it is."""
PATIENCE = 900.0
"""For how long after a boot its drops are written down, in seconds: arguments that come later only are merged."""
MOST_DROPS = 2000
"""How many drops are written down; if there are more, arguments that come later only are merged."""
SERVER, OPEN, OWN = "server", "open", "own"
"""Who began this boot: the management server; not known yet; nobody, and this is settled."""
BY_VMS = "vmpassword"
"""The databag that a start keeps: no drop says again what nobody has fetched yet."""


@dataclass(frozen=True, slots=True)
class Boot:
    """A boot of the router; `age` is in seconds."""

    name: str
    age: float


@dataclass(frozen=True, slots=True)
class Taken:
    """The databags with drops merged in, whether they began empty, and the earlier drops that no longer fitted."""

    bags: dict[str, Bag]
    started: bool = False
    left_out: tuple[str, ...] = ()


def take(bags: Mapping[str, Bag], drops: Sequence[Drop], boot: Boot) -> Taken:
    """Merge drops; begin with empty databags first if boot arguments among the drops say so. DropError as `merge`."""
    note = bags.get(START, {})
    mark = next((drop.body[MARK] for drop in drops if drop.type == "cmdline" and MARK in drop.body), None)
    if mark is not None and _is_start(note, mark, boot):
        return _begin(bags, drops, boot, mark)
    merged = merge_all(bags, drops)
    found = _spoken_of(merged.get(START, {}), merged, drops)
    noted = _noted(found, mark, drops, boot)
    return Taken(merged if noted == note else {**merged, START: {**noted, "id": START}})


def _is_start(note: Bag, mark: str, boot: Boot) -> bool:
    """Tell whether arguments begin a life: not those that were taken before, nor any after the first of a boot."""
    return mark != note.get("mark") and (note.get("boot") != boot.name or note.get("by") == OPEN)


def _begin(bags: Mapping[str, Bag], drops: Sequence[Drop], boot: Boot, mark: str) -> Taken:
    """Merge into empty databags: boot arguments, what this boot has taken before, and what came with the arguments."""
    note = bags.get(START, {})
    empty = {name: {"id": name} for name in bags if name != BY_VMS} | {k: v for k, v in bags.items() if k == BY_VMS}
    arguments = [drop for drop in drops if drop.type == "cmdline"]
    merged, left_out = merge_all(empty, arguments), []
    for kept in note.get("drops", ()) if note.get("boot") == boot.name else ():
        drop = Drop(kept["name"], kept["body"]["type"], kept["body"])
        try:
            merged = merge(merged, drop)
        except DropError:
            left_out.append(drop.name)
    merged = merge_all(merged, [drop for drop in drops if drop.type != "cmdline"])
    begun = {"id": START, "boot": boot.name, "by": SERVER, "mark": mark, "away": _away(bags)}
    earlier = [Drop("", kept["body"]["type"], kept["body"]) for kept in note.get("drops", ())]
    return Taken({**merged, START: _spoken_of(begun, merged, [*earlier, *drops])}, True, tuple(left_out))


def _noted(note: Bag, mark: str | None, drops: Sequence[Drop], boot: Boot) -> Bag:
    """Return the note with the drops written down, as long as arguments may still come."""
    if mark is not None and note.get("boot") == boot.name:
        return {**note, "mark": mark}
    known = note.get("boot") == boot.name
    if not drops or (known and note["by"] != OPEN):
        return note
    lasting: Bag = {key: value for key, value in note.items() if key in ("mark", "away")}
    kept = list(note.get("drops", ())) if known else []
    kept += [{"name": drop.name, "body": drop.body} for drop in drops if drop.type != "cmdline"]
    if boot.age > PATIENCE or len(kept) > MOST_DROPS:
        return {**lasting, "boot": boot.name, "by": OWN}
    return {**lasting, "boot": boot.name, "by": OPEN, "drops": kept}


def _away(bags: Mapping[str, Bag]) -> Bag:
    """Return the VMs and tiers of the life before: what is kept of them waits until a drop speaks of them."""
    before = bags.get(START, {}).get("away", {})
    vms = {
        address: {"mac": entry["mac_address"], **({"name": entry["host_name"]} if entry.get("host_name") else {})}
        for key, entry in bags.get("dhcpentry", {}).items()
        if key != "id"
        for address in addresses_of(entry)
    }
    tiers = [
        network
        for device, found in bags.get("guestnetwork", {}).items()
        if device != "id"
        for tier in found
        for network in [_network(tier)]
    ]
    return {"vms": {**before.get("vms", {}), **vms}, "tiers": sorted({*before.get("tiers", ()), *tiers})}


def _network(tier: Mapping[str, Any]) -> str:
    return str(ipaddress.ip_interface(f"{tier['router_guest_ip']}/{tier['router_guest_netmask']}").network)


def _spoken_of(note: Bag, merged: dict[str, Bag], drops: Sequence[Drop]) -> Bag:
    """Return the note without the VMs and tiers that drops speak of; another VM does not get an address's password."""
    away = note.get("away")
    if not away:
        return note
    vms, tiers = dict(away["vms"]), list(away["tiers"])
    new = {drop.body["ip_address"] for drop in drops if drop.type == BY_VMS}
    for drop in drops:
        if drop.type == "guestnetwork" and (network := _network(drop.body)) in tiers:
            tiers.remove(network)
        for address in addresses_of(drop.body) if drop.type == "dhcpentry" else ():
            known = vms.pop(address, None)
            if known and address not in new and _is_another(known, drop.body):
                merged[BY_VMS] = {key: value for key, value in merged.get(BY_VMS, {}).items() if key != address}
    if (vms, tiers) == (away["vms"], away["tiers"]):
        return note
    return {**note, "away": {"vms": vms, "tiers": tiers}}


def _is_another(known: Mapping[str, str], entry: Mapping[str, Any]) -> bool:
    """Tell whether an address is another VM's now: neither its NIC nor its name is the one that was there."""
    same_name = known.get("name", "").lower() == entry.get("host_name", "").lower()
    return known["mac"] != entry["mac_address"] and not same_name
