# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that distributions have, run on VMs: of DHCP, which only tell what they learn, and of DNS."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host

CLIENTS = {
    "udhcpc": ("ip", "router", "dns", "domain"),
    "dhclient": ("new_ip_address", "new_routers", "new_domain_name_servers", "new_domain_name"),
}
"""BusyBox's and the ISC's, and how they name what they learn; tests/checks/debian-packages.txt names their packages."""


@dataclass(frozen=True)
class Told:
    """What a client hands to its script, in the order of CLIENTS; what it was not told is empty."""

    address: str
    routers: str
    dns: str
    domain: str


def lease(vm: Host, client: str, directory: Path) -> Told:
    """Ask for a lease as a booting VM does; `directory` is for the client's files."""
    script, said, pid = directory / "script", directory / "said", directory / "pid"
    script.write_text(f"#!/bin/sh\nenv >{said}\n", encoding="utf-8")
    script.chmod(0o755)
    for path in (said, pid):
        path.write_text("", encoding="utf-8")
    if client == "udhcpc":
        vm.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-T", "1", "-s", script, check=False)
    else:
        files = ("-cf", "/dev/null", "-lf", directory / "leases", "-pf", pid)
        vm.run("dhclient", "-1", "-sf", script, *files, "eth0", check=False)
        _end(pid)
    found = dict(line.split("=", 1) for line in said.read_text(encoding="utf-8").splitlines() if "=" in line)
    return Told(*(found.get(name, "") for name in CLIENTS[client]))


def _end(pid: Path) -> None:
    """End dhclient, which has gone into the background with its lease and is about to write its process's number."""
    deadline = time.monotonic() + 60
    while not pid.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, "dhclient has no lease"
        time.sleep(0.02)
    os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGTERM)


def dig(vm: Host, server: str, name: str, kind: str = "A") -> list[str]:
    """Return the values of a name; none if there are none, an error of the test if nobody answers."""
    words = ("+short", "+time=5", "+tries=3", f"@{server}", name, kind)
    return vm.run("dig", *words).stdout.split()
