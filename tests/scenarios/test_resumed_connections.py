# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections that outlive the table of connections, as at a reboot: real ones, through the ruleset of a VPC."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    Router,
    RuleList,
    StaticNat,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from tests.golden.cases import renderer
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.unit.plan.samples import device, rule, rules, vpc
from tests.unit.plan.test_conntrack import OPEN, SHUT_IN, TIER1, TIER2, VPC_IP, Role

PEER = """
import select, socket, sys
way, ip, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if way == "server":
    listener = socket.create_server((ip, port))
    print("ready", flush=True)
    peer, _address = listener.accept()
else:
    peer = socket.create_connection((ip, port), timeout=30)
    peer.settimeout(None)
print("open", flush=True)
while True:
    for ready in select.select([peer, sys.stdin], [], [])[0]:
        if ready is peer:
            try:
                text = peer.recv(100).decode()
            except OSError as error:
                text = type(error).__name__
            print(text or "closed", flush=True)
            if not text or text.endswith("Error"):
                sys.exit()
        else:
            peer.sendall(sys.stdin.readline().strip().encode())
"""
HOLDER = """
import os, socket, struct, sys
listener = socket.create_server(("10.2.1.1", 80), backlog=512)
print("ready", flush=True)
held = []
while True:
    peer, _address = listener.accept()
    if os.path.exists(sys.argv[1]):
        held.append(peer)
    else:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
"""
"""Reset every connection until a file is there, then hold all that come."""
MANY = """
import errno, select, socket, sys
opened, poller = {}, select.poll()
for port in range(20000, 20300):
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("", port))
    found.setblocking(False)
    found.connect_ex(("10.2.1.1", 80))
    opened[found.fileno()] = found
    poller.register(found, select.POLLOUT)
    if sys.argv[1] == "one by one":
        poller.poll(2000)
        poller.unregister(found)
        found.close()
ready = {number for number, _event in poller.poll(500)} if sys.argv[1] == "at once" else ()
print(sum(opened[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for number in ready))
"""
"""Connect from the same 300 ports each time, and say how many connections there are."""
STATIC_IP = VPC_IP + 1
SHUT = (RuleList(), RuleList(default_allow=True))


class Peer:
    """One end of a connection, in a process that says what it hears."""

    def __init__(self, host: Host, way: str, ip: object, port: int) -> None:
        words = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", PEER, way, str(ip), str(port)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(self, text: str) -> None:
        """Send a text."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")

    def hears(self, patience: float) -> str:
        """Return what comes next, nothing when that takes longer, in seconds."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        return self.process.stdout.readline().strip() if ready else ""

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@dataclass
class Network:
    """A router of a VPC, a VM in each of two tiers, a host beyond the private gateway, and one in the internet."""

    router: Host
    hosts: dict[str, Host]
    directory: Path

    def load(self, wanted: Router) -> None:
        """Load the rules of a router."""
        path = self.directory / "ruleset.nft"
        path.write_text(tables.wanted(wanted, renderer())[1].files[0].content, encoding="utf-8")
        self.router.run("nft", "-f", path)

    def forget(self) -> None:
        """Lose every connection, as a reboot does."""
        self.router.run("conntrack", "-F")

    @contextmanager
    def stream(self, client: str, server: str, ip: object, port: int, at: object = "0.0.0.0") -> Iterator[list[Peer]]:
        """Open a connection; yield who began it and who answers."""
        with ExitStack() as stack:
            second = Peer(self.hosts[server], "server", at, port)
            stack.callback(second.end)
            assert second.hears(10) == "ready"
            first = Peer(self.hosts[client], "client", ip, port)
            stack.callback(first.end)
            assert (first.hears(10), second.hears(10)) == ("open", "open")
            yield [first, second]


def routers(**acls: tuple[RuleList, RuleList]) -> Router:
    """Return the VPC with a port forward and a static NAT to tier 1; ACLs let everything pass unless given."""
    forward = Forward(VPC_IP, TIER1, "tcp", Ports(80, 80), Ports(80, 80))
    public = device("eth1", Role.PUBLIC, f"{VPC_IP}/24", f"{STATIC_IP}/24", gateway="192.0.2.1")
    devices = tuple(public if d.name == "eth1" else d for d in vpc().devices)
    lists = {"eth2": OPEN, "eth3": OPEN, "eth4": OPEN, **acls}
    return vpc(devices=devices, acls=lists, forwards=(forward,), static_nats=(StaticNat(STATIC_IP, TIER1),))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Lab("resumed") as lab:
        for name in ("control", "public", "first", "second", "site"):
            lab.segment(name)
        router = lab.host("router", "control", "169.254.4.201/16")
        nics = {"eth1": ("public", [f"{VPC_IP}/24", f"{STATIC_IP}/24"]), "eth2": ("first", ["10.2.1.1/24"])}
        nics |= {"eth3": ("second", ["10.2.2.1/24"]), "eth4": ("site", ["172.20.0.2/24"])}
        for number, (nic, (segment, addresses)) in enumerate(nics.items(), 2):
            router.add_nic(nic, segment, lab.mac(f"router{number}"), addresses)
        router.forward()
        hosts = {
            "internet": lab.host("internet", "public", "192.0.2.1/24"),
            "first": lab.host("first", "first", f"{TIER1}/24", gateway="10.2.1.1"),
            "second": lab.host("second", "second", f"{TIER2}/24", gateway="10.2.2.1"),
            "site": lab.host("site", "site", "172.20.0.9/24", gateway="172.20.0.2"),
        }
        yield Network(router, hosts, tmp_path_factory.mktemp("rules"))


WAYS = {
    "tier to tier": ("first", "second", TIER2, 3306),
    "tier to site": ("second", "site", "172.20.0.9", 22),
    "site to tier": ("site", "first", TIER1, 443),
}


@pytest.mark.parametrize("begins", [0, 1], ids=["client first", "server first"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_what_both_sides_may_begin_goes_on(network: Network, way: tuple[str, str, Any, int], begins: int) -> None:
    network.load(routers())
    with network.stream(*way) as ends:
        network.forget()
        ends[begins].say("still here")
        assert ends[1 - begins].hears(5) == "still here"
        ends[1 - begins].say("so am I")
        assert ends[begins].hears(5) == "so am I"


@pytest.mark.parametrize("ip", [VPC_IP, STATIC_IP])
def test_what_was_translated_goes_on_when_the_client_sends(network: Network, ip: object) -> None:
    """The rules translate it as before: only a packet of the client meets those of the destination."""
    network.load(routers())
    with network.stream("internet", "first", ip, 80) as (client, server):
        network.forget()
        client.say("still here")
        assert server.hears(5) == "still here"
        server.say("so am I")
        assert client.hears(5) == "so am I"


REVOKED = {
    "into the tier": ("tier to tier", {"eth3": SHUT}),
    "out of the tier": ("tier to tier", {"eth2": (OPEN[0], rules(rule(False, protocol="tcp", ports=3306)))}),
    "into the site": ("tier to site", {"eth4": SHUT_IN}),
    "one port": ("site to tier", {"eth2": (rules(rule(protocol="tcp", ports=80)), OPEN[1])}),
}


@pytest.mark.parametrize("speaks", [0, 1], ids=["client", "server"])
@pytest.mark.parametrize(("way", "acls"), REVOKED.values(), ids=REVOKED.keys())
def test_what_was_cut_stays_cut_and_is_reset(network: Network, way: str, acls: dict[str, Any], speaks: int) -> None:
    """Also from the side whose own way is open: it may begin a connection, but not go on with this one (B18)."""
    network.load(routers())
    with network.stream(*WAYS[way]) as ends:
        network.load(routers(**acls))
        network.forget()
        ends[speaks].say("still here")
        assert ends[speaks].hears(5) == "ConnectionResetError"
        assert ends[1 - speaks].hears(0.3) == ""


def test_who_does_not_listen_to_resets_gets_nothing_through(network: Network) -> None:
    """A VM may be made to go on sending for ever."""
    network.load(routers())
    deaf = "add table t; add chain t c { type filter hook input priority 0; }; add rule t c tcp flags rst drop"
    with network.stream(*WAYS["tier to tier"]) as ends:
        network.load(routers(eth3=SHUT))
        for name in ("first", "second"):
            network.hosts[name].run("nft", deaf)
        try:
            network.forget()
            for end in ends:
                end.say("still here")
            assert [end.hears(2.5) for end in ends] == ["", ""]
        finally:
            for name in ("first", "second"):
                network.hosts[name].run("nft", "delete table t")


def test_a_server_does_not_go_on_with_a_revoked_forward(network: Network) -> None:
    """Its packets would leave as those of a connection that the VM began, with the very same address and port (B18)."""
    network.load(routers())
    with network.stream("internet", "first", VPC_IP, 80) as (client, server):
        network.load(vpc(acls={"eth2": OPEN}))
        network.forget()
        server.say("still here")
        assert server.hears(5) == "ConnectionResetError"
        assert client.hears(0.3) == ""


def test_the_internet_hears_no_reset(network: Network) -> None:
    """Whoever looks for open ports gets silence, and with another's address nothing that reaches that one."""
    network.load(routers(eth2=(RuleList(), OPEN[1])))
    count = "add table t; add chain t c { type filter hook input priority 0; }; add rule t c tcp flags rst counter"
    host = network.hosts["internet"]
    host.run("nft", count)
    scan = (
        "import socket, struct\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)\n"
        "s.connect(('192.0.2.51', 0))\n"
        "pseudo = socket.inet_aton('192.0.2.1') + socket.inet_aton('192.0.2.51') + struct.pack('>BBH', 0, 6, 20)\n"
        "for port in range(1, 100):\n"
        "    h = struct.pack('>HHIIBBHHH', 40000, port, 1, 1, 80, 16, 1000, 0, 0)\n"
        "    t = sum(struct.unpack('>16H', pseudo + h)); t = (t >> 16) + (t & 65535); t += t >> 16\n"
        "    s.send(h[:16] + struct.pack('>H', ~t & 65535) + h[18:])\n"
    )
    try:
        host.run(sys.executable, "-c", scan)
        assert "counter packets 0 " in host.run("nft", "list table t").stdout
    finally:
        host.run("nft", "delete table t")


def test_a_vm_has_no_more_of_a_service_by_the_ports_of_connections_that_were_reset(
    network: Network, tmp_path: Path
) -> None:
    """Their SYNs are known to connection tracking, which does not count what is known: ten pass, then two a second."""
    network.load(routers())
    words = ["ip", "netns", "exec", network.router.namespace, sys.executable, "-c", HOLDER, str(tmp_path / "hold")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            vm = network.hosts["first"]
            vm.run(sys.executable, "-c", MANY, "one by one")
            (tmp_path / "hold").touch()
            began = time.monotonic()
            held = int(vm.run(sys.executable, "-c", MANY, "at once").stdout)
            assert 1 <= held <= 100 + 10 + 2 * (time.monotonic() - began)
        finally:
            holder.kill()
