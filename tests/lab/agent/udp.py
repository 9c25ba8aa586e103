# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""UDP: one datagram and its answer, and a server that answers from the address it was asked at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import Any

from tests.lab.agent.sockets import MAX_DATAGRAM, NAME, open_socket, verdict_of

# linux/in.h; the socket module of Python 3.11 has no name for it.
IP_PKTINFO = 8
_servers: dict[tuple[str, int], socket.socket] = {}


async def probe(
    dst: str, port: int, source: str | None = None, source_port: int = 0, timeout: float = 0.5, tries: int = 2
) -> dict[str, Any]:
    """Send a datagram, again if it is not answered, and return what the server says of itself."""
    loop, started = asyncio.get_running_loop(), time.monotonic()
    with contextlib.closing(open_socket(socket.SOCK_DGRAM, dst, source, source_port)) as opened:
        opened.connect((dst, port))
        for _ in range(tries):
            try:
                await loop.sock_sendall(opened, b"probe")
                received = await asyncio.wait_for(loop.sock_recv(opened, MAX_DATAGRAM), timeout / tries)
            except TimeoutError:
                continue
            except OSError as error:
                return verdict_of(error)
            return {"verdict": "open", "seconds": time.monotonic() - started, **json.loads(received)}
    return {"verdict": "timeout"}


async def serve(ports: list[int]) -> dict[str, Any]:
    """Listen on ports in both families; a port that is served already stays served."""
    for port in ports:
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            if (anywhere, port) not in _servers:
                _servers[anywhere, port] = _open_server(family, anywhere, port)
    return {"ports": len(ports)}


def _open_server(family: socket.AddressFamily, anywhere: str, port: int) -> socket.socket:
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.setblocking(False)
    # A host has several addresses: the answer must come from the one that was asked, which only this tells.
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind((anywhere, port))
    asyncio.get_running_loop().add_reader(server, _respond, server, port)
    return server


def _respond(server: socket.socket, port: int) -> None:
    """Answer one datagram with who is here and who is seen."""
    data, ancillary, _, peer = server.recvmsg(MAX_DATAGRAM, 256)
    said = {"server": NAME, "port": port, "seen_from": peer[0], "seen_port": peer[1], "bytes": len(data)}
    info = []
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP:
            # struct in_pktinfo: interface, address to answer from, address asked. Interface 0: let routing choose.
            said["seen_at"] = socket.inet_ntop(socket.AF_INET, value[8:12])
            info = [(level, kind, bytes(4) + value[8:12] + bytes(4))]
        else:
            said["seen_at"] = socket.inet_ntop(socket.AF_INET6, value[:16])
            info = [(level, kind, value)]
    server.sendmsg([json.dumps(said).encode()], info, 0, peer)
