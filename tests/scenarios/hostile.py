# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VM that speaks like a router of the pair: elections, connection states, passwords, and ARP for every address.

HOSTILE_SECONDS of the environment is how long it does.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.lab.agent.sockets import checksum
from tests.lab.host import Host
from tests.lab.podman import LIMITS
from tests.lab.process import LabError, run, wait_for
from tests.lab.router import Router
from tests.scenarios.pair import Pair

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "16"))
RATE = 2000.0
"""Frames per second of one VM; a pair advertises four times in each."""
VICTIM, VICTIMS_PORT = "203.0.113.66", 22
"""Where the connections of the states that are smuggled in would come from, and which port they would open."""
STATES_MADE = 20
CONNTRACKD = "/etc/conntrackd/conntrackd.conf"
ELECTIONS, STATES = "224.0.0.18", "225.0.0.50"
PRIORITIES = (255, 254, 253, 252, 1, 0)


@dataclass(frozen=True)
class Identity:
    """As whom a VM sends: any MAC and address, its own or not."""

    mac: str
    ip: str


def frames(who: Identity, vrrp_id: int, shared: str, moving: Iterable[str]) -> list[str]:
    """Return one frame of each kind, hexadecimal, as somebody sends it; `moving` are the addresses of the pair."""
    found = [_ip(who, ELECTIONS, 112, _version_3(who, vrrp_id, priority, shared)) for priority in PRIORITIES]
    found += [_ip(who, ELECTIONS, 112, _version_2(vrrp_id, priority, shared)) for priority in PRIORITIES]
    news = json.dumps({"address": shared, "salt": "00" * 16, "proof": "00" * 32}).encode()
    # An acknowledgement, and a state, of a version that conntrackd would look into; a question of who is a member.
    found += [_ip(who, STATES, 17, _udp(port, content)) for port, content in ((3781, news), (3780, b"\x00" * 64))]
    found += [_ip(who, "224.0.0.1", 2, b"\x11\x64\xee\x9b\x00\x00\x00\x00")]
    found += [_arp(who, ip) for ip in moving]
    return [frame.hex() for frame in found]


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _ip(who: Identity, dst: str, protocol: int, payload: bytes) -> bytes:
    source, target = IPv4Address(who.ip).packed, IPv4Address(dst).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 255, protocol, 0) + source + target
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    group = b"\x01\x00\x5e" + bytes([target[1] & 127]) + target[2:]
    return group + _bytes(who.mac) + b"\x08\x00" + head + payload


def _udp(port: int, content: bytes) -> bytes:
    return struct.pack("!HHHH", port, port, 8 + len(content), 0) + content


def _version_3(who: Identity, vrrp_id: int, priority: int, shared: str) -> bytes:
    body = struct.pack("!BBBBHH", 0x31, vrrp_id, priority, 1, 25, 0) + IPv4Address(shared).packed
    pseudo = IPv4Address(who.ip).packed + IPv4Address(ELECTIONS).packed + struct.pack("!BBH", 0, 112, len(body))
    return body[:6] + struct.pack("!H", checksum(pseudo + body)) + body[8:]


def _version_2(vrrp_id: int, priority: int, shared: str) -> bytes:
    body = struct.pack("!BBBBBBH", 0x21, vrrp_id, priority, 1, 0, 1, 0) + IPv4Address(shared).packed + bytes(8)
    return body[:6] + struct.pack("!H", checksum(body)) + body[8:]


def _arp(who: Identity, ip: str) -> bytes:
    owner = _bytes(who.mac) + IPv4Address(ip).packed
    return (
        b"\xff" * 6
        + _bytes(who.mac)
        + b"\x08\x06"
        + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1)
        + owner
        + bytes(6)
        + IPv4Address(ip).packed
    )


@contextmanager
def flooding(host: Host, contents: list[str]) -> Iterator[None]:
    """Send frames without end from a host."""
    handle = host.probe.call("flood", frames=contents, rate=RATE)["handle"]
    try:
        yield
    finally:
        sent = host.probe.call("flood_stop", handle=handle)["sent"]
    assert sent > RATE


@contextmanager
def connection_tracker(pair: Pair, host: Host, ip: str) -> Iterator[None]:
    """Run a real conntrackd in a VM, which tells of connections that nobody has again and again."""
    podman, name = pair.lab.podman, f"{pair.lab.prefix}{host.name}-conntrackd"
    options = ("--privileged", "--network=none", "--pids-limit=0", *LIMITS, "--name", name, "--entrypoint=sleep")
    podman.run("run", "-d", *options, pair.lab.image, 999)
    try:
        pid = podman.run("inspect", "--format={{.State.Pid}}", name).stdout.strip()
        root = f"/proc/{pid}/root"
        conf = re.sub(r"IPv4_interface .*", f"IPv4_interface {ip}", pair.primary.read(CONNTRACKD))
        conf = re.sub(r"Interface (eth|pair)0", "Interface eth0", conf)
        Path(root, CONNTRACKD[1:]).write_text(conf, encoding="ascii")
        entry = ("-p", "tcp", "-s", VICTIM, "-d", "192.0.2.10", "--dport", VICTIMS_PORT, "-t", 3600, "-u", "ASSURED")
        for port in range(4000, 4000 + STATES_MADE):
            host.run("conntrack", "-I", *entry, "--state", "ESTABLISHED", "--sport", port)
        inside = ("ip", "netns", "exec", host.namespace, "chroot", root, "conntrackd")
        daemon = subprocess.Popen([*inside, "-C", CONNTRACKD])
        try:
            wait_for(
                lambda: run(*inside, "-i", check=False).stdout.count(VICTIM) >= STATES_MADE, 10, "states in the VM"
            )
            with repeated(lambda: [run(*inside, word) for word in ("-B", "-n")], 0.5):
                yield
            sent = re.findall(r"(\d+) Bytes sent", run(*inside, "-s").stdout)
            assert max(map(int, sent)) > 10_000, "it said what it knows"
        finally:
            daemon.kill()
            daemon.wait()
    finally:
        podman.run("rm", "-f", "-t", "0", name)


@contextmanager
def repeated(act: Callable[[], object], pause: float) -> Iterator[None]:
    """Do something again and again while the block runs; what it raises is raised at the end."""
    end, failed = threading.Event(), list[BaseException]()

    def go_on() -> None:
        try:
            while not end.wait(pause):
                act()
        except Exception as error:  # noqa: BLE001  (of a thread: raised below)
            failed.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if failed:
        raise failed[0]


class Roles:
    """What each router has been, one after the other (but FAULT), and whether two were primary at one time."""

    def __init__(self, pair: Pair) -> None:
        """Begin with what they are."""
        self._routers = dict(pair.routers)
        self.seen: dict[str, list[str]] = {name: [] for name in self._routers}
        self.both: list[float] = []

    def look(self) -> None:
        """Look at all of them, which starts no process."""
        now = {name: self._role(router) for name, router in self._routers.items()}
        for name, role in now.items():
            if role not in ("", "FAULT", *self.seen[name][-1:]):
                self.seen[name].append(role)
        if list(now.values()).count("PRIMARY") > 1:
            self.both.append(time.monotonic())

    @staticmethod
    def _role(router: Router) -> str:
        """Return what its last transition wrote, nothing while it is off."""
        try:
            return Path(f"/proc/{router.pid}/root/run/cloudstack/redundancy/state").read_text(encoding="ascii").strip()
        except (LabError, OSError):
            return ""


@contextmanager
def roles_of(pair: Pair) -> Iterator[Roles]:
    """Watch the roles of a pair."""
    roles = Roles(pair)
    roles.look()
    with repeated(roles.look, 0.01):
        yield roles


def smuggled(router: Router) -> list[str]:
    """Return what a router knows of connections that only the VM told of: in the kernel, or for the next failover."""
    kernel = router.exec("conntrack", "-L", "-s", VICTIM).stdout.splitlines()
    cache = [line for word in ("-e", "-i") for line in router.exec("conntrackd", word).stdout.splitlines()]
    return [*kernel, *(line for line in cache if VICTIM in line)]
