# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the boot arguments say about the pair; both routers of it must come to the same."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

if TYPE_CHECKING:
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Device

SHORTEST, LONGEST = 0.01, 40.95
"""VRRP version 3 carries the interval in 12 bits of hundredths of a second (RFC 5798, section 5.2.7)."""
RELAYED = "pair0"
"""The link of a VPC's pair; vr-pair-relay carries it over the tiers, so that no tier that comes or goes can move it."""
SPOKEN_FOR = IPv4Address("240.0.0.0")
"""What a VPC's pair advertises: always the same, in the range that nobody uses (RFC 1112, section 4)."""


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """A gateway address that the primary of a pair has on a guest device."""

    device: Device
    interface: IPv4Interface


@dataclass(frozen=True, slots=True)
class PairLink:
    """Where the routers of a pair talk: `own` is the address of this one, `shared` that which the primary advertises.

    `wires` are the guest devices with a gateway address, that of the lowest network first. A link that has the name of
    none of them is relayed over them.
    """

    name: str
    own: IPv4Address
    shared: IPv4Address
    wires: tuple[Device, ...]

    @property
    def relayed(self) -> bool:
        """Tell whether the link is no NIC."""
        return all(device.name != self.name for device in self.wires)


def advert_interval(config: Mapping[str, Any]) -> float:
    """Return the seconds between advertisements, one second when nothing is said."""
    given = values.text(config.get("advert_int"))
    return 1.0 if given is None else min(max(round(float(given), 2), SHORTEST), LONGEST)


def vrrp_id(config: Mapping[str, Any]) -> int:
    """Return the virtual router id, 1 to 255, so that two pairs on one segment do not meet.

    A VPC has a database id. An isolated network has none, but its source NAT and gateway addresses belong to no other.
    """
    given = values.text(config.get("router_id"))
    if given is not None:
        return (int(given) - 1) % 255 + 1
    names = ("eth2ip", "guestgw") if values.text(config.get("type")) == "router" else ()
    known = [text for text in (values.text(config.get(name)) for name in names) if text]
    return zlib.crc32(" ".join(known).encode()) % 255 + 1 if known else 1


def own_address(name: str) -> IPv4Address:
    """Return the address of a VPC's router on the link of its pair: the number of r-<number>-VM, unique in a cloud."""
    found = re.search(r"\d+", name)
    number = int(found[0]) if found else zlib.crc32(name.encode())
    return SPOKEN_FOR + (number - 1) % (2**28 - 2) + 1
