# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which NIC is what: `ips` and `guestnetwork` databags resolved to the NICs that are plugged in.

A record that carries a MAC address belongs to the NIC with that MAC and to no other; the device name of the data
is only the fallback for records without one (E1, C10). What has no NIC yet is pending, and nothing else fails (H5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Address,
    Device,
    Nic,
    Role,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.settings import main_addresses

_ROLES = {"guest": Role.GUEST, "control": Role.CONTROL, "public": Role.PUBLIC}


class Locator:
    """Find the live name of a NIC from what the data say about it."""

    def __init__(self, nics: Iterable[Nic]) -> None:
        known = tuple(nics)
        self._by_mac = {nic.mac.lower(): nic.name for nic in known}
        self._names = {nic.name for nic in known}

    def find(self, mac: str | None, name: str | None) -> str | None:
        """Return the name of the NIC, None while it is not plugged in."""
        if mac is not None:
            return self._by_mac.get(mac.lower())
        return name if name in self._names else None


@dataclass(frozen=True, slots=True)
class _Record:
    """One address of the data, and what it is for; `mac` is None where only the device's name is known."""

    data: Mapping[str, Any]
    role: Role
    mac: str | None

    @property
    def ip(self) -> str:
        return str(self.data.get("public_ip"))


def devices(bags: Mapping[str, Any], nics: Sequence[Nic]) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Return the devices in the order of their numbers, and a line for each address that has no place."""
    locator = Locator(nics)
    networks = tiers(bags, locator)
    main = main_addresses(bags)
    placed, pending = _placed(bags, locator)
    found: list[Device] = []
    for name, records in placed.items():
        kept, moved = _without_squatters(records)
        pending += [f"{name}: {record.ip}: the NIC of this name is another one" for record in moved]
        found.append(_device(name, kept, networks.get(name, {}), main))
    return tuple(sorted(found, key=lambda device: device.number)), tuple(sorted(pending))


def _placed(bags: Mapping[str, Any], locator: Locator) -> tuple[dict[str, list[_Record]], list[str]]:
    """Return the addresses by the NIC they are on, and a line for each that has none."""
    placed: dict[str, list[_Record]] = {}
    pending: list[str] = []
    for key, data in _wanted(bags):
        mac, role = values.text(data.get("vif_mac_address")), _role(data)
        name = locator.find(mac, key)
        if role is None:
            pending.append(f"{key}: {data['public_ip']}: no router serves a {data['nw_type']} network")
        elif name is None:
            pending.append(f"{key} ({mac or 'no MAC'}): {data['public_ip']}: no such NIC yet")
        else:
            placed.setdefault(name, []).append(_Record(data, role, mac))
    return placed, pending


def _wanted(bags: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield device and address, ordered by device; the original also keeps addresses that were taken off."""
    for key, entries in sorted(bags.get("ips", {}).items()):
        yield from ((key, data) for data in entries if data.get("add", True)) if key != "id" else ()


def _without_squatters(records: list[_Record]) -> tuple[list[_Record], list[_Record]]:
    """Split off the records that sit on this NIC by name only while others own it by MAC with another role."""
    owners = [record for record in records if record.mac]
    if not owners:
        return records, []
    moved = [record for record in records if not record.mac and record.role is not owners[0].role]
    return [record for record in records if record not in moved], moved


def _role(data: Mapping[str, Any]) -> Role | None:
    """Return what an address is for, None where no router serves such a network (storage, for example)."""
    if values.flag(data.get("is_private_gateway")):
        return Role.PRIVATE_GATEWAY
    return _ROLES.get(str(data.get("nw_type") or "public").lower())


def _device(name: str, records: list[_Record], tier: Mapping[str, Any], main: frozenset[IPv4Address]) -> Device:
    addresses = sorted(
        (found for found in (_address(record.data) for record in records) if found),
        key=lambda found: (not found.source_nat, found.ip not in main, found.ip),
    )
    return Device(
        name=name,
        role=records[0].role,
        addresses=tuple(addresses),
        mtu=values.mtu(tier.get("mtu"), *(record.data.get("mtu") for record in records)),
        network_id=int(tier.get("network_id") or 0),
        source_nat=any(values.flag(record.data.get("source_nat")) for record in records),
        dns=tuple(server for server in values.words(tier.get("dns")) if values.address(server)),
        domain=values.domain(tier.get("domain_name")),
        is_gateway=bool(tier.get("is_vr_guest_gateway", True)),
    )


def _address(data: Mapping[str, Any]) -> Address | None:
    found = values.interface(data.get("public_ip"), data.get("netmask"))
    if found is None:
        return None
    gateway = values.address(data.get("gateway"))
    if gateway is not None and gateway not in found.network:
        gateway = None  # the boot arguments give guest addresses the gateway of the control network
    return Address(found, values.flag(data.get("source_nat")), gateway)


def tiers(bags: Mapping[str, Any], locator: Locator) -> dict[str, Mapping[str, Any]]:
    """Return the drop of each tier by the name of its NIC."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, entries in sorted(bags.get("guestnetwork", {}).items()):
        for entry in () if key == "id" else entries:
            name = locator.find(values.text(entry.get("mac_address")), key)
            if name is not None and entry.get("add", True):
                found[name] = entry
    return found
