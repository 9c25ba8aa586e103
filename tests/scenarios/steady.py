# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load one ruleset after the other into a small router of namespaces, while new connections come in all the time.

Every packet is of a connection that no answer has made a known one yet, so the rules are asked about each. What they
drop is the difference of two counters, before and after them: nothing else on the machine can lose a packet in between.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    Router,
    Rule,
    StaticNat,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import table_text, tables
from tests.golden.cases import renderer
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.unit.plan.samples import FIRST, SECOND, VM1, isolated, rule, rules

PUBLIC, VM = "192.0.2.10", "10.1.1.11"
SENDER = """
import itertools, socket, sys, time
print("ready", flush=True)
senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _number in range(251)]
end = time.monotonic() + 120
for number, port in enumerate(itertools.cycle(map(int, sys.argv[2:]))):
    senders[number % 251].sendto(b"", (sys.argv[1], port))
    time.sleep(0.00005)
    if time.monotonic() > end:
        break
"""
GAUGE = """
table inet gauge {
    counter come { }
    counter gone { }
    chain first {
        type filter hook prerouting priority raw; policy accept;
        iifname eth2 meta l4proto udp counter name come
    }
    chain last {
        type filter hook postrouting priority srcnat + 10; policy accept;
        oifname eth0 meta l4proto udp counter name gone
    }
}
"""
MUTE = "table ip mute {\n\tchain output {\n\t\ttype filter hook output priority raw; policy drop;\n\t}\n}\n"


@dataclass(frozen=True)
class Passed:
    """How many packets came to the router, and how many of them it let through."""

    come: int
    gone: int

    @property
    def lost(self) -> int:
        """Return how many packets the rules dropped."""
        return self.come - self.gone


@dataclass
class Steady:
    """A router with a public NIC eth2 and a guest NIC eth0, somebody in the internet, and a VM that never answers."""

    router: Host
    internet: Host
    directory: Path

    def loads(self, first: str, rounds: int, parts: Sequence[str], ports: Sequence[int]) -> Passed:
        """Load the first text, then the parts in turn, many times, while packets come to the ports."""
        for number, text in enumerate((GAUGE, first, *parts)):
            (self.directory / f"{number}.nft").write_text(text, encoding="utf-8")
        load = [f"nft -f {shlex.quote(str(self.directory))}/{number}.nft" for number in range(len(parts) + 2)]
        self._shell(f"nft flush ruleset; {load[0]}; {load[1]}")
        with self._packets(ports):
            self._shell(f"for round in $(seq {rounds}); do {'; '.join(load[2:])}; done")
        for _look in range(20):
            if not (passed := self._passed()).lost:
                break
            time.sleep(0.1)
        return passed

    def _passed(self) -> Passed:
        shown = self._shell("nft list counters table inet gauge")
        come, gone = (int(count) for count in re.findall(r"packets (\d+)", shown))
        return Passed(come, gone)

    def _shell(self, script: str) -> str:
        return self.router.run("sh", "-euc", script, timeout=120).stdout

    @contextmanager
    def _packets(self, ports: Sequence[int]) -> Iterator[None]:
        words = ["ip", "netns", "exec", self.internet.namespace, sys.executable, "-c", SENDER, PUBLIC, *map(str, ports)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sender:
            try:
                assert sender.stdout is not None
                assert sender.stdout.readline() == "ready\n"
                yield
            finally:
                sender.kill()


def _opened(count: int) -> tuple[Rule, ...]:
    """Return rules that open every other port of the first ones, to two networks."""
    networks = ("192.0.2.0/24", "203.0.113.0/24")
    return tuple(rule(protocol="udp", ports=1000 + 2 * n, sources=networks, label=f"rule {n}") for n in range(count))


def _forwarded(count: int) -> tuple[Forward, ...]:
    spans = (Ports(5000 + 10 * number, 5004 + 10 * number) for number in range(count))
    return tuple(Forward(FIRST, VM1, "udp", span, span) for span in spans)


def _router(opened: int = 100, others: int = 3, forwarded: int = 0) -> Router:
    """Return a router whose first address is open on so many ports, and leads to the VM."""
    everything = (rule(protocol="udp", ports=(5000, 9999), label="ranges"),) if forwarded else ()
    return isolated(
        firewall={
            FIRST: rules(*_opened(opened), *everything),
            SECOND: rules(*(rule(protocol="tcp", ports=10 * number, label="other") for number in range(1, others))),
        },
        forwards=_forwarded(forwarded),
        static_nats=() if forwarded else (StaticNat(FIRST, VM1),),
    )


OPEN = range(1000, 1200, 2)
# Two rulesets that follow each other, and ports that both of them let in, because a set or map of ranges has them.
CHANGES: dict[str, tuple[Router, Router, Sequence[int]]] = {
    "another list": (_router(), _router(others=4), OPEN),
    "the same list": (_router(), _router(opened=101), OPEN),
    "forwarded ranges": (_router(forwarded=20), _router(forwarded=21), range(5000, 5200, 10)),
}


def texts(change: str) -> tuple[str, str]:
    """Return the texts of both rulesets, as they are loaded as a whole."""
    one, other = (tables.wanted(router, renderer())[1].files[0].content for router in CHANGES[change][:2])
    return one, other


def there_and_back(one: str, other: str) -> list[str]:
    """Return what is loaded to change one ruleset into the other and back."""
    changes = table_text.change(tables.TABLE, one, other), table_text.change(tables.TABLE, other, one)
    return [part for change in changes if change is not None for part in (change.fill, change.switch) if part]


@contextmanager
def steady(name: str, directory: Path) -> Iterator[Steady]:
    """Bring up the three of them; the texts to load are kept in the directory."""
    with Lab(name) as lab:
        lab.segment("guest")
        lab.segment("public")
        router = lab.host("router", "guest", "10.1.1.1/24")
        router.add_nic("eth2", "public", lab.mac("router2"), [f"{PUBLIC}/24"])
        router.forward()
        # A connection is forgotten when the sender comes back to it, some seconds later.
        router.run("sysctl", "-q", "-w", "net.netfilter.nf_conntrack_udp_timeout=1")
        internet = lab.host("internet", "public", "192.0.2.1/24")
        vm = lab.host("vm", "guest", f"{VM}/24", gateway="10.1.1.1")
        (directory / "mute.nft").write_text(MUTE, encoding="utf-8")
        vm.run("nft", "-f", directory / "mute.nft")
        yield Steady(router, internet, directory)
