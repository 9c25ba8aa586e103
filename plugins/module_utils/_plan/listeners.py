# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hold daemons to the sockets that they shall listen on: running is not yet serving (I5)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Run, Step

Socket = tuple[str, int]
"""Address and port."""

LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp (proc(5))."""


@dataclass(frozen=True, slots=True)
class AwaitListeners(Step):
    """Wait until a daemon that was just told to listen does so; whether it did is for the next plan to say."""

    sockets: frozenset[Socket]

    @property
    def summary(self) -> str:
        return "await " + ", ".join(f"{address} port {port}" for address, port in sorted(self.sockets))


def parse(lines: Iterable[str]) -> frozenset[Socket]:
    """Return the listening sockets of /proc/net/tcp or tcp6, which lists them before all others."""
    return frozenset(_listening(lines))


def _listening(lines: Iterable[str]) -> Iterator[Socket]:
    for number, line in enumerate(lines):
        fields = line.split()
        if number == 0 or len(fields) < 4:
            continue
        if fields[3] != LISTEN:
            return
        address, port = fields[1].split(":")
        yield _address(address), int(port, 16)


def _address(digits: str) -> str:
    """Turn the words of an address, each in the byte order of this machine (little endian), into its text."""
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    return str(ip_address(struct.pack(f"<{len(words)}I", *words)))


def missing(
    unit: str, wanted: frozenset[Socket], live: frozenset[Socket], active: bool, planned: Iterable[Step]
) -> list[Step]:
    """Return what makes a daemon listen: waiting when it is being (re)started anyway, else a restart."""
    left = wanted - live
    if not left:
        return []
    told = not active or any(isinstance(step, Run) for step in planned)
    restart = () if told else (Run(("systemctl", "restart", f"{unit}.service"), f"restart {unit}"),)
    return [*restart, AwaitListeners(left)]
