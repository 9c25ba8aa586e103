# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The basic health checks: services, load, memory, disks, gateways, versions, converges, the pair, connections."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from vrlib import command as vr
from vrlib.arp import reached
from vrlib.balancer import ADMIN_SOCKET
from vrlib.check import Check, Run, Verdict
from vrlib.ended import recovered
from vrlib.expected import PROBLEMS

SECTIONS = ("ssh", "dhcp", "loadbalancing", "webserver")
ANSWER = 1.0
MOUNTS = ("/", "/var", "/var/log", "/tmp")  # noqa: S108 - looked at, not written to
FEW_INODES = 5.0
LATE = 600.0


def services(expected: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """Yield the checks of the watched services; where no drop has named any, of those that the router knows."""
    for section in expected["sections"] or SECTIONS:
        yield f"{vr.one_line(section)}.service", partial(_service, section)


def _service(section: str, run: Run) -> Verdict:
    """Judge a service by the units that should run now, and by an answer."""
    if section not in SECTIONS:
        return "UNKNOWN", "no such service here"
    units = run.expected["units"][section]
    if not units:
        return "SUCCESS", "service is not needed here"
    states = run.states()
    if not set(units) <= set(states):
        # On a busy machine systemd may be late: that is no sign of a daemon that is down.
        return "UNKNOWN", "systemd does not answer"
    down = [unit for unit in units if states[unit]["ActiveState"] not in ("active", "reloading")]
    if not down:
        silent = list(_silent(section, run.expected))
        if not silent:
            recovered(units)
            return run.twice(section, ("SUCCESS", "service is running"))
        return run.twice(section, ("FAILED", f"service does not answer: {', '.join(silent)}"))
    return run.twice(section, ("FAILED", f"service down at last check {int(time.time())}: {', '.join(down)}"))


def _silent(section: str, expected: dict[str, Any]) -> Iterator[str]:
    """Yield what a service should answer and does not."""
    addresses = expected["addresses"][:1]
    if section == "webserver":
        yield from (f"HTTP on {ip}" for ip in addresses if not _talks(ip, 80, b"HEAD / HTTP/1.0\r\n\r\n"))
    elif section == "ssh":
        yield from (f"ssh on {ip}" for ip in expected["control"] if not _talks(ip, 3922, b""))
    elif section == "dhcp" and expected["dns"]:
        yield from (f"DNS on {ip}" for ip in addresses if not answers_dns(ip))
    elif section == "loadbalancing" and not _haproxy_answers():
        yield "haproxy's socket"


def _talks(ip: str, port: int, words: bytes) -> bool:
    try:
        with socket.create_connection((ip, port), ANSWER) as wire:
            wire.sendall(words)
            return bool(wire.recv(1))
    except OSError:
        return False


def answers_dns(ip: str, name: bytes = b"\x07version\x04bind", kind: bytes = b"\x00\x10\x00\x03") -> bool:
    """Tell whether a name server answers anything at all: dnsmasq knows its version by itself (RFC 4892)."""
    query = b"\x56\x52\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00" + kind
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(ANSWER)
            wire.sendto(query, (ip, 53))
            return wire.recv(512)[:2] == query[:2]
    except OSError:
        return False


def _haproxy_answers() -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(ANSWER)
            wire.connect(vr.at(ADMIN_SOCKET))
            wire.sendall(b"show info\n")
            return bool(wire.recv(1))
    except OSError:
        return False


def _limit(run: Run, name: str, default: float) -> float:
    text = run.expected["thresholds"].get(name, "")
    return float(text) if text.replace(".", "", 1).isdecimal() else default


def cpu(run: Run) -> Verdict:
    """Judge the share of time that was not idle since the last run."""
    first = run.memory.get("cpu")
    if first is None:
        first = _cpu_times()
        time.sleep(0.2)
    now = _cpu_times()
    run.memory["cpu"] = now
    busy, total = now[0] - first[0], now[1] - first[1]
    percent, most = 100 * busy / total if total > 0 else 0.0, _limit(run, "maxCpuUsage", 100)
    if percent > most:
        return run.twice("cpu", ("FAILED", f"CPU Usage {percent:.1f}% has crossed threshold of {most:.1f}%"))
    return run.twice("cpu", ("SUCCESS", f"CPU Usage within limits with current at {percent:.1f}%"))


def _cpu_times() -> list[int]:
    with open(vr.at("/proc/stat"), encoding="ascii") as file:
        numbers = [int(word) for word in file.readline().split()[1:9]]
    return [sum(numbers) - numbers[3] - numbers[4], sum(numbers)]


def memory(run: Run) -> Verdict:
    """Judge the share of memory that nobody could have."""
    with open(vr.at("/proc/meminfo"), encoding="ascii") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in file}
    percent = 100 * (sizes["MemTotal"] - sizes["MemAvailable"]) / sizes["MemTotal"]
    most = _limit(run, "maxMemoryUsage", 100)
    if percent > most:
        return "FAILED", f"Memory Usage {percent:.1f}% has crossed threshold of {most:.1f}%"
    return "SUCCESS", f"Memory Usage within limits with current at {percent:.1f}%"


def disk(run: Run) -> Verdict:
    """Judge the file system with the least room, and the one with the fewest inodes."""
    needed = _limit(run, "minDiskNeeded", 100)
    room = {}
    for mount in MOUNTS:
        status = os.statvfs(vr.at(mount))
        inodes = 100 * status.f_favail / status.f_files if status.f_files else 100.0
        room[mount] = (status.f_bavail * status.f_frsize / 1024 / 1024, inodes)
    fewest = min(room, key=lambda mount: room[mount][1])
    least = min(room, key=lambda mount: room[mount][0])
    if room[least][0] < needed:
        return "FAILED", f"Insufficient free space is {room[least][0]:.1f} MB on {least}"
    if room[fewest][1] < FEW_INODES:
        return "FAILED", f"Insufficient free inodes are {room[fewest][1]:.1f}% on {fewest}"
    return "SUCCESS", f"Sufficient free space is {room[least][0]:.1f} MB"


def gateways(run: Run) -> Verdict:
    """Ask every gateway of a link that should be up by ARP: many answer no ping."""
    if run.expected["redundant"] and not run.expected["active"]:
        return run.twice("gateways", ("SUCCESS", "no gateway is used by a backup"))
    asked = [tuple(item) for item in run.expected["gateways"]]
    answering = reached(asked)
    run.memory["gateways"] = sorted(answering)
    dead = sorted({gateway for _nic, _own, gateway in asked} - answering)
    if dead:
        return run.twice("gateways", ("FAILED", f"Unreachable gateways found-{' '.join(dead)}"))
    return run.twice("gateways", ("SUCCESS", f"All {len(asked)} gateways are reachable via ARP"))


def version(run: Run) -> Verdict:
    """Compare what the server believes with what the router says; to act on it is the operator's decision."""
    wanted = run.expected["version"]
    pairs = (
        ("Template", wanted.get("templateVersion", ""), vr.line("/etc/cloudstack-release")),
        ("Scripts", wanted.get("scriptsVersion", ""), vr.line(f"{vr.INBOX}/cloud-scripts-signature")),
    )
    for what, expected, found in pairs:
        if expected and expected.strip() != found:
            return "WARNING", f"{what} Version mismatch. Expected: {expected.strip()}, found: {found}"
    return "SUCCESS", "Template and scripts version match successful"


def converge(_run: Run) -> Verdict:
    """Judge the last converge, what waits for one, and what was refused."""
    now, failed, waiting = time.time(), [], []
    if os.path.exists(vr.at(f"{vr.DATABAGS}/.journal")):
        return "FAILED", "a transaction was cut off, the next converge finishes it"
    for entry in os.scandir(vr.at(vr.INBOX)):
        if entry.is_file() and ".json" in entry.name and now - entry.stat().st_mtime > LATE:
            waiting.append(entry.name)
    folder = vr.at(f"{vr.INBOX}/failed")
    if os.path.isdir(folder):
        failed = [e.name for e in os.scandir(folder) if e.name.endswith(".reason") and now - e.stat().st_mtime < 3600]
    if waiting:
        return "WARNING", f"{len(waiting)} drops wait in the inbox for more than 10 min, such as {sorted(waiting)[0]}"
    if failed:
        return "WARNING", f"{len(failed)} drops were refused in the last hour, such as {sorted(failed)[0]}"
    return "SUCCESS", "converges succeed, nothing waits"


def redundancy(run: Run) -> Verdict:
    """Judge the pair by what its watch has found."""
    if not run.expected["redundant"]:
        return "SUCCESS", ""
    try:
        with open(vr.at(PROBLEMS), encoding="utf-8", errors="replace") as file:
            problems = [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        problems = ["nobody watches over the pair"]
    rivals = [line for line in problems if line.startswith(("another primary", "two primaries"))]
    if rivals:
        return run.twice("redundancy", ("FAILED", "; ".join(rivals)))
    return ("WARNING", "; ".join(problems)) if problems else ("SUCCESS", "the pair is whole")


def conntrack(_run: Run) -> Verdict:
    """Judge how full the table of connections is."""
    folder = "/proc/sys/net/netfilter/nf_conntrack_"
    try:
        count, most = (int(vr.line(f"{folder}{name}")) for name in ("count", "max"))
    except ValueError:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), f"{folder}count") from None
    percent = 100 * count / most if most else 0.0
    status = "FAILED" if percent >= 95 else "WARNING" if percent >= 80 else "SUCCESS"
    return status, f"{count} of {most} connections are tracked ({percent:.0f}%)"


BASIC: dict[str, Check] = {
    "cpu_usage_check.py": cpu,
    "memory_usage_check.py": memory,
    "disk_space_check.py": disk,
    "gateways_check.py": gateways,
    "router_version_check.py": version,
    "converge_check.py": converge,
    "redundancy_check.py": redundancy,
    "conntrack_check.py": conntrack,
}
