# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fill a connection table with as many entries as a busy router has: 100,000 take four seconds, without a packet."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread
from typing import TypeVar

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.connections import attribute, message

CREATE = 0x100
CREATE_EXCLUSIVELY = 0x601
NESTED = 0x8000
BATCH = 100
CLONE_NEWNET = 0x40000000
Found = TypeVar("Found")


@dataclass(frozen=True)
class Wanted:
    """An entry: the original direction, where it is answered from, and to."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    source_port: int
    port: int
    answering: IPv4Address
    answered: IPv4Address
    answering_port: int
    mark: int = 0
    timeout: int = 3000

    def request(self) -> bytes:
        """Return the request that creates it."""
        original = self._tuple(self.source, self.destination, self.source_port, self.port)
        reply = self._tuple(self.answering, self.answered, self.answering_port, self.source_port)
        body = attribute(1 | NESTED, original) + attribute(2 | NESTED, reply)
        body += attribute(7, struct.pack(">I", self.timeout)) + attribute(3, struct.pack(">I", 0xE))
        body += attribute(8, struct.pack(">I", self.mark))
        if self.protocol == socket.IPPROTO_TCP:
            body += attribute(4 | NESTED, attribute(1 | NESTED, attribute(1, b"\3")))
        return message(CREATE, CREATE_EXCLUSIVELY | 4, 0, body)

    def _tuple(self, source: IPv4Address, destination: IPv4Address, source_port: int, port: int) -> bytes:
        ends = attribute(1, source.packed) + attribute(2, destination.packed)
        if self.protocol == socket.IPPROTO_ICMP:
            kind = self.port if port == self.port else 0
            ident = attribute(4, struct.pack(">H", self.source_port))
            ports = ident + attribute(5, bytes((kind,))) + attribute(6, b"\0")
        elif self.protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            ports = attribute(2, struct.pack(">H", source_port)) + attribute(3, struct.pack(">H", port))
        else:
            ports = b""
        return attribute(1 | NESTED, ends) + attribute(2 | NESTED, attribute(1, bytes((self.protocol,))) + ports)


def fill(wanted: Iterable[Wanted]) -> int:
    """Create entries in this namespace and return how many; OSError for one that the kernel does not take."""
    count = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:
        kernel.settimeout(10)
        requests = [entry.request() for entry in wanted]
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            kernel.send(b"".join(batch))
            for _answer in batch:
                code = struct.unpack_from("=i", kernel.recv(4096), 16)[0]
                if code:
                    raise OSError(-code, os.strerror(-code))
                count += 1
    return count


def inside(namespace: Path, work: Callable[[], Found]) -> Found:
    """Return what some work returns in a network namespace: a thread enters it, and its sockets stay there."""
    found: list[Found | BaseException] = []

    def enter() -> None:
        try:
            with namespace.open() as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"{namespace}: {os.strerror(ctypes.get_errno())}")
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
            found.append(error)

    thread = Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]
