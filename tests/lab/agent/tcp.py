# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""TCP: connect to one port or to many, and serve with a banner that says who answered whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from typing import Any

from tests.lab.agent.sockets import NAME, open_socket, verdict_of

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds
_servers: dict[tuple[str | None, int], asyncio.Server] = {}


async def probe(
    dst: str, port: int, source: str | None = None, source_port: int = 0, timeout: float = 0.5, banner: bool = True
) -> dict[str, Any]:
    """Connect, read the banner, and hang up with a reset, so that no TIME_WAIT holds the source port."""
    loop, started = asyncio.get_running_loop(), time.monotonic()
    with contextlib.closing(open_socket(socket.SOCK_STREAM, dst, source, source_port)) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            await asyncio.wait_for(loop.sock_connect(opened, (dst, port)), timeout)
        except OSError as error:
            return verdict_of(error)
        found: dict[str, Any] = {"verdict": "open", "seconds": time.monotonic() - started}
        if banner:
            found |= await _read_banner(opened, timeout)
        return found


async def _read_banner(opened: socket.socket, timeout: float) -> dict[str, Any]:
    """Return what our own servers say of themselves; of others, the first bytes."""
    received = b""
    try:
        while b"\n" not in received and len(received) < 4096:
            chunk = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(opened, 4096), timeout)
            if not chunk:
                break
            received += chunk
    except TimeoutError:
        return {"detail": "no banner"}
    except OSError as error:
        return verdict_of(error)
    if received.startswith(b'{"server"'):
        said: dict[str, Any] = json.loads(received.split(b"\n")[0])
        return said
    return {"detail": received[:200].decode(errors="replace")}


async def scan(dst: str, ports: list[list[int]], timeout: float = 0.5, concurrency: int = 1000) -> dict[str, Any]:
    """Connect to ranges of ports, each ``[first, last]``; return the ports by verdict, silent ones only counted."""
    gate = asyncio.Semaphore(concurrency)

    async def one(port: int) -> tuple[int, str]:
        async with gate:
            return port, (await probe(dst, port, timeout=timeout, banner=False))["verdict"]

    results = await asyncio.gather(*(one(port) for first, last in ports for port in range(first, last + 1)))
    found: dict[str, Any] = {"open": [], "refused": [], "unreachable": [], "reset": [], "timeout": 0}
    for port, verdict in results:
        if verdict == "timeout":
            found["timeout"] += 1
        else:
            found[verdict].append(port)
    return found


async def serve(ports: list[int], address: str | None = None) -> dict[str, Any]:
    """Listen on ports, on all addresses or on one; a port that is served already stays served."""
    for port in ports:
        if (address, port) not in _servers:
            _servers[address, port] = await asyncio.start_server(_welcome, address, port, backlog=512)
    return {"ports": len(ports)}


async def _welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say who is here and who is seen, then echo."""
    peer, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    said = {"server": NAME, "port": local[1], "seen_from": peer[0], "seen_port": peer[1], "seen_at": local[0]}
    try:
        writer.write(json.dumps(said).encode() + b"\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        # The client hung up with a reset, as our probes do: there is nobody left to tell.
        return
    finally:
        writer.close()
