# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Frames and packets below TCP and UDP: ARP, any IP protocol, and waiting for a packet that holds a token."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.lab.agent.sockets import family_of, receive, verdict_of

ETH_P_ALL, ETH_P_ARP = 3, 0x0806
VRRP, VRRP_GROUP = 112, "224.0.0.18"
SIOCGIFHWADDR = 0x8927
BROADCAST = b"\xff" * 6
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
MARK, NUMBER = b"[lab frame ", 8
"""What is before the number of a marked frame, and the length of that number."""

_handles = itertools.count(1)
_waiting: dict[int, tuple[socket.socket, bytes]] = {}
_marked: dict[int, tuple[socket.socket, set[str]]] = {}
_flooding: dict[int, asyncio.Task[int]] = {}
_watching: dict[int, tuple[socket.socket, list[dict[str, Any]]]] = {}


def open_link(protocol: int, nic: str | None = None) -> socket.socket:
    """Return a packet socket for whole frames, on one NIC or on all."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    opened.setblocking(False)
    if nic:
        opened.bind((nic, protocol))
    return opened


def mac_of(nic: str) -> bytes:
    """Return a NIC's hardware address."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        request = struct.pack("256s", nic.encode())
        return fcntl.ioctl(asked.fileno(), SIOCGIFHWADDR, request)[18:24]


async def arp(ip: str, nic: str = "eth0", source: str = "0.0.0.0", timeout: float = 0.5) -> dict[str, Any]:
    """Ask who has an address; all that answer within the time, by MAC. From 0.0.0.0 it is a probe (RFC 5227)."""
    ours, found, deadline = mac_of(nic), set(), time.monotonic() + timeout
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + ours + socket.inet_aton(source) + bytes(6) + socket.inet_aton(ip)
    with contextlib.closing(open_link(ETH_P_ARP, nic)) as opened:
        opened.send(BROADCAST + ours + struct.pack("!H", ETH_P_ARP) + body)
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame, _ = await receive(opened, left)
            except TimeoutError:
                break
            seen = _read_arp(frame)
            if seen["operation"] == "reply" and seen["sender"] == ip:
                found.add(seen["mac"])
    return {"verdict": "open" if found else "timeout", "macs": sorted(found)}


def _read_arp(frame: bytes) -> dict[str, Any]:
    operation = int.from_bytes(frame[20:22], "big")
    return {
        "operation": {1: "request", 2: "reply"}.get(operation, str(operation)),
        "mac": frame[22:28].hex(":"),
        "sender": socket.inet_ntoa(frame[28:32]),
        "target": socket.inet_ntoa(frame[38:42]),
        "time": time.monotonic(),
    }


def _read_vrrp(packet: bytes) -> dict[str, Any]:
    """Return sender and priority of an advertisement (RFC 5798, section 5.1)."""
    message = packet[(packet[0] & 15) * 4 :]
    return {"sender": socket.inet_ntoa(packet[12:16]), "priority": message[2], "time": time.monotonic()}


def _watch(opened: socket.socket, read: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []
    handle = next(_handles)
    _watching[handle] = (opened, seen)
    asyncio.get_running_loop().add_reader(opened, lambda: seen.append(read(opened.recv(2048))))
    return {"handle": handle}


async def start_arp_watch(nic: str = "eth0") -> dict[str, Any]:
    """Note every ARP packet that this NIC sees from now on."""
    return _watch(open_link(ETH_P_ARP, nic), _read_arp)


async def start_vrrp_watch(nic: str = "eth0") -> dict[str, Any]:
    """Note every advertisement of a virtual router that this NIC sees from now on."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP)
    opened.setblocking(False)
    group = struct.pack("4s4si", socket.inet_aton(VRRP_GROUP), bytes(4), socket.if_nametoindex(nic))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    return _watch(opened, _read_vrrp)


async def watched(handle: int) -> dict[str, Any]:
    """Return what a watch has seen so far, in order."""
    return {"seen": _watching[handle][1]}


async def stop_watch(handle: int) -> dict[str, Any]:
    """End a watch, and return what it has seen, in order."""
    opened, seen = _watching.pop(handle)
    asyncio.get_running_loop().remove_reader(opened)
    opened.close()
    return {"seen": seen}


async def send_raw(dst: str, protocol: int, payload: str, source: str | None = None) -> dict[str, Any]:
    """Send one packet of an IP protocol by its number; ``payload`` is hexadecimal, the kernel writes the IP header.

    It writes none for 0 and 255, which mean something else to it (raw(7)); for IPv4 they get one here.
    """
    content, opener = bytes.fromhex(payload), protocol
    if protocol in (0, socket.IPPROTO_RAW):
        content, opener = _ipv4_header(dst, protocol) + content, socket.IPPROTO_RAW
    with contextlib.closing(socket.socket(family_of(dst), socket.SOCK_RAW, opener)) as opened:
        opened.setblocking(False)
        if source:
            opened.bind((source, 0))
        try:
            await asyncio.get_running_loop().sock_sendto(opened, content, (dst, 0))
        except OSError as error:
            return verdict_of(error)
    return {"verdict": "sent"}


async def record(seconds: float, port: int, nic: str = "eth0") -> dict[str, Any]:
    """Return the frames (hexadecimal) of all UDP datagrams to a port that this NIC sees, for a while."""
    found, deadline = [], time.monotonic() + seconds
    with contextlib.closing(open_link(ETH_P_ALL, nic)) as opened:
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                frame, _ = await receive(opened, left)
                if (
                    frame[12:14] == b"\x08\x00"
                    and frame[23] == socket.IPPROTO_UDP
                    and frame[36:38] == port.to_bytes(2, "big")
                ):
                    found.append(frame.hex())
    return {"frames": found}


async def start_flood(frames: list[str], rate: float, nic: str = "eth0") -> dict[str, Any]:
    """Send whole frames (hexadecimal), whatever their source, one after the other and over again, `rate` per second."""
    opened, contents = open_link(ETH_P_ALL, nic), itertools.cycle(map(bytes.fromhex, frames))
    handle = next(_handles)
    _flooding[handle] = asyncio.create_task(_flood(opened, contents, rate))
    return {"handle": handle}


async def _flood(opened: socket.socket, contents: Iterator[bytes], rate: float) -> int:
    sent, started = 0, time.monotonic()
    with contextlib.closing(opened), contextlib.suppress(asyncio.CancelledError):
        while True:
            while sent < (time.monotonic() - started) * rate:
                opened.send(next(contents))
                sent += 1
            await asyncio.sleep(0.01)
    return sent


async def stop_flood(handle: int) -> dict[str, Any]:
    """End a flood, and return how many frames were sent."""
    task = _flooding.pop(handle)
    task.cancel()
    return {"sent": await task}


def _ipv4_header(dst: str, protocol: int) -> bytes:
    """Return a header without what the kernel fills in: length, identification, source and checksum (raw(7))."""
    return bytes([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0]) + socket.inet_aton(dst)


async def start_expecting(token: str) -> dict[str, Any]:
    """Listen, from before this returns, for incoming packets that hold the hexadecimal token."""
    handle = next(_handles)
    _waiting[handle] = (open_link(ETH_P_ALL), bytes.fromhex(token))
    return {"handle": handle}


async def finish_expecting(handle: int, timeout: float = 0.5) -> dict[str, Any]:
    """Wait for the packet, and say what it looked like when it arrived."""
    opened, token = _waiting.pop(handle)
    deadline = time.monotonic() + timeout
    with contextlib.closing(opened):
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame, (_, _, direction, *_) = await receive(opened, left)
            except TimeoutError:
                break
            if token in frame and direction != socket.PACKET_OUTGOING:
                return {"verdict": "open", **_addresses(frame)}
    return {"verdict": "timeout"}


def _addresses(frame: bytes) -> dict[str, Any]:
    """Return source, destination and protocol of an IP packet in an Ethernet frame."""
    packet = frame[14:]
    if packet[0] >> 4 == 6:
        ends = (socket.inet_ntop(socket.AF_INET6, packet[i : i + 16]) for i in (8, 24))
        return dict(zip(("seen_from", "seen_at"), ends, strict=True)) | {"protocol": packet[6]}
    ends = (socket.inet_ntoa(packet[i : i + 4]) for i in (12, 16))
    return dict(zip(("seen_from", "seen_at"), ends, strict=True)) | {"protocol": packet[9]}


async def send_marked(frames: list[list[Any]], nic: str = "eth0") -> dict[str, Any]:
    """Send TCP SYNs that carry a number of 8 characters: each is (MAC to, source, destination, port, number).

    They are written as whole frames, so the source may be any address (RFC 9293, section 3.4, allows data in a SYN).
    """
    ours = mac_of(nic)
    with contextlib.closing(open_link(ETH_P_ALL, nic)) as opened:
        for mac, source, destination, port, number in frames:
            ends = socket.inet_aton(source) + socket.inet_aton(destination)
            packet = _syn(ends, 20000 + int(number) % 40000, port, MARK + number.encode())
            opened.send(bytes.fromhex(mac.replace(":", "")) + ours + b"\x08\x00" + packet)
            await asyncio.sleep(0.0005)
    return {"sent": len(frames)}


def _syn(ends: bytes, source_port: int, port: int, data: bytes) -> bytes:
    """Return an IPv4 packet (RFC 791) with a SYN and its checksums; `ends` are source and destination."""
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 8192, 0, 0) + data
    checksum = _checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", checksum) + tcp[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + tcp


def _checksum(content: bytes) -> int:
    """Return the checksum of the internet (RFC 1071)."""
    padded = content + b"\0" * (len(content) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def start_marked_watch() -> dict[str, Any]:
    """Note the numbers of marked frames that come in by any NIC from now on."""
    opened, seen = open_link(ETH_P_ALL), set[str]()
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    handle = next(_handles)
    _marked[handle] = (opened, seen)

    def note() -> None:
        _before, found, after = opened.recv(2048).partition(MARK)
        if found:
            seen.add(after[:NUMBER].decode())

    asyncio.get_running_loop().add_reader(opened, note)
    return {"handle": handle}


async def stop_marked_watch(handle: int) -> dict[str, Any]:
    """End the watch, and return the numbers."""
    opened, seen = _marked.pop(handle)
    asyncio.get_running_loop().remove_reader(opened)
    opened.close()
    return {"numbers": sorted(seen)}
