# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure what it costs to cut connections in tables of real size: ``python -m tests.bench.connections``."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from tests.lab.entries import Wanted, fill, inside
from tests.unit.apply.namespace import Namespace, namespace
from tests.unit.plan.samples import CLIENT, FIRST, isolated, rule, rules

FULL = 262_000
"""The kernel's default for a table, 262,144, and a little room for those that come and go."""
OTHER, REVOKED, UNUSED = 80, 22, 9
CUT = """
import json, re, sys, time
from pathlib import Path
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import HANDLERS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import CutFlows
from tests.bench import connections
class Log:
    log = staticmethod(print)
class Host:
    run = Log
before, after = connections.routers(sys.argv[1])
started = time.monotonic()
HANDLERS[CutFlows](CutFlows((before,), after), Host)
seconds = time.monotonic() - started
# Not ru_maxrss, which begins with what the process was a copy of.
peak = re.search("VmHWM:[^0-9]*([0-9]+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([seconds, int(peak) // 1024]))
"""


@dataclass(frozen=True)
class Cut:
    """What a change took: connections cut, seconds, and MiB of the process at its largest."""

    count: int
    seconds: float
    memory: int


def routers(kind: str) -> tuple[Router, Router]:
    """Return the routers before and after: a rule for one port is gone, or the order differs: all are judged."""
    before = {port: rule(protocol="tcp", ports=port, label=str(port)) for port in (OTHER, REVOKED, UNUSED)}
    gone = {"revoked": REVOKED, "unused": UNUSED}.get(kind)
    after = [item for port, item in before.items() if port != gone]
    return tuple(  # type: ignore[return-value]
        isolated(firewall={FIRST: rules(*items)}) for items in (before.values(), after if gone else after[::-1])
    )


def clients(count: int, port: int, first: int = 0) -> Iterator[Wanted]:
    """Yield that many connections of as many clients to a port of the router."""
    for number in range(first, first + count):
        ip = CLIENT + 256 + number
        yield Wanted(6, ip, FIRST, 1024 + number % 60000, port, FIRST, ip, port)


@contextmanager
def table() -> Iterator[Namespace]:
    """Make a namespace that tracks connections."""
    with namespace() as host:
        host(("nft", "add table inet t; add chain inet t c { type filter hook forward priority 0; }"))
        host(("nft", "add rule inet t c ct state new accept"))
        yield host


def put(host: Namespace, count: int, port: int, first: int = 0) -> None:
    """Add connections to the table."""
    inside(Path("/run/netns", host.name), lambda: fill(clients(count, port, first)))


def cut(host: Namespace, kind: str) -> Cut:
    """Cut what a change takes away, in a process of its own."""
    path = f"PYTHONPATH={':'.join(sys.path)}"
    lines = host(("env", path, sys.executable, "-c", CUT, kind)).splitlines()
    seconds, memory = json.loads(lines[-1])
    return Cut(int(lines[-2].split()[1]), seconds, memory)


@contextmanager
def coming_and_going(host: Namespace, rate: int) -> Iterator[None]:
    """Let so many connections to the revoked port begin in each second, and end a second later."""
    over = threading.Event()

    def come() -> None:
        number = FULL
        while not over.is_set():
            started = time.monotonic()
            fresh = [Wanted(**{**vars(item), "timeout": 1}) for item in clients(rate // 10, REVOKED, number)]
            fill(fresh)
            number += len(fresh)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - started)))

    thread = threading.Thread(target=lambda: inside(Path("/run/netns", host.name), come))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> list[str]:
    """Return a note for each size of the table."""
    notes = []
    with table() as host:
        there = 0
        for size in (1_000, 10_000, 100_000, FULL):
            put(host, size - there, OTHER, there)
            there = size
            for what, kind, count in (
                ("5,000 of them cut", "revoked", min(5_000, size)),
                ("50 of them cut", "revoked", 50),
                ("nothing to cut", "unused", 0),
                ("all of them judged", "order", 0),
            ):
                if count and size + count <= FULL:
                    put(host, count, REVOKED, FULL + 10_000)
                found = cut(host, kind)
                notes.append(
                    f"{size} connections, {what}: {found.count} in {found.seconds:.2f} s, process of {found.memory} MiB"
                )
                print(notes[-1], flush=True)
    return notes


if __name__ == "__main__":
    main()
