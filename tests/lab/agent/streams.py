# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traffic that goes on while a test does something else, and what it lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.lab.agent import dhcp, icmp
from tests.lab.agent.packets import mac_of
from tests.lab.agent.sockets import family_of, open_socket

STRAGGLERS = 2.0  # seconds that the last replies may take, on a busy machine
RENEWAL_PATIENCE = 5.0  # seconds: a client renews at half the time of its lease
MESSAGE = 16  # bytes of one message of a TCP stream

_handles = itertools.count(1)
_running: dict[int, Callable[[float], Awaitable[dict[str, Any]]]] = {}


async def stop(handle: int, patience: float = STRAGGLERS) -> dict[str, Any]:
    """Send no more, wait for what is still under way, ``patience`` seconds at most, and return the figures."""
    return await _running.pop(handle)(patience)


def _keep(finish: Callable[[float], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    handle = next(_handles)
    _running[handle] = finish
    return {"handle": handle}


def longest_gap(times: list[float]) -> float:
    """Return the longest time between two neighbours, in seconds."""
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


async def start_ping(dst: str, interval: float = 0.01, source: str | None = None) -> dict[str, Any]:
    """Ping every ``interval`` seconds until stopped."""
    stream = _PingStream(dst, source)
    asyncio.get_running_loop().add_reader(stream.socket, stream.take)
    task = asyncio.create_task(stream.send(interval))

    async def finish(patience: float) -> dict[str, Any]:
        task.cancel()
        deadline = time.monotonic() + patience
        while len(stream.received) < len(stream.sent) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().remove_reader(stream.socket)
        stream.socket.close()
        return stream.figures()

    return _keep(finish)


class _PingStream:
    """Remember when each ping left and when its first reply came, by sequence number."""

    def __init__(self, dst: str, source: str | None) -> None:
        self.dst, self.six = dst, family_of(dst) == socket.AF_INET6
        self.socket, self.identifier = icmp.open_raw(dst, source), icmp.next_identifier()
        self.sent: dict[int, float] = {}
        self.received: dict[int, float] = {}

    def take(self) -> None:
        """Take all replies that are there."""
        wanted = icmp.ECHO_REPLY6 if self.six else 0
        with contextlib.suppress(BlockingIOError):
            while True:
                kind, _, message = icmp.read(self.socket.recv(2048), self.six)
                if kind == wanted and message[4:6] == self.identifier.to_bytes(2, "big"):
                    self.received.setdefault(int.from_bytes(message[6:8], "big"), time.monotonic())

    async def send(self, interval: float) -> None:
        """Send pings until all sequence numbers are used up, eleven minutes at 10 ms."""
        for sequence in range(1, 65536):
            self.sent[sequence] = time.monotonic()
            # A full or refusing path loses this ping: it is counted as lost, the stream goes on.
            with contextlib.suppress(OSError):
                message = icmp.request(icmp.ECHO6 if self.six else 8, 0, self.identifier, sequence, 32)
                self.socket.sendto(message, (self.dst, 0))
            await asyncio.sleep(interval)

    def figures(self) -> dict[str, Any]:
        """Return what a test asserts on; times are in seconds."""
        return {
            "sent": len(self.sent),
            "received": len(self.received),
            "lost": sorted(set(self.sent) - set(self.received)),
            "longest_gap": longest_gap(sorted(self.received.values())),
            "longest_send_gap": longest_gap(list(self.sent.values())),
        }


async def start_renewals(server: str, nic: str = "eth0", interval: float = 0.01) -> dict[str, Any]:
    """Renew the lease of this host's first address every ``interval`` seconds until stopped, as RFC 2131 4.4.5 says."""
    stream = _RenewalStream(server, nic)
    asyncio.get_running_loop().add_reader(stream.socket, stream.take)
    task = asyncio.create_task(stream.send(interval))

    async def finish(patience: float) -> dict[str, Any]:
        task.cancel()
        deadline = time.monotonic() + max(patience, RENEWAL_PATIENCE)
        while stream.open and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().remove_reader(stream.socket)
        stream.socket.close()
        return {"sent": stream.sent, "lost": len(stream.open)}

    return _keep(finish)


class _RenewalStream:
    """Remember which requests to renew were not acknowledged, by transaction."""

    def __init__(self, server: str, nic: str) -> None:
        self.server, self.mac, self.sent, self.open = server, mac_of(nic), 0, set[int]()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("0.0.0.0", 68))
        self.socket.connect((server, 67))

    def take(self) -> None:
        """Take all answers that are there."""
        with contextlib.suppress(BlockingIOError):
            while True:
                message = self.socket.recv(2048)
                if dhcp.decode(message).get("kind") == "ack":
                    self.open.discard(int.from_bytes(message[4:8], "big"))

    async def send(self, interval: float) -> None:
        """Send requests, for ever."""
        own, due = self.socket.getsockname()[0], time.monotonic()
        while True:
            self.sent += 1
            self.open.add(self.sent)
            # What cannot be sent is counted as lost, the stream goes on.
            with contextlib.suppress(OSError):
                self.socket.send(dhcp.encode("request", self.sent, self.mac, own, False, {}))
            due += interval
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def start_tcp(
    dst: str, port: int, interval: float = 0.01, source: str | None = None, timeout: float = 1.0
) -> dict[str, Any]:
    """Connect to one of our servers and echo numbered messages every ``interval`` seconds until stopped."""
    loop = asyncio.get_running_loop()
    opened = open_socket(socket.SOCK_STREAM, dst, source, 0)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.wait_for(loop.sock_connect(opened, (dst, port)), timeout)
    reader, writer = await asyncio.open_connection(sock=opened)
    await asyncio.wait_for(reader.readline(), timeout)  # the banner
    stream = _TcpStream(reader, writer)
    tasks = [asyncio.create_task(stream.send(interval)), asyncio.create_task(stream.take())]

    async def finish(patience: float) -> dict[str, Any]:
        tasks[0].cancel()
        deadline = time.monotonic() + patience
        while len(stream.received) < stream.sent and not stream.error and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        tasks[1].cancel()
        writer.transport.abort()
        return stream.figures()

    return _keep(finish)


class _TcpStream:
    """Count what one connection sent and got back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent, self.error = 0, ""
        self.received: list[float] = []

    async def send(self, interval: float) -> None:
        """Send numbered messages, for ever."""
        while not self.error:
            self.writer.write(b"%0*d" % (MESSAGE, self.sent))
            self.sent += 1
            await asyncio.sleep(interval)

    async def take(self) -> None:
        """Take the echoes, and check that they are what was sent, in order."""
        try:
            while True:
                data = await self.reader.readexactly(MESSAGE)
                if int(data) != len(self.received):
                    self.error = f"message {len(self.received)}: got {data!r}"
                    return
                self.received.append(time.monotonic())
        except asyncio.IncompleteReadError:
            self.error = "the server hung up"
        except OSError as error:
            self.error = str(error)

    def figures(self) -> dict[str, Any]:
        """Return what a test asserts on; times are in seconds."""
        return {
            "sent": self.sent,
            "received": len(self.received),
            "error": self.error,
            "longest_stall": longest_gap(self.received),
        }
