# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about addresses, tiers and static routes: the databags ``ips``, ``guestnetwork`` and ``staticroutes``."""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from functools import lru_cache
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import acl, dhcp, uses
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.acl import forget_acl, move_acl
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import keyed, under
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Bag,
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import list_of
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import (
    ROUTE,
    STORED_ADDRESS,
    STORED_TIER,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.kinds import prefix_length

Record = dict[str, Any]

# Where the original files an address whose NIC it does not know. It stays pending until its MAC appears (E5).
NOWHERE = "ethNone"


def complete(drop: Record, device: str) -> Record:
    """Return the stored form of an address: the drop's record and what follows from address and netmask."""
    length = prefix_length(drop["netmask"])
    address = drop["public_ip"]
    broadcast, network = _surroundings(address, length)
    stored = {
        **drop,
        "device": device,
        "broadcast": broadcast,
        "cidr": f"{address}/{length}",
        "size": str(length),
        "network": network,
        "nw_type": drop.get("nw_type", "public"),
    }
    if "mtu" in drop:
        stored["mtu"] = str(drop["mtu"])
    return stored


@lru_cache(1024)
def _surroundings(address: str, length: int) -> tuple[str, str]:
    """Return broadcast address and network of an address."""
    network = ipaddress.IPv4Network((address, length), strict=False)
    return str(network.broadcast_address), str(network)


def by_rank(record: Record) -> tuple[bool, bool, tuple[int, ...]]:
    """Order the addresses of a device: the source NAT address, then others by number, aliases last.

    The first one is the primary address, so the order must not tell in which order the drops came.
    """
    return (
        not record.get("source_nat", False),
        bool(record.get("alias")),
        tuple(map(int, record["public_ip"].split("."))),
    )


def put(workspace: Workspace, record: Record) -> None:
    """Store a completed record in place of any other with its address.

    A control address replaces all of its device. Of two source NAT addresses in one network the newer one is
    it.
    """
    take(workspace, record["public_ip"])
    bag = workspace.edit("ips")
    device = record["device"]
    beside = [] if record["nw_type"] == "control" else bag.get(device, [])
    if record.get("source_nat"):
        beside = sorted((_without_source_nat(other, record["network"]) for other in beside), key=by_rank)
    place = bisect_left(beside, by_rank(record), key=by_rank)
    bag[device] = [*beside[:place], record, *beside[place:]]


def _without_source_nat(record: Record, network: str) -> Record:
    if record.get("source_nat") and record["network"] == network:
        return {**record, "source_nat": False}
    return record


def take(workspace: Workspace, address: str) -> Record | None:
    """Remove the record of an address from whatever device has it, and return it."""
    for device, filed in records(workspace.read("ips")):
        for record in filed:
            if record["public_ip"] == address:
                keep(workspace, device, [other for other in filed if other is not record])
                found: Record = record
                return found
    return None


def keep(workspace: Workspace, device: str, filed: list[Record]) -> None:
    """Set the records of a device; a device without any is not in the databag."""
    bag = workspace.edit("ips")
    if filed:
        bag[device] = filed
    else:
        del bag[device]


def find(bag: Bag, address: str) -> Record | None:
    """Return the record of an address, on whatever device."""
    for _device, filed in records(bag):
        for record in filed:
            if record["public_ip"] == address:
                found: Record = record
                return found
    return None


def merge_ips(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Put or remove every address of the drop; ``add: false`` leaves nothing behind (D7).

    An address that moves to another NIC keeps what it is used for, whichever half of the move comes first.
    """
    placed: dict[str, tuple[Record, Record | None]] = {}
    released = []
    for record in body["ip_address"]:
        address = record["public_ip"]
        before = find(workspace.read("ips"), address)
        if record["add"]:
            if "nic_dev_id" not in record and before and "nic_dev_id" in before:
                record = {**record, "nic_dev_id": before["nic_dev_id"]}
            number = record.get("nic_dev_id")
            put(workspace, complete(record, NOWHERE if number is None else f"eth{number}"))
            placed[address] = (record, before)
            continue
        now, former = placed.get(address, (None, None))
        if now is None or _same_nic(now, record):
            former = take(workspace, address)
            released.append(address)
        if former:
            _forget_acl_of_gateway(workspace, former)
    uses.forget(workspace, (address for address in released if find(workspace.read("ips"), address) is None))


def _same_nic(one: Record, other: Record) -> bool:
    """Tell whether two records name one NIC: by MAC where both have it, else by number where both have that."""
    for field in ("vif_mac_address", "nic_dev_id"):
        if field in one and field in other:
            return str(one[field]).lower() == str(other[field]).lower()
    return True


def _forget_acl_of_gateway(workspace: Workspace, gone: Record) -> None:
    """Remove the ACL of a private gateway that has lost its last address, as with a tier."""
    if not gone.get("is_private_gateway"):
        return
    filed = workspace.read("ips").get(gone["device"], [])
    if not any(record.get("is_private_gateway") for record in filed):
        forget_acl(workspace, gone["device"], gone.get("vif_mac_address"))


def merge_ip_aliases(workspace: Workspace, body: dict[str, Any], file: str) -> None:
    """Put or remove aliases on the router's first guest NIC; its own addresses are never touched."""
    for index, alias in enumerate(body["aliases"]):
        before = find(workspace.read("ips"), alias["ip_address"])
        if before and not before.get("alias"):
            continue
        if alias["revoke"]:
            take(workspace, alias["ip_address"])
            continue
        guest = _first_guest(workspace.read("ips"))
        if guest is None:
            raise DropError(file, f"aliases[{index}].ip_address", "a router with a guest NIC", "one without")
        put(workspace, _alias_on(guest, alias))


def _first_guest(bag: Bag) -> Record | None:
    for _device, filed in sorted(records(bag), key=lambda item: (len(item[0]), item[0])):
        for record in filed:
            if record["nw_type"] == "guest" and not record.get("alias"):
                found: Record = record
                return found
    return None


def _alias_on(guest: Record, alias: Record) -> Record:
    """Make the record of an alias: as the original's, and with the MAC of the NIC that carries it."""
    record: Record = {
        "public_ip": alias["ip_address"],
        "netmask": alias["netmask"],
        "add": True,
        "alias": True,
        "source_nat": False,
        "one_to_one_nat": False,
        "nw_type": "guest",
    }
    for field in ("nic_dev_id", "vif_mac_address"):
        if field in guest:
            record[field] = guest[field]
    return complete(record, guest["device"])


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
    put(workspace, complete(_address_of(body), device))
    move_acl(workspace, device, body.get("mac_address"))


def _remove(workspace: Workspace, device: str, tier: Tier, *, for_good: bool) -> None:
    """Take a tier off its device; one that is gone for good takes its ACL and its VMs with it."""
    workspace.remove("guestnetwork", device)
    if for_good:
        acl.forget_acl(workspace, device, tier.get("mac_address"))
    if _succeeded(workspace, tier):
        return
    take(workspace, tier["router_guest_ip"])
    if not for_good:
        return
    networks = [f"{tier['router_guest_ip']}/{tier['router_guest_netmask']}"]
    networks += [tier["router_guest_ip6_cidr"]] if tier.get("router_guest_ip6_cidr") else []
    dhcp.forget_network(workspace, *networks)


def _succeeded(workspace: Workspace, gone: Tier) -> bool:
    """Tell whether another tier has the address by now: the removal came late, and the VMs there are the other's."""
    others = (tier for _device, known in records(workspace.read("guestnetwork")) for tier in known)
    return any(tier["router_guest_ip"] == gone["router_guest_ip"] for tier in others)


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


def adopt_addresses(bag: Bag) -> Bag:
    """Complete the addresses and put them in order, without those that the original keeps after they went."""
    taken: dict[str, list[dict[str, Any]]] = {}
    for device, filed in bag.items():
        if device != NOWHERE:
            under(device, k.device, device)
        for stored in under(device, list_of(_known_alias), filed):
            if stored["add"]:
                taken.setdefault(device, []).append(complete(stored, device))
    return {device: sorted(filed, key=by_rank) for device, filed in taken.items()}


def _known_alias(value: Any) -> Any:
    """Check an address and mark an alias of the original: it alone made records without gateway and MTU."""
    if isinstance(value, dict) and value.get("nw_type") == "guest" and "gateway" not in value and "mtu" not in value:
        value["alias"] = True
    return STORED_ADDRESS(value)


def adopt_tiers(bag: Bag) -> Bag:
    """Keep the newest drop of each device; the original puts it last."""
    taken = {}
    for device, tiers in bag.items():
        present = [tier for tier in under(device, list_of(STORED_TIER), tiers) if tier["add"]]
        if present:
            taken[device] = present[-1:]
    return taken


adopt_routes = keyed(ROUTE, lambda route: not route["revoke"], lambda route: str(route["network"]))
