# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A DHCP client for tests (RFC 2131): any MAC, any options, answers in full; it configures nothing."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import time
from typing import Any

from tests.lab.agent.packets import BROADCAST, mac_of, open_link
from tests.lab.agent.sockets import checksum, receive

ETH_P_IP = 0x0800
COOKIE = bytes((99, 130, 83, 99))
KINDS = {"discover": 1, "request": 3, "decline": 4, "release": 7, "inform": 8}
ANSWERS = {2: "offer", 5: "ack", 6: "nak"}
# Options (RFC 2132, RFC 3397, RFC 3442) by how their values read; any other is given in hexadecimal.
ADDRESSES = {1: "mask", 3: "routers", 6: "dns", 28: "broadcast", 42: "ntp", 50: "requested", 54: "server"}
TEXTS = {12: "host_name", 15: "domain", 56: "message", 67: "boot_file"}
NUMBERS = {26: "mtu", 51: "lease", 58: "renewal", 59: "rebinding"}
ASKED = (1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 114, 119, 121)


def encode(kind: str, xid: int, mac: bytes, ciaddr: str, broadcast: bool, options: dict[int, bytes]) -> bytes:
    """Return a BOOTP message of a client."""
    flags = 0x8000 if broadcast else 0
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, xid, 0, flags) + socket.inet_aton(ciaddr) + bytes(12)
    body = COOKIE + bytes((53, 1, KINDS[kind]))
    for code, value in sorted(options.items()):
        body += bytes((code, len(value))) + value
    return (head + mac + bytes(10 + 64 + 128) + body + b"\xff").ljust(300, b"\0")


def frame(mac: bytes, source: str, destination: str, to_mac: bytes, payload: bytes) -> bytes:
    """Return an Ethernet frame with a UDP datagram from port 68 to port 67 (its checksum left out, as UDP allows)."""
    datagram = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
    header = header[:10] + struct.pack("!H", checksum(header + ends)) + ends
    return to_mac + mac + struct.pack("!H", ETH_P_IP) + header + datagram


def decode(message: bytes) -> dict[str, Any]:
    """Return what a server's message says; options by name, unknown ones as ``option_<code>`` in hexadecimal."""
    found: dict[str, Any] = {
        "address": socket.inet_ntoa(message[16:20]),
        "next_server": socket.inet_ntoa(message[20:24]),
    }
    at = 240
    while at + 1 < len(message) and message[at] != 255:
        code, size = message[at], message[at + 1]
        if code == 0:
            at += 1
            continue
        value, at = message[at + 2 : at + 2 + size], at + 2 + size
        found |= _option(code, value)
    return found


def _option(code: int, value: bytes) -> dict[str, Any]:
    if code == 53:
        return {"kind": ANSWERS.get(value[0], str(value[0]))}
    if code in ADDRESSES:
        return {ADDRESSES[code]: [str(ipaddress.ip_address(value[i : i + 4])) for i in range(0, len(value), 4)]}
    if code in TEXTS:
        return {TEXTS[code]: value.decode(errors="replace")}
    if code in NUMBERS:
        return {NUMBERS[code]: int.from_bytes(value, "big")}
    return {f"option_{code}": value.hex()}


def message_of(packet: bytes, xid: int) -> bytes | None:
    """Return the BOOTP message of a frame if it is a server's answer to this exchange."""
    header = 14 + (packet[14] & 15) * 4
    if packet[23] != socket.IPPROTO_UDP or packet[header : header + 4] != struct.pack("!HH", 67, 68):
        return None
    message = packet[header + 8 :]
    return message if message[0] == 2 and message[4:8] == struct.pack("!I", xid) else None


async def exchange(
    kind: str = "discover",
    mac: str | None = None,
    nic: str = "eth0",
    ciaddr: str = "0.0.0.0",
    options: dict[str, str] | None = None,
    asked: list[int] | None = None,
    broadcast: bool = False,
    unicast: list[str] | None = None,
    timeout: float = 1.0,
    wait_all: bool = False,
) -> dict[str, Any]:
    """Send one message and return the answers; ``options`` are ``{code: hexadecimal}``.

    ``unicast`` is ``[server's address, server's MAC]``, as a renewing client sends. A release has no answer.
    """
    ours = bytes.fromhex(mac.replace(":", "")) if mac else mac_of(nic)
    xid = int.from_bytes(os.urandom(4), "big")
    sent = {int(code): bytes.fromhex(value) for code, value in (options or {}).items()}
    if kind != "release":
        sent[55] = bytes(asked or ASKED)
    message = encode(kind, xid, ours, ciaddr, broadcast, sent)
    to, to_mac = (unicast[0], bytes.fromhex(unicast[1].replace(":", ""))) if unicast else ("255.255.255.255", BROADCAST)
    answers: list[dict[str, Any]] = []
    deadline = time.monotonic() + timeout
    with contextlib.closing(open_link(ETH_P_IP, nic)) as opened:
        # A VM's own MAC need not be this NIC's: what the switch would hand to it must be seen here too.
        _be_promiscuous(opened, nic)
        opened.send(frame(ours, ciaddr, to, to_mac, message))
        while kind != "release" and (left := deadline - time.monotonic()) > 0 and (wait_all or not answers):
            try:
                packet, _ = await receive(opened, left)
            except TimeoutError:
                break
            found = message_of(packet, xid)
            if found:
                answers.append(decode(found))
    return {"verdict": "open" if answers else "timeout", "answers": answers}


def _be_promiscuous(opened: socket.socket, nic: str) -> None:
    membership = struct.pack("iHH8s", socket.if_nametoindex(nic), 1, 0, b"")  # PACKET_MR_PROMISC, packet(7)
    opened.setsockopt(263, 1, membership)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
