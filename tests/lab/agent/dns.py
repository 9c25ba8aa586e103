# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A DNS client for tests (RFC 1035): one question, over UDP or TCP, and what the server says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Any

from tests.lab.agent.sockets import open_socket, receive, verdict_of

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def encode(identifier: int, name: str, kind: str) -> bytes:
    """Return a query that asks for recursion."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split(".") if label)
    head = struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack("!HH", TYPES[kind], 1)


def read_name(message: bytes, at: int) -> tuple[str, int]:
    """Return a name and where it ends, following compression."""
    labels, end = [], None
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + message[at]].decode(errors="replace"))
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def decode(message: bytes) -> dict[str, Any]:
    """Return the response code and the answers as ``[name, type, ttl, value]``."""
    flags, questions, count = struct.unpack("!HHH", message[2:8])
    at = 12
    for _ in range(questions):
        at = read_name(message, at)[1] + 4
    answers = []
    for _ in range(count):
        name, at = read_name(message, at)
        kind, _, ttl, size = struct.unpack("!HHIH", message[at : at + 10])
        answers.append([name, _type_name(kind), ttl, _value(message, at + 10, size, kind)])
        at += 10 + size
    return {"code": CODES.get(flags & 15, str(flags & 15)), "authoritative": bool(flags & 0x400), "answers": answers}


def _type_name(kind: int) -> str:
    return next((name for name, number in TYPES.items() if number == kind), str(kind))


def _value(message: bytes, at: int, size: int, kind: int) -> str:
    data = message[at : at + size]
    if kind == TYPES["A"]:
        return socket.inet_ntoa(data)
    if kind == TYPES["AAAA"]:
        return socket.inet_ntop(socket.AF_INET6, data)
    if kind in (TYPES["NS"], TYPES["CNAME"], TYPES["PTR"]):
        return read_name(message, at)[0]
    return data.hex()


async def query(
    server: str, name: str, kind: str = "A", tcp: bool = False, timeout: float = 1.0, port: int = 53
) -> dict[str, Any]:
    """Ask one server one question."""
    identifier = int.from_bytes(os.urandom(2), "big")
    message = encode(identifier, name, kind)
    ask = _over_tcp if tcp else _over_udp
    try:
        return {"verdict": "open", **decode(await ask(server, port, message, timeout))}
    except OSError as error:
        return verdict_of(error)


async def _over_udp(server: str, port: int, message: bytes, timeout: float) -> bytes:
    with contextlib.closing(open_socket(socket.SOCK_DGRAM, server, None, 0)) as opened:
        opened.connect((server, port))
        opened.send(message)
        return (await receive(opened, timeout))[0]


async def _over_tcp(server: str, port: int, message: bytes, timeout: float) -> bytes:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(server, port), timeout)
    try:
        writer.write(struct.pack("!H", len(message)) + message)
        size = await asyncio.wait_for(reader.readexactly(2), timeout)
        return await asyncio.wait_for(reader.readexactly(int.from_bytes(size, "big")), timeout)
    finally:
        writer.close()
