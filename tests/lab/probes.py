# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask hosts to send, receive and serve, many things at once, and get typed results.

A probe is described first and asked then, so that a table of a thousand verdicts is one call::

    results = ask_all([(internet, tcp("192.0.2.10", 22)), (vm, udp("203.0.113.9", 53)), (vm, ping("10.1.1.1"))])

The functions named after what they do (``tcp_connect``, ``udp_echo`` ...) are the same for a single probe.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from tests.lab.agent.streams import STRAGGLERS
from tests.lab.process import LabError

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds after which an answer of a prober is given up; far above any probe's own limit
Answer = dict[str, Any]


class Pace:
    """Say how many times as long as usual a probe waits for an answer: emulated routers take their time."""

    factor = 1.0


@dataclass(frozen=True)
class Result:
    """Say what became of a probe.

    ``verdict`` is open, refused, reset, unreachable or timeout. For an open one, ``server`` and ``port`` are the host
    and port that answered, ``seen_from`` and ``seen_port`` the source they saw (for a ping: who replied), ``seen_at``
    the destination they saw: after NAT, that is what NAT made of it.
    """

    verdict: str
    server: str | None = None
    port: int | None = None
    seen_from: str | None = None
    seen_port: int | None = None
    seen_at: str | None = None
    seconds: float | None = None
    detail: str = ""
    extra: Answer = field(default_factory=dict)  # what only some probes say

    def __bool__(self) -> bool:
        """Be true for an open verdict."""
        return self.verdict == "open"


def _result(answer: Answer) -> Result:
    known = {each.name for each in fields(Result)} - {"extra"}
    extra = {key: value for key, value in answer.items() if key not in known}
    return Result(**{key: value for key, value in answer.items() if key in known}, extra=extra)


@dataclass(frozen=True)
class Probe:
    """Describe one thing to try; made by ``tcp``, ``udp``, ``ping`` and ``arp``."""

    op: str
    args: Answer


class Prober:
    """Talk to the one process that works inside a host's network; started when first needed."""

    def __init__(self, name: str, enter: Sequence[str]) -> None:
        """Start it; ``enter`` is the command that runs another command inside the network."""
        self._name, self._lock, self._next = name, threading.Lock(), 0
        self._waiting: dict[int, Future[Answer]] = {}
        command = [*enter, sys.executable, "-m", "tests.lab.agent", name]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def submit(self, op: str, **args: Any) -> Future[Answer]:
        """Start an operation and return at once."""
        if "timeout" in args:
            args["timeout"] *= Pace.factor
        future: Future[Answer] = Future()
        with self._lock:
            self._next += 1
            self._waiting[self._next] = future
            line = json.dumps({"id": self._next, "op": op, "args": args})
            if self._process.stdin is None or self._process.poll() is not None:
                raise LabError(f"the prober of {self._name} has ended")
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return future

    def call(self, op: str, **args: Any) -> Answer:
        """Do an operation and wait for its end."""
        return self.submit(op, **args).result(PATIENCE)

    def serve(self, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> None:
        """Serve on these ports of all addresses, from before this returns until the prober is closed."""
        futures = [self.submit("tcp_serve", ports=list(tcp)), self.submit("udp_serve", ports=list(udp))]
        for future in futures:
            future.result(PATIENCE)

    def close(self) -> None:
        """End the process by ending its input; kill it if it does not listen."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(2)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            if "ok" in answer:
                future.set_result(answer["ok"])
            else:
                future.set_exception(LabError(f"probe on {self._name}:\n{answer['error']}"))
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
        for future in left:
            future.set_exception(LabError(f"the prober of {self._name} has ended"))


class Probing(Protocol):
    """Name what a probe can be asked of: a host, or a router itself."""

    @property
    def probe(self) -> Prober:
        """Return the prober in its network."""


def tcp(
    dst: str, port: int, *, source: str | None = None, source_port: int | None = None, timeout: float = 1.0
) -> Probe:
    """Describe a TCP connection."""
    args = {"dst": dst, "port": port, "source": source, "source_port": source_port or 0, "timeout": timeout}
    return Probe("tcp", args)


def udp(
    dst: str, port: int, *, source: str | None = None, source_port: int | None = None, timeout: float = 1.0
) -> Probe:
    """Describe a UDP datagram that wants an answer."""
    args = {"dst": dst, "port": port, "source": source, "source_port": source_port or 0, "timeout": timeout}
    return Probe("udp", args)


def ping(
    dst: str,
    *,
    kind: int | None = None,
    code: int = 0,
    source: str | None = None,
    size: int = 56,
    ttl: int | None = None,
    dont_fragment: bool = False,
    timeout: float = 1.0,
) -> Probe:
    """Describe an ICMP request: an echo, or any type and code; ``size`` is the bytes of its data."""
    options = {"source": source, "size": size, "ttl": ttl, "dont_fragment": dont_fragment, "timeout": timeout}
    return Probe("ping", {"dst": dst, "kind": kind, "code": code, **options})


def arp(ip: str, *, nic: str = "eth0", source: str = "0.0.0.0", timeout: float = 1.0) -> Probe:
    """Describe an ARP question; ``extra["macs"]`` of its result are all that answered."""
    return Probe("arp", {"ip": ip, "nic": nic, "source": source, "timeout": timeout})


def ask_all(questions: Iterable[tuple[Probing, Probe]]) -> list[Result]:
    """Run probes on their hosts, all at once, and return their results in the same order."""
    futures = [where.probe.submit(what.op, **what.args) for where, what in questions]
    return [_result(future.result(PATIENCE)) for future in futures]


def ask(where: Probing, what: Probe) -> Result:
    """Run one probe."""
    return ask_all([(where, what)])[0]


def tcp_connect(host: Probing, dst: str, port: int, source_port: int | None = None, timeout: float = 1.0) -> Result:
    """Connect, and learn who answers and which source it sees."""
    return ask(host, tcp(dst, port, source_port=source_port, timeout=timeout))


def udp_echo(host: Probing, dst: str, port: int, source_port: int | None = None, timeout: float = 1.0) -> Result:
    """Send a datagram, and learn who answers and which source it sees."""
    return ask(host, udp(dst, port, source_port=source_port, timeout=timeout))


def icmp_ping(host: Probing, dst: str, kind: int | None = None, code: int = 0, timeout: float = 1.0) -> Result:
    """Send one ICMP request, an echo if no type is given."""
    return ask(host, ping(dst, kind=kind, code=code, timeout=timeout))


def arp_probe(host: Probing, ip: str, nic: str = "eth0") -> list[str]:
    """Return the MACs that claim an address on a segment."""
    macs: list[str] = ask(host, arp(ip, nic=nic)).extra["macs"]
    return macs


def raw_protocol(sender: Probing, receiver: Probing, dst: str, protocol: int, timeout: float = 1.0) -> Result:
    """Send a packet of any IP protocol (47 is GRE) and see whether, and with which addresses, it arrives."""
    token = secrets.token_hex(16)
    handle = receiver.probe.call("expect", token=token)["handle"]
    sent = sender.probe.call("send_raw", dst=dst, protocol=protocol, payload=token)
    arrived = receiver.probe.call("expected", handle=handle, timeout=timeout)
    return _result(sent if sent["verdict"] != "sent" else arrived)


def tcp_scan(
    host: Probing, dst: str, ports: Iterable[int | tuple[int, int]], timeout: float = 0.3, concurrency: int = 1000
) -> Answer:
    """Return the ports by verdict: ``{"open": [...], "refused": [...], ..., "timeout": how many}``."""
    ranges = [[port, port] if isinstance(port, int) else list(port) for port in ports]
    return host.probe.call("tcp_scan", dst=dst, ports=ranges, timeout=timeout, concurrency=concurrency)


def dns_query(host: Probing, server: str, name: str, kind: str = "A", **options: Any) -> Result:
    """Ask a DNS server; ``extra`` has ``code`` (NOERROR ...) and ``answers`` ``[name, type, ttl, value]``."""
    return _result(host.probe.call("dns", server=server, name=name, kind=kind, **options))


def dhcp(host: Probing, kind: str = "discover", **options: Any) -> list[Answer]:
    """Send one DHCP message (see ``agent/dhcp.py``) and return the answers; none is an empty list."""
    answers: list[Answer] = host.probe.call("dhcp", kind=kind, **options)["answers"]
    return answers


def dhcp_lease(host: Probing, mac: str | None = None, host_name: str | None = None, **options: Any) -> Answer | None:
    """Discover and request, as a booting VM does; return the acknowledgement, or nothing if there is no offer."""
    extra = {"12": host_name.encode().hex()} if host_name else {}
    offers = dhcp(host, "discover", mac=mac, options=extra, **options)
    if not offers:
        return None
    chosen = {"50": _hexadecimal(offers[0]["address"]), "54": _hexadecimal(offers[0]["server"][0])}
    answers = dhcp(host, "request", mac=mac, options=extra | chosen, **options)
    return answers[0] if answers else None


def _hexadecimal(address: str) -> str:
    return bytes(int(part) for part in address.split(".")).hex()


Self = TypeVar("Self", bound="_Stream")


class _Stream:
    """Run traffic from entering a with-block to its end; then ``figures`` say what it met."""

    _op = ""

    def __init__(self, host: Probing, *, stragglers: float = STRAGGLERS, **args: Any) -> None:
        self._host, self._args, self._handle, self._stragglers = host, args, 0, stragglers
        self.figures: Answer = {}

    def __enter__(self: Self) -> Self:
        """Start; the first packet is on its way, or the connection is open, when this returns."""
        self._handle = self._host.probe.call(self._op, **self._args)["handle"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait for stragglers."""
        self.figures = self._host.probe.call("stream_stop", handle=self._handle, patience=self._stragglers)


class PingStream(_Stream):
    """Ping every 10 ms; ``lost`` counts what was not answered, ``longest_gap`` is in seconds."""

    _op = "ping_stream"

    def __init__(self, host: Probing, dst: str, interval: float = 0.01, source: str | None = None) -> None:
        """Choose where to and how often."""
        super().__init__(host, dst=dst, interval=interval, source=source)

    @property
    def sent(self) -> int:
        """Return how many were sent."""
        return int(self.figures["sent"])

    @property
    def lost(self) -> int:
        """Return how many were not answered."""
        return len(self.figures["lost"])

    @property
    def longest_gap(self) -> float:
        """Return the longest time without a reply, in seconds."""
        return float(self.figures["longest_gap"])


class RenewalStream(_Stream):
    """Renew this host's lease every 10 ms; ``lost`` counts what was not acknowledged."""

    _op = "renewals"

    def __init__(self, host: Probing, server: str, interval: float = 0.01) -> None:
        """Choose of whom and how often."""
        super().__init__(host, server=server, interval=interval)

    @property
    def sent(self) -> int:
        """Return how many requests were sent."""
        return int(self.figures["sent"])

    @property
    def lost(self) -> int:
        """Return how many of them had no answer."""
        return int(self.figures["lost"])


class TcpStream(_Stream):
    """Echo numbered messages over one connection every 10 ms, to a port that a prober serves."""

    _op = "tcp_stream"

    def __init__(
        self, host: Probing, dst: str, port: int, interval: float = 0.01, source: str | None = None, **wait: float
    ) -> None:
        """Choose where to, how often, and for how long to wait for `stragglers` at the end."""
        super().__init__(host, dst=dst, port=port, interval=interval, source=source, **wait)

    @property
    def sent(self) -> int:
        """Return how many messages were sent."""
        return int(self.figures["sent"])

    @property
    def lost(self) -> int:
        """Return how many messages did not come back; TCP repeats them, so it is 0 unless the connection is cut."""
        return int(self.figures["sent"]) - int(self.figures["received"])

    @property
    def error(self) -> str:
        """Return why the connection ended before its time; empty if it did not."""
        return str(self.figures["error"])

    @property
    def longest_stall(self) -> float:
        """Return the longest time between two echoes, in seconds: a lost segment shows as 0.2 s and more."""
        return float(self.figures["longest_stall"])
