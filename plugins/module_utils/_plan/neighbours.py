# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Neighbour advertisements as frames: a transition of a pair sends what a converge has prepared."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

_ALL_NODES = IPv6Address("ff02::1")
_ICMPV6, _ADVERTISEMENT = 58, 136
_ROUTER, _OVERRIDE = 1 << 31, 1 << 29
_TARGET_LINK_LAYER = 2


def advertisement(mac: str, address: IPv6Address) -> bytes:
    """Return the Ethernet frame that tells all nodes of a link that an address has this MAC now (RFC 4861, 4.4).

    The override flag makes them believe it though they know another one; the hop limit of 255 is what they check.
    """
    source = bytes.fromhex(mac.replace(":", ""))
    ethernet = b"\x33\x33" + _ALL_NODES.packed[-4:] + source + struct.pack("!H", 0x86DD)
    option = struct.pack("!BB", _TARGET_LINK_LAYER, 1) + source
    body = struct.pack("!I", _ROUTER | _OVERRIDE) + address.packed + option
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + body
    ends = address.packed + _ALL_NODES.packed
    checksum = _checksum(ends + struct.pack("!II", len(message), _ICMPV6) + message)
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255)
    return ethernet + header + ends + message[:2] + struct.pack("!H", checksum) + body


def _checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
