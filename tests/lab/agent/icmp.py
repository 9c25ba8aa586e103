# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""ICMP and ICMPv6: send one message of any type and say what came back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import time
from typing import Any

from tests.lab.agent.sockets import checksum, family_of, receive, verdict_of

# Requests and the replies they ask for: RFC 792 (echo, timestamp), RFC 950 (address mask), RFC 4443 (echo).
REPLIES = {8: 0, 13: 14, 17: 18}
ECHO6, ECHO_REPLY6 = 128, 129
ERRORS = {3: "unreachable", 11: "time exceeded", 12: "parameter problem"}
ERRORS6 = {1: "unreachable", 2: "too big", 3: "time exceeded", 4: "parameter problem"}
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h

_identifiers = itertools.count(os.getpid())


def next_identifier() -> int:
    """Return an ICMP identifier that no other probe of this process uses."""
    return next(_identifiers) & 0xFFFF


def request(kind: int, code: int, identifier: int, sequence: int, size: int) -> bytes:
    """Return an ICMP message with zero bytes as its data; the kernel writes ICMPv6's checksum itself."""
    data = bytes(size)
    head = struct.pack("!BBHHH", kind, code, 0, identifier, sequence)
    return struct.pack("!BBHHH", kind, code, checksum(head + data), identifier, sequence) + data


def open_raw(dst: str, source: str | None = None, ttl: int | None = None, dont_fragment: bool = False) -> socket.socket:
    """Return a raw ICMP socket of the destination's family."""
    six = family_of(dst) == socket.AF_INET6
    opened = socket.socket(family_of(dst), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    if source:
        opened.bind((source, 0))
    if ttl is not None:
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
        opened.setsockopt(level, option, ttl)
    if dont_fragment:
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    return opened


def read(packet: bytes, six: bool) -> tuple[int, int, bytes]:
    """Return type, code and message of a received packet; IPv4 raw sockets hand over the IP header too."""
    message = packet if six else packet[(packet[0] & 15) * 4 :]
    return message[0], message[1], message


async def probe(
    dst: str,
    kind: int | None = None,
    code: int = 0,
    timeout: float = 0.5,
    source: str | None = None,
    size: int = 56,
    ttl: int | None = None,
    dont_fragment: bool = False,
) -> dict[str, Any]:
    """Send one request (echo, if no type is given) and wait for its reply or for an error about it."""
    six, started = family_of(dst) == socket.AF_INET6, time.monotonic()
    kind = kind if kind is not None else (ECHO6 if six else 8)
    identifier = next_identifier()
    with contextlib.closing(open_raw(dst, source, ttl, dont_fragment)) as opened:
        try:
            await asyncio.get_running_loop().sock_sendto(opened, request(kind, code, identifier, 1, size), (dst, 0))
            while (left := started + timeout - time.monotonic()) > 0:
                packet, peer = await receive(opened, left)
                found = _judge(read(packet, six), six, kind, identifier)
                if found:
                    return {**found, "seen_from": peer[0], "seconds": time.monotonic() - started}
        except OSError as error:
            return verdict_of(error)
    return {"verdict": "timeout"}


def _judge(received: tuple[int, int, bytes], six: bool, kind: int, identifier: int) -> dict[str, Any] | None:
    """Return the verdict if this message is about our request."""
    got, code, message = received
    wanted = ECHO_REPLY6 if six else REPLIES.get(kind)
    if got == wanted and message[4:6] == identifier.to_bytes(2, "big"):
        return {"verdict": "open"}
    errors = ERRORS6 if six else ERRORS
    inner = message[8:]
    if got not in errors or not inner:
        return None
    header = 40 if six else (inner[0] & 15) * 4
    if inner[header + 4 : header + 6] != identifier.to_bytes(2, "big"):
        return None
    return {"verdict": "unreachable", "detail": f"{errors[got]}, code {code}"}
