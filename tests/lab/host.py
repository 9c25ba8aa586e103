# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VM, a gateway or an internet host: a network namespace with NICs, addresses and a prober in it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import wires
from tests.lab.probes import Prober
from tests.lab.process import Word, run

if TYPE_CHECKING:
    from tests.lab.lab import Lab


@dataclass
class Host:
    """One host; made by ``Lab.host``. ``name`` is what its servers answer with."""

    lab: Lab
    name: str
    nics: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (segment, MAC)
    _prober: Prober | None = None

    @property
    def namespace(self) -> str:
        """Return the name of its network namespace, as ``ip netns`` knows it."""
        return self.lab.namespace(self.name)

    def run(self, *command: Word, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command of the lab's machine inside this host's network."""
        return run("ip", "netns", "exec", self.namespace, *command, check=check, timeout=timeout)

    def ip(self, *words: Word) -> str:
        """Run ``ip`` on this host's network, and return what it prints."""
        return run("ip", "-n", self.namespace, *words).stdout

    def add_nic(self, nic: str, segment: str, mac: str, addresses: Sequence[str] = ()) -> None:
        """Wire a new NIC to a segment; addresses are written with their prefix length, ``10.1.1.5/24``."""
        port = f"{self.lab.port_number(self.name, nic)}.{nic}"
        wires.plug(bridges=self.lab.bridges, segment=segment, port=port, namespace=self.namespace, nic=nic, mac=mac)
        self.nics[nic] = (segment, mac)
        self.ip("link", "set", nic, "up")
        for address in addresses:
            self.add_address(address, nic)

    def add_address(self, address: str, nic: str = "eth0") -> None:
        """Give a NIC one more address, with its prefix length."""
        self.ip("address", "replace", address, "dev", nic, *(["nodad"] if ":" in address else []))

    def add_route(self, destination: str, via: str) -> None:
        """Route a network (or ``default``) through a gateway."""
        self.ip(*(["-6"] if ":" in via else []), "route", "replace", destination, "via", via)

    def forward(self) -> None:
        """Forward between this host's NICs: make it a gateway of the outside world."""
        self.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    @property
    def probe(self) -> Prober:
        """Return the one process in this network that sends, receives and serves for tests."""
        if self._prober is None:
            self._prober = Prober(self.name, ["ip", "netns", "exec", self.namespace])
        return self._prober

    def close(self) -> None:
        """End the prober; the network stays until the lab removes it."""
        if self._prober is not None:
            self._prober.close()
            self._prober = None
