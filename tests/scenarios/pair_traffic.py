# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traffic through a pair: a ping every 10 ms, and many connections of every kind of translation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.host import Host
from tests.lab.probes import PATIENCE, PingStream, Prober
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import FAR, SERVED, SOURCE_NAT, STATIC, Pair

PACE = 1.0
"""Seconds between two messages of one connection."""
CATCH_UP = 8.0
"""Seconds that TCP may take to repeat what a failover of 4 s lost: it waits 0.2 s, then twice as long each time."""


@dataclass
class Report:
    """What the traffic met; `gap` is the longest time without a reply to a ping, in seconds."""

    gap: float = 0.0
    lost: int = 0
    connections: int = 0
    broken: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"gap {self.gap:.3f} s, {self.lost} pings lost, {len(self.broken)} of {self.connections} connections cut"


@dataclass(frozen=True)
class Pinger:
    """A process in a host's network that does nothing but ping."""

    probe: Prober


@contextmanager
def pinger(host: Host) -> Iterator[Pinger]:
    """Start one: a prober that carries a thousand connections stops for 0.1 s at times, which would look like a gap."""
    prober = Prober(f"{host.name}-pings", ["ip", "netns", "exec", host.namespace])
    try:
        yield Pinger(prober)
    finally:
        prober.close()


@contextmanager
def traffic(pair: Pair, connections: int = 0) -> Iterator[Report]:
    """Run traffic while the block runs, and fill the report at its end.

    A third each of the connections is outbound, forwarded and by static NAT, the last on both public NICs.
    """
    report = Report(connections=connections)
    web, internet = pair.vms["web"], pair.internet
    ways = [(web, INTERNET, SERVED), (internet, SOURCE_NAT, 2222), (internet, STATIC, SERVED), (internet, FAR, SERVED)]
    shares = [connections // 3, connections // 3, connections // 6]
    opened = []
    for (host, dst, port), count in zip(ways, [*shares, connections - sum(shares)], strict=True):
        args = {"dst": dst, "port": port, "interval": PACE, "timeout": 5.0}
        opened += [(host, f"{dst}:{port}", host.probe.submit("tcp_stream", **args)) for _ in range(count)]
    handles = [(host, way, future.result(PATIENCE)["handle"]) for host, way, future in opened]
    with pinger(web) as inside, pinger(internet) as outside:
        with PingStream(inside, INTERNET) as out, PingStream(outside, STATIC) as entering:
            yield report
        stopped = [
            (way, host.probe.submit("stream_stop", handle=handle, patience=CATCH_UP)) for host, way, handle in handles
        ]
        figures = [(way, future.result(PATIENCE)) for way, future in stopped]
    report.broken = tuple(
        f"{way}: {found['error'] or 'stalled'}"
        for way, found in figures
        if found["error"] or found["sent"] != found["received"]
    )
    report.gap, report.lost = max(out.longest_gap, entering.longest_gap), max(out.lost, entering.lost)
