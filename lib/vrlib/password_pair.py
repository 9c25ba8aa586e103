# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell the other router of a pair which passwords are consumed, so that it never hands one out again (C14).

The news travels on the guest link, where VMs can listen and lie. So it is a proof that only who knows the password can
make, from a function (scrypt, RFC 7914) that makes guessing it from the proof expensive. It is sent when a VM has its
password, and again every minute, for a router that was down then.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

GROUP, PORT = "225.0.0.50", 3781
"""The group of the pair; the port next to that of the connection states."""
EVERY = 60.0
"""Seconds between two tellings of all that is known."""
CHECKS_PER_SECOND = 4.0
"""How many proofs are looked into: each costs 50 ms and 16 MB, and anybody can send one."""


def prove(name: str, password: bytes, salt: bytes | None = None) -> dict[str, str]:
    """Return the news that the password of a file name is consumed."""
    address = name.partition(",")[0]
    chosen = os.urandom(16) if salt is None else salt
    proof = hashlib.scrypt(password, salt=chosen + address.encode(), n=1 << 14, r=8, p=1, dklen=32)
    return {"address": address, "salt": chosen.hex(), "proof": proof.hex()}


def proves(news: dict[str, str], name: str, password: bytes) -> bool:
    """Tell whether the sender of the news knows the password that waits under a file name."""
    try:
        salt = bytes.fromhex(news["salt"])
    except ValueError:
        return False
    return hmac.compare_digest(prove(name, password, salt)["proof"], news["proof"])


def parse(data: bytes) -> dict[str, str] | None:
    """Return the news in a datagram, None when it is none."""
    try:
        found: Any = json.loads(data)
    except ValueError:
        return None
    fields = ("address", "salt", "proof")
    whole = isinstance(found, dict) and all(isinstance(found.get(field), str) for field in fields)
    return {field: found[field] for field in fields} if whole and len(data) < 512 and found["proof"].isascii() else None


def is_here(address: str, table: str = "/proc/net/fib_trie") -> bool:
    """Tell whether this router has an IPv4 address now: the kernel has a local route to it then.

    Neither binding nor connecting tells: addresses may be bound that are elsewhere, and what is sent to a second
    address of a subnet comes from the first.
    """
    with open(table, encoding="ascii") as lines:
        leaf = ""
        for line in lines:
            words = line.split()
            if words[0] == "|--":
                leaf = words[1]
            elif leaf == address and words == ["/32", "host", "LOCAL"]:
                return True
    return False


class Pair(asyncio.DatagramProtocol):
    """The link to the other router; `hear` is given news of an address that may be true."""

    def __init__(self, own: str, hear: Callable[[dict[str, str]], None]) -> None:
        self._own, self._hear = own, hear
        self._tokens, self._filled = CHECKS_PER_SECOND, time.monotonic()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Join the group on the link that has our own address."""
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own = socket.inet_aton(self._own)
        door.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + own)
        door.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        door.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        door.bind((GROUP, PORT))
        loop = asyncio.get_running_loop()
        self._transport, _protocol = await loop.create_datagram_endpoint(lambda: self, sock=door)

    def close(self) -> None:
        """Leave the group."""
        if self._transport is not None:
            self._transport.close()

    def tell(self, news: dict[str, str]) -> None:
        """Send the news; a link that is down makes it wait for the next time."""
        if self._transport is not None:
            self._transport.sendto(json.dumps(news).encode(), (GROUP, PORT))

    def datagram_received(self, data: bytes, _sender: Any) -> None:
        """Hand on what may be news."""
        news = parse(data)
        if news is not None:
            self._hear(news)

    def error_received(self, _error: Exception) -> None:
        """Bear a link that is down: all is told again in a minute."""

    def may_check(self) -> bool:
        """Tell whether another proof may be looked into now."""
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * CHECKS_PER_SECOND, CHECKS_PER_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
