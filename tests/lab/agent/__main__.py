# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read requests ``{"id", "op", "args"}`` line by line, work on all of them at once, print answers as they come.

An answer is ``{"id", "ok": {...}}`` or ``{"id", "error": "..."}``. The end of standard input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from tests.lab.agent import dhcp, dns, icmp, packets, streams, tcp, udp

Operation = Callable[..., Awaitable[dict[str, Any]]]

OPERATIONS: dict[str, Operation] = {
    "tcp": tcp.probe,
    "tcp_scan": tcp.scan,
    "tcp_serve": tcp.serve,
    "udp": udp.probe,
    "udp_serve": udp.serve,
    "ping": icmp.probe,
    "ping_stream": streams.start_ping,
    "renewals": streams.start_renewals,
    "tcp_stream": streams.start_tcp,
    "stream_stop": streams.stop,
    "arp": packets.arp,
    "arp_watch": packets.start_arp_watch,
    "vrrp_watch": packets.start_vrrp_watch,
    "watched": packets.watched,
    "watch_stop": packets.stop_watch,
    "send_raw": packets.send_raw,
    "record": packets.record,
    "flood": packets.start_flood,
    "flood_stop": packets.stop_flood,
    "expect": packets.start_expecting,
    "expected": packets.finish_expecting,
    "send_marked": packets.send_marked,
    "marked_watch": packets.start_marked_watch,
    "marked_stop": packets.stop_marked_watch,
    "dhcp": dhcp.exchange,
    "dns": dns.query,
}
REQUEST_LIMIT = 16 << 20  # bytes of one line


async def answer(request: dict[str, Any]) -> None:
    """Do one request and print its answer."""
    try:
        reply = {"id": request["id"], "ok": await OPERATIONS[request["op"]](**request["args"])}
    except Exception:  # noqa: BLE001  (it is handed to the test that asked, with its traceback)
        reply = {"id": request["id"], "error": traceback.format_exc()}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Take requests until there are no more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    requests = asyncio.StreamReader(limit=REQUEST_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    running: set[asyncio.Task[None]] = set()
    while line := await requests.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        # The loop keeps no strong reference to a task: without this set it may vanish while it waits.
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
