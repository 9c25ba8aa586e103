# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send packets with every source by every NIC, and see which of them the router believes.

Each is a frame of its own with a number in it; every host of the lab looks for the numbers in what comes in. What the
router takes for itself is noted by a table beside its own, after its input chain.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.lab.host import Host
from tests.lab.router import Router

NOBODYS = {
    "loopback": "127.0.0.1",
    "multicast": "224.0.0.5",
    "broadcast": "255.255.255.255",
    "class E": "240.0.0.77",
    "this network": "0.0.0.0",
    "and its hosts": "0.0.0.7",
}
"""Sources that no host has, from nowhere."""
Pairs = set[tuple[str, str]]
"""NIC of the router, and the name of a source."""

NOTE = """
table inet spoofing {
	set taken { type ifname . ipv4_addr; size 65535; flags dynamic; }
	chain input { type filter hook input priority filter + 10; tcp flags syn add @taken { iifname . ip saddr }; }
}
"""


@dataclass(frozen=True)
class Place:
    """A host that sends to a NIC of the router, to addresses behind it and to its own ones, each with a TCP port."""

    nic: str
    host: Host
    aims: Sequence[tuple[str, int]]


def believed(router: Router, places: Sequence[Place], sources: Mapping[str, str]) -> tuple[Pairs, Pairs]:
    """Return which sources have got behind the router, by NIC, and which have been taken by the router itself."""
    hosts = {host.name: host for host in router.lab.hosts.values()}
    router.put("/run/spoofing.nft", NOTE)
    router.exec("nft", "-f", "/run/spoofing.nft")
    watches = {name: host.probe.call("marked_watch")["handle"] for name, host in hosts.items()}
    meaning: dict[str, tuple[str, str, str]] = {}
    macs = {nic: link["address"] for nic, link in router.facts.links().items()}
    for place in places:
        frames = []
        for name, address in sources.items():
            for aim, port in place.aims:
                number = f"{len(meaning):08d}"
                meaning[number] = (place.host.name, place.nic, name)
                frames.append((macs[place.nic], address, aim, port, number))
        place.host.probe.call("send_marked", frames=frames)
    # Hosts look at what came in when they have a turn, and the machine may be busy.
    time.sleep(2.0)
    taken = _taken(router, sources)
    passed: Pairs = set()
    for name, handle in watches.items():
        found = [meaning[n] for n in hosts[name].probe.call("marked_stop", handle=handle)["numbers"]]
        passed |= {(nic, source) for sender, nic, source in found if sender != name}
    return passed, taken


def _taken(router: Router, sources: Mapping[str, str]) -> Pairs:
    names = {address: name for name, address in sources.items()}
    listed = router.exec("nft", "list", "set", "inet", "spoofing", "taken").stdout
    router.exec("nft", "delete", "table", "inet", "spoofing")
    pairs = re.findall(r'"?(eth\d+)"? \. ([\d.]+)', listed)
    return {(nic, names[address]) for nic, address in pairs if address in names}


def pairs(honest: Mapping[str, Sequence[str]]) -> Pairs:
    """Return a table, NIC to its sources, as pairs."""
    return {(nic, source) for nic, found in honest.items() for source in found}
