# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Peers that a router speaks BGP with: BIRD, in the network of a host of the lab."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.host import Host
from tests.lab.process import LabError
from tests.scenarios.drops import Drop
from tests.scenarios.dual import GUEST, OWN, OWN6

OUR_AS = 4200000010
"""A number that needs four bytes (RFC 6793)."""

CONFIG = """
router id {id};
protocol device {{ }}
protocol static told4 {{ ipv4; {routes4} }}
protocol static told6 {{ ipv6; {routes6} }}
protocol bgp four {{
  local {own4} as {remote}; neighbor {router4} as {ours}; {options}
  hold time 30; connect retry time 2; connect delay time 1; error wait time 1, 2; {password}
  ipv4 {{ import all; export where proto = "told4"; }};
}}
protocol bgp six {{
  local {own6} as {remote}; neighbor {router6} as {ours}; {options}
  hold time 30; connect retry time 2; connect delay time 1; error wait time 1, 2; {password}
  ipv6 {{ import all; export where proto = "told6"; }};
}}
"""


class Bird:
    """A peer with a session of each family, from entering a with-block to its end; `told` are networks it announces."""

    def __init__(
        self,
        host: Host,
        own: tuple[str, str],
        directory: Path,
        *,
        remote: int = 64512,
        ours: int = OUR_AS,
        password: str = "",
        told: Sequence[str] = (),
        options: str = "",
    ) -> None:
        """Choose everything; nothing runs yet."""
        self.host, self._socket, self._config = host, directory / f"{host.name}.ctl", directory / f"{host.name}.conf"
        routes = {v: " ".join(f"route {n} blackhole;" for n in told if (":" in n) is (v == 6)) for v in (4, 6)}
        text = CONFIG.format(
            id=own[0],
            own4=own[0],
            own6=own[1],
            remote=remote,
            ours=ours,
            router4=OWN,
            router6=OWN6,
            routes4=routes[4],
            routes6=routes[6],
            password=f'password "{password}";' if password else "",
            options=options,
        )
        self._config.write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Bird:
        """Start it, and wait until it answers."""
        command = ["ip", "netns", "exec", self.host.namespace, "bird", "-f", "-c", self._config, "-s", self._socket]
        self._process = subprocess.Popen([*map(str, command), "-P", f"{self._socket}.pid"])
        end = time.monotonic() + 10
        while not self._socket.exists():
            if time.monotonic() > end:
                raise LabError(f"BIRD on {self.host.name} does not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def ask(self, *words: str) -> str:
        """Return what birdc(8) says."""
        return self.host.run("birdc", "-r", "-s", self._socket, *words).stdout

    def state(self, name: str) -> str:
        """Return the state of a session, `four` or `six`."""
        found = re.search(r"BGP state: +(\w+)", self.ask("show", "protocols", "all", name))
        return found[1] if found else "none"

    def since(self, name: str) -> str:
        """Return since when a session is as it is."""
        return next(
            line.split()[4] for line in self.ask("show", "protocols", name).splitlines() if line.startswith(name)
        )

    def established(self, *names: str, within: float = 20) -> None:
        """Wait until these sessions are up."""
        end = time.monotonic() + within
        while any(self.state(name) != "Established" for name in names):
            if time.monotonic() > end:
                raise LabError(f"{self.host.name}: {self.ask('show', 'protocols', 'all')}")
            time.sleep(0.1)

    def learns(self, name: str, networks: dict[str, str], within: float = 10) -> None:
        """Wait until a session has brought exactly these networks, with their next hops."""
        end = time.monotonic() + within
        while (found := self.learned(name)) != networks:
            if time.monotonic() > end:
                raise LabError(f"{self.host.name}, {name}: {found}")
            time.sleep(0.1)

    def learned(self, name: str) -> dict[str, str]:
        """Return the networks that a session has brought, with their next hops."""
        text = self.ask("show", "route", "all", "protocol", name)
        return {m[1]: m[2] for m in re.finditer(r"^(\S+/\d+) .*?BGP.next_hop: (\S+)", text, re.MULTILINE | re.DOTALL)}


def peer(number: int, own: tuple[str | None, str | None], **fields: Any) -> Drop:
    """Return one record of `bgp_peers`, of the isolated network."""
    found: Drop = {"peer_id": number, "network_id": 204, "peer_as_number": 64512, "network_as_number": OUR_AS}
    found |= {"guest_ip4_cidr": GUEST.network, "guest_ip6_cidr": GUEST.network6, "details": {}}
    found |= {name: ip for name, ip in zip(("ip4_address", "ip6_address"), own, strict=True) if ip}
    return found | fields


def peers(*records: Drop) -> Drop:
    """Return the drop with all peers."""
    return {"type": "bgppeers", "peers": list(records)}
