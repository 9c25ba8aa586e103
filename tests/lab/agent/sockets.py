# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all probes share: the identity of this host, verdicts, sockets for either family."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

# The name of the host this process stands in for; servers answer with it.
NAME = sys.argv[1] if len(sys.argv) > 1 else "?"
MAX_DATAGRAM = 65535


def family_of(address: str) -> socket.AddressFamily:
    """Return the address family of a literal address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def verdict_of(error: OSError) -> dict[str, Any]:
    """Say what a failed connection or datagram means for a firewall test."""
    name = errno.errorcode.get(error.errno or 0, str(error))
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return {"verdict": "timeout"}
    if error.errno == errno.ECONNREFUSED:
        return {"verdict": "refused"}
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return {"verdict": "reset", "detail": name}
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ENOPROTOOPT):
        return {"verdict": "unreachable", "detail": name}
    raise error


def open_socket(kind: int, destination: str, source: str | None, source_port: int) -> socket.socket:
    """Return a socket towards a destination, bound to a source if one is asked for."""
    opened = socket.socket(family_of(destination), kind)
    opened.setblocking(False)
    if source or source_port:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((source or ("::" if ":" in destination else "0.0.0.0"), source_port))
    return opened


async def receive(opened: socket.socket, timeout: float, size: int = MAX_DATAGRAM) -> tuple[bytes, Any]:
    """Wait for one datagram or packet; TimeoutError after ``timeout`` seconds."""
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(opened, size), timeout)


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
