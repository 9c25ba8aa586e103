# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The advanced health checks: whether daemons and kernel have what the databags say, and what the server believes."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

from vrlib import command as vr
from vrlib.check import Check, Run, Verdict
from vrlib.checks import answers_dns

PATIENCE = 1500.0
"""Seconds that something the server names may be lacking: two of its refreshes, and some more. Then a drop was lost."""
MOST_NAMED = 20
EVERY = "0.0.0.0"  # noqa: S104 - compared, not bound


def _named(items: list[str]) -> str:
    more = len(items) - MOST_NAMED
    return " ".join(items[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _second_opinion(run: Run, name: str, words: str, fine: str) -> Verdict:
    """Judge what the server names and the databags lack: a warning at first, as drops may be on their way."""
    lacking, since = run.expected["lacking"].get(name, []), run.memory.setdefault("lacking", {})
    if not lacking:
        since.pop(name, None)
        return "SUCCESS", fine
    known = since.setdefault(name, time.time())
    return ("FAILED" if time.time() - known > PATIENCE else "WARNING"), f"{words}{_named(lacking)}"


def dhcp(run: Run) -> Verdict:
    """Compare dnsmasq's files with the databag, then the databag with the server's list."""
    missing = []
    for path, hosts in run.expected["hosts"].items():
        lines = set(_pairs(path)) if hosts else set()
        missing += [host.partition(",")[2] for host in hosts if host.lower() not in lines]
    if missing:
        return "FAILED", f"Missing elements in dhcphosts.txt - {_named(missing)}"
    fine = f"All {run.expected['vms']} VMs are present in dhcphosts.txt"
    return _second_opinion(run, "dhcp_check.py", "Missing elements in dhcphosts.txt - ", fine)


def _pairs(path: str) -> list[str]:
    """Return MAC and address of each line of a file of DHCP hosts."""
    with open(vr.at(path), encoding="utf-8", errors="replace") as file:
        words = [line.strip().split(",") for line in file]
    found = []
    for line in words:
        address = next((word for word in line[1:] if word.count(".") == 3 and word.replace(".", "").isdecimal()), "")
        found.append(f"{line[0].lower()},{address}")
    return found


def dns(run: Run) -> Verdict:
    """Compare the file of names with the databag, ask the server, then compare with the server's list."""
    if not run.expected["dns"] or not run.expected["active"]:
        return "SUCCESS", "DNS is not served here"
    addresses = {host.partition(",")[2] for hosts in run.expected["hosts"].values() for host in hosts}
    known = set()
    if addresses:
        with open(vr.at("/etc/dnsmasq.cloudstack/hosts"), encoding="utf-8", errors="replace") as file:
            known = {line.split()[0] for line in file if line.strip()}
    if missing := sorted(addresses - known):
        return "FAILED", f"Missing entries for VMs in /etc/hosts - {_named(missing)}"
    silent = [ip for ip in run.expected["addresses"][:4] if not answers_dns(ip)]
    if silent:
        return run.twice("dns", ("FAILED", f"no answer from {_named(silent)}"))
    run.twice("dns", ("SUCCESS", ""))
    fine = f"All {run.expected['vms']} VMs are present in /etc/hosts"
    return _second_opinion(run, "dns_check.py", "Missing entries for VMs in /etc/hosts - ", fine)


def haproxy(run: Run) -> Verdict:
    """Look whether every listener of the databag is bound."""
    wanted = {(ip, int(port)) for ip, port in run.expected["listeners"]}
    bound = _listening() if wanted else set()
    missing = sorted(f"{ip}:{port}" for ip, port in wanted if not {(ip, port), (EVERY, port)} & bound)
    if missing:
        return run.twice("haproxy", ("FAILED", f"Missing load balancing for {_named(missing)}"))
    run.twice("haproxy", ("SUCCESS", ""))
    return _second_opinion(run, "haproxy_check.py", "Missing load balancing for ", "All checks pass")


def _listening() -> set[tuple[str, int]]:
    """Return addresses and ports of TCP sockets that listen, from the kernel's table (proc(5))."""
    found = set()
    with open(vr.at("/proc/net/tcp"), encoding="ascii") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address, port = words[1].split(":")
                found.add((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    return found


def ruleset(run: Run) -> Verdict:
    """Look whether the kernel has the ruleset that was loaded; it is listed only if somebody changed something."""
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import generation

    if generation.current() != generation.remembered(vr.at(generation.MARK)) and not _as_listed(run):
        return run.twice("ruleset", ("FAILED", "somebody has changed the packet filter: the next converge repairs it"))
    run.twice("ruleset", ("SUCCESS", ""))
    fine = f"Found all entries (count {run.expected['forwards']}) in iptables"
    return _second_opinion(run, "iptables_check.py", "Missing port forwarding rules in Iptables-", fine)


def _as_listed(run: Run) -> bool:
    """Tell whether the kernel lists each table as it did after the last load."""
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables

    for name in tables.TABLES:
        done = run.tool("nft", "--stateless", "list", "table", "inet", name)
        try:
            with open(vr.at(f"{tables.home(name)}/{name}.digest"), encoding="utf-8") as file:
                known: dict[str, Any] = json.load(file)
        except (FileNotFoundError, ValueError):
            return False
        if done.status != 0 or tables.listed_digest(done.stdout.decode()) != known.get("listed_digest"):
            return False
    return True


def nics(run: Run) -> Verdict:
    """Tell what waits for a NIC or an address."""
    pending = run.expected["pending"]
    return ("WARNING", f"pending: {'; '.join(pending)}") if pending else ("SUCCESS", "all NICs are plugged in")


def certificates(run: Run) -> Verdict:
    """Tell which certificates of the load balancer end within two weeks."""
    if not run.expected["certificates"]:
        return "SUCCESS", ""
    folder = vr.at("/etc/cloudstack/ssl")
    names = sorted(name for name in os.listdir(folder)) if os.path.isdir(folder) else []
    ending = []
    for name in names[:MOST_NAMED]:
        done = run.tool("openssl", "x509", "-in", f"{folder}/{name}", "-noout", "-checkend", str(14 * 86400))
        ending += [name] if done.status != 0 else []
    return (
        ("WARNING", f"certificates end within 14 days: {_named(ending)}") if ending else ("SUCCESS", "none ends soon")
    )


ADVANCED: dict[str, Check] = {
    "dhcp_check.py": dhcp,
    "dns_check.py": dns,
    "haproxy_check.py": haproxy,
    "iptables_check.py": ruleset,
    "nic_check.py": nics,
    "certificate_check.py": certificates,
}
