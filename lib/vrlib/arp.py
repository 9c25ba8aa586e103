# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask neighbours by ARP, all at once: whoever is on a link answers it, whatever is filtered (RFC 826)."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterable

from vrlib import command as vr

LIMIT = 2.0
AGAIN = 0.5
_ARP = 0x0806


def reached(asked: Iterable[tuple[str, str, str]], limit: float = LIMIT) -> set[str]:
    """Return which addresses answer, of (NIC, own address, address asked); a link that is down reaches nobody."""
    left = {(nic, own, target) for nic, own, target in asked}
    found: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as wire:
        end, again = time.monotonic() + limit, 0.0
        while left and time.monotonic() < end:
            if time.monotonic() >= again:
                _ask(wire, left)
                again = time.monotonic() + AGAIN
            ready, _, _ = select.select([wire], [], [], max(min(again, end) - time.monotonic(), 0))
            if ready:
                frame, place = wire.recvfrom(2048)
                answered = {item for item in left if item[0] == place[0] and _is_answer(frame, item[2])}
                found |= {item[2] for item in answered}
                left -= answered
    return found


def _ask(wire: socket.socket, targets: set[tuple[str, str, str]]) -> None:
    for nic, own, target in targets:
        try:
            with open(vr.at(f"/sys/class/net/{nic}/address"), encoding="ascii") as file:
                mac = bytes.fromhex(file.read().strip().replace(":", ""))
            head = b"\xff" * 6 + mac + struct.pack("!H", _ARP) + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
            ends = ipaddress.IPv4Address(own).packed, ipaddress.IPv4Address(target).packed
            wire.sendto(head + mac + ends[0] + b"\0" * 6 + ends[1], (nic, _ARP))
        except OSError:
            # The NIC is down or gone: nobody is reached by it, which is the answer.
            continue


def _is_answer(frame: bytes, target: str) -> bool:
    return len(frame) >= 42 and frame[28:32] == ipaddress.IPv4Address(target).packed and frame[12:14] == b"\x08\x06"
