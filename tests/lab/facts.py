# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a router is right now: addresses, routes, rules, units, files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab.router import Router

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Answer questions about one router."""

    router: Router

    def ip(self, *words: str) -> Records:
        """Return what ``ip -json`` prints, parsed."""
        printed = self.router.exec("ip", "-json", *words).stdout
        records: Records = json.loads(printed or "[]")
        return records

    def addresses(self, nic: str | None = None, family: str = "inet") -> list[str]:
        """List addresses of global scope with their prefix lengths, in the kernel's order: the first is primary."""
        return self._addresses(nic, family, "global")

    def moved_addresses(self, nic: str) -> list[str]:
        """List the IPv4 addresses of a NIC that keepalived has put there: those of the link's scope."""
        return self._addresses(nic, "inet", "link")

    def _addresses(self, nic: str | None, family: str, scope: str) -> list[str]:
        device = ("dev", nic) if nic else ()
        links = [link for link in self.ip("address", "show", *device) if link]
        found = [address for link in links for address in link["addr_info"]]
        wanted = [each for each in found if each["family"] == family and each["scope"] == scope]
        return [f"{each['local']}/{each['prefixlen']}" for each in wanted]

    def links(self) -> dict[str, dict[str, Any]]:
        """Return the links by name."""
        return {link["ifname"]: link for link in self.ip("-details", "link", "show")}

    def routes(self, table: str = "main") -> Records:
        """List the routes of one table (or of ``all``)."""
        return self.ip("route", "show", "table", table)

    def rules(self) -> Records:
        """List the policy routing rules."""
        return self.ip("rule", "show")

    def neighbours(self) -> Records:
        """List the neighbour entries."""
        return self.ip("neighbour", "show")

    def nft(self, *words: str) -> dict[str, Any]:
        """Return ``nft -j list ...`` parsed; the whole ruleset without words."""
        parsed: dict[str, Any] = json.loads(self.router.exec("nft", "-j", "list", *(words or ("ruleset",))).stdout)
        return parsed

    def ruleset(self) -> str:
        """Return the ruleset as text, without counters' values: two equal ones filter alike."""
        return self.router.exec("nft", "--stateless", "list", "ruleset").stdout

    def conntrack(self) -> list[str]:
        """List the tracked connections, one line each."""
        return self.router.exec("conntrack", "-L", "-o", "extended").stdout.splitlines()

    def sysctl(self, name: str) -> str:
        """Return the value of one kernel setting of the router's network."""
        return self.router.exec("sysctl", "--values", name).stdout.strip()

    def unit(self, name: str) -> dict[str, str]:
        """Return the state of a unit: ActiveState, SubState, MainPID, NRestarts, UnitFileState, Result, StatusText."""
        names = "ActiveState,SubState,MainPID,NRestarts,UnitFileState,Result,StatusText"
        wanted = f"--property={names},ExecMainStartTimestampMonotonic"
        lines = self.router.exec("systemctl", "show", wanted, name).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def listeners(self) -> set[tuple[str, str, int]]:
        """Return the open sockets of the router as (protocol, local address, port)."""
        found = set()
        for line in self.router.exec(
            "ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric"
        ).stdout.splitlines():
            protocol, _, _, _, local, *_ = line.split()
            address, _, port = local.rpartition(":")
            found.add((protocol, address.strip("[]"), int(port)))
        return found

    def journal(self, *words: str) -> str:
        """Return the journal of this boot."""
        return self.router.exec("journalctl", "--no-pager", "--boot", *words).stdout

    def snapshot(self, directories: Iterable[str], units: Iterable[str] = ()) -> dict[str, str]:
        """Return a fingerprint that differs when any file was written or any daemon was restarted.

        Files: inode and modification time in nanoseconds, below the directories. Units: the PID and its start time.
        """
        listing = self.router.exec(
            "find", *directories, "-xdev", "-type", "f", "-printf", r"%p\t%i %T@ %m %u\n"
        ).stdout.splitlines()
        found = dict(line.split("\t", 1) for line in listing)
        for unit in units:
            state = self.unit(unit)
            found[unit] = f"{state['MainPID']} {state['ExecMainStartTimestampMonotonic']} {state['ActiveState']}"
        return found
