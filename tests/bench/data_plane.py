# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure new connections per second and their latency through a router with few and with many rules.

One client in the internet connects, hears the end of the connection and starts the next one: a server in a VM accepts
and closes. What grows with the rules is the router's share, and it shows in the ratio to the figures with one rule.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.host import Host
from tests.lab.router import Router

COUNT = 3000
"""Connections of one measurement: about a second; the entries they leave in connection tracking stay below 2^16."""

SERVER = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])), backlog=512)
print("ready", flush=True)
while True:
    connection, _address = listener.accept()
    connection.close()
"""
CLIENT = """
import json, socket, statistics, sys, time
address, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
handshakes, wholes = [], []
for _number in range(count):
    started = time.perf_counter()
    with socket.create_connection(address, timeout=5) as opened:
        handshakes.append(time.perf_counter() - started)
        opened.recv(1)
    wholes.append(time.perf_counter() - started)
print(json.dumps([statistics.median(wholes), statistics.median(handshakes)]))
"""


@dataclass(frozen=True)
class Connections:
    """Say how many connections a second can be made one after the other, and how long the handshake takes (seconds).

    Both are of the median connection: what else the machine does takes whole time slices from a few.
    """

    rate: float
    latency: float


@contextmanager
def served(vm: Host, port: int) -> Iterator[None]:
    """Accept and close connections in a VM while the block runs."""
    command = ["ip", "netns", "exec", vm.namespace, sys.executable, "-c", SERVER, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or server.stdout.readline() != "ready\n":
                raise SystemExit(f"{vm.namespace}: no server on port {port}")
            yield
        finally:
            server.kill()


def connect(client: Host, address: str, port: int) -> Connections:
    """Connect again and again, best of three runs: others on the machine only make it slower."""
    whole, handshake = min(_run(client, address, port) for _number in range(3))
    return Connections(1 / whole, handshake)


def _run(client: Host, address: str, port: int) -> tuple[float, float]:
    done = client.run(sys.executable, "-c", CLIENT, address, port, COUNT, timeout=120)
    whole, handshake = json.loads(done.stdout)
    return whole, handshake


def flush(router: Router) -> None:
    """Forget the connections of the last measurement, so that each starts with an empty table."""
    router.exec("conntrack", "-F")
