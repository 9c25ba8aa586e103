# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Change the MTU of a NIC for good.

The management server sends no drop with the new MTU, only this command. A MTU that is set on the link alone would be
undone by the next converge, and DHCP would go on offering the old one (L5). So what the databags have on the NIC is
sent again with the new MTU, as the management server would have done.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import Any

from vrlib import command as vr
from vrlib import converge, usage
from vrlib.queue import turn

_INTERVAL = 0.1
# RFC 791: every link must carry 68 bytes; the kernel's own bound for Ethernet is 65535.
_SMALLEST, _LARGEST = 68, 65535


def main(args: list[str]) -> None:
    """Find the NIC, change its MTU through a converge, print the NIC's name."""
    if len(args) != 4 or not all(word.isascii() and word.isdigit() for word in args[1:]):
        raise vr.CommandError("usage: update_interface_config.sh IP PREFIXLEN MTU TRIES")
    address, prefix, mtu, tries = args[0], args[1], int(args[2]), int(args[3])
    if not _SMALLEST <= mtu <= _LARGEST:
        raise vr.CommandError(f"MTU: expected {_SMALLEST} to {_LARGEST}, got {mtu}")
    device = _find(address, prefix, tries)
    if device is None:
        # The server skips the address when the output is exactly this (contract.md).
        print(f"Interface with IP {vr.one_line(address)} not found")
        sys.exit(1)
    if _mtu(device) != mtu:
        _change(device, address, mtu)
    if _mtu(device) != mtu:
        raise vr.CommandError(f"{device}: MTU is {_mtu(device)} and not {mtu} after the change")
    print(device)


def _find(address: str, prefix: str, tries: int) -> str | None:
    """Return the NIC of an address, which may still be on its way."""
    for attempt in range(max(tries, 1)):
        if attempt:
            time.sleep(_INTERVAL)
        device = usage.device_of(address, prefix)
        if device is not None:
            return device
    return None


def _mtu(device: str) -> int:
    with open(vr.at(f"/sys/class/net/{device}/mtu"), encoding="ascii") as file:
        return int(file.read())


def _change(device: str, address: str, mtu: int) -> None:
    """Take a drop with the new MTU of the NIC."""
    drop = _tier_drop(address, mtu) or _addresses_drop(device, mtu)
    if drop is None:
        raise vr.CommandError(f"{device}: {address} is in no databag")
    name = f"update_interface_config.json.{os.urandom(8).hex()}"
    with turn(vr.LIMIT) as left:
        vr.write_atomically(vr.at(f"{vr.INBOX}/{name}"), json.dumps(drop).encode())
        converge.converge(converge.Request(name, keep=False), left)


def _tier_drop(address: str, mtu: int) -> dict[str, Any] | None:
    """Return the drop of the VPC tier that has the address, or shares it with the other router of a pair."""
    for tier in _records("guestnetwork"):
        if address in (tier.get("router_guest_ip"), tier.get("router_guest_gateway")) and tier.get("add", True):
            return {**tier, "mtu": mtu, "type": "guestnetwork", "add": True}
    return None


def _addresses_drop(device: str, mtu: int) -> dict[str, Any] | None:
    """Return a drop with all addresses of a NIC: it has one MTU, whichever of them the server names (L5)."""
    mac = _mac(device)
    fixed = {"mtu": mtu, "add": True, "vif_mac_address": mac, "nic_dev_id": _number(device)}
    records = [record for record in _records("ips") if record.get("add", True) and _is_on(record, device, mac)]
    return {"type": "ips", "ip_address": [{**record, **fixed} for record in records]} if records else None


def _is_on(record: dict[str, Any], device: str, mac: str) -> bool:
    """Tell whether an address is on a NIC: by its MAC, and by the NIC's name where no MAC is known (E1)."""
    known = record.get("vif_mac_address")
    return known == mac if known else record.get("device") == device


def _records(bag: str) -> list[dict[str, Any]]:
    """Return all records of a databag that files lists of records by device; none when there is no such databag."""
    path = f"{vr.DATABAGS}/{bag}.json"
    try:
        with open(vr.at(path), encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise vr.CommandError(f"{path}: damaged databag: {error}") from None
    lists = [value for value in content.values() if isinstance(value, list)]
    return [record for records in lists for record in records if isinstance(record, dict)]


def _mac(device: str) -> str:
    with open(vr.at(f"/sys/class/net/{device}/address"), encoding="ascii") as file:
        return file.read().strip()


def _number(device: str) -> int:
    found = re.search(r"\d+$", device)
    if found is None:
        raise vr.CommandError(f"{device}: expected a NIC of the name ethN")
    return int(found[0])
