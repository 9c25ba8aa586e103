# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IPv6 against those who scan prefixes, speak for others, and hide what they send behind headers and in fragments.

The router is a namespace with the links, settings and rules that are planned for the drops: no daemon has a part in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.cmdline import parse_cmdline
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import IpBatch
from tests.golden.cases import renderer
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import PingStream, ask_all, ping, tcp
from tests.lab.process import wait_for
from tests.scenarios import dual
from tests.scenarios.dual import APP, CLIENT6, WEB, acl, acl_rule, address6, tier

WEB1, WEB2, APP1 = (address6(name) for name in ("web1", "web2", "app1"))
ALL = acl_rule("all")
SCAN = """
import os, socket, sys, time
wire = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
prefix = socket.inet_pton(socket.AF_INET6, sys.argv[1])[:8]
start = time.monotonic()
for number in range(int(sys.argv[2])):
    wire.sendto(b"", (socket.inet_ntop(socket.AF_INET6, prefix + os.urandom(8)), 53))
    time.sleep(max(0, start + number / 4000 - time.monotonic()))
"""
"""Send a datagram to so many addresses of a /64, 4,000 in a second."""
CLAIM = """
import os, socket, struct, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
mac, router = (bytes.fromhex(open(f"/sys/class/net/eth0/address").read().replace(":", "")), sys.argv[2])
prefix, target = (socket.inet_pton(socket.AF_INET6, ip) for ip in (sys.argv[1], router))
def total(data):
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16: found = (found & 0xFFFF) + (found >> 16)
    return ~found & 0xFFFF
for number in range(int(sys.argv[3])):
    source, group = prefix[:8] + os.urandom(8), bytes.fromhex("ff0200000000000000000001ff") + target[13:]
    body = struct.pack("!BBHI", 135, 0, 0, 0) + target + b"\\1\\1" + mac
    checked = total(source + group + struct.pack("!II", len(body), 58) + body)
    body = body[:2] + struct.pack("!H", checked) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + group
    wire.send(b"\\x33\\x33\\xff" + target[13:] + mac + b"\\x86\\xdd" + head + body)
"""
"""Ask for the router in the name of so many neighbours that are not there (RFC 3756, section 4.3.2)."""
HIDDEN = """
import socket, sys
headers = {"destination": (59, b"\\0\\0\\1\\4\\0\\0\\0\\0"), "hop": (54, b"\\0\\0\\1\\4\\0\\0\\0\\0")}
kind, size, target, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
wire = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
if kind in headers: wire.setsockopt(socket.IPPROTO_IPV6, *headers[kind])
wire.settimeout(1)
wire.sendto(bytes(size), (target, port))
try: print("open" if wire.recv(65536) else "")
except TimeoutError: print("timeout")
"""
"""Send a datagram behind an extension header, or one that becomes fragments, and say whether it was answered."""
QUERY = """
import socket, sys
wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
index = socket.if_nametoindex("eth0")
wire.setsockopt(socket.IPPROTO_IPV6, 54, b"\\0\\0\\5\\2\\0\\0\\1\\0")
wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
group = socket.inet_pton(socket.AF_INET6, "ff02::16") + index.to_bytes(4, sys.byteorder)
wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
wire.sendto(b"\\x82\\0\\0\\0\\0\\x64\\0\\0" + bytes(16) + b"\\2\\5\\0\\0", ("ff02::1", 0, 0, index))
wire.settimeout(5)
while socket.inet_pton(socket.AF_INET6, sys.argv[1]) not in wire.recv(65536): pass
print("member")
"""
"""Ask who is in which group (RFC 3810), until somebody says that he is in this one."""

SPOOF = """
import socket, struct, sys
wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source in sys.argv[2:]:
    ends = b"".join(socket.inet_pton(socket.AF_INET6, ip) for ip in (source, sys.argv[1]))
    datagram = struct.pack("!HHHH", 40000, 53, 8, 0)
    wire.sendto(struct.pack("!IHBB", 6 << 28, 8, 17, 64) + ends + datagram, (sys.argv[1], 0))
"""
"""Send a datagram from each of these addresses."""

GAUGE = """
table inet gauge {
    counter scanned { }
    chain last {
        type filter hook postrouting priority 10;
        udp dport 53 counter name scanned
    }
}
"""


@dataclass(frozen=True)
class Vpc:
    """The router as a namespace, and all hosts by name."""

    router: Host
    hosts: dict[str, Host]

    def loads(self, *ingress: dual.Drop) -> None:
        """Load the rules under which the first tier lets in what these say; the other one is open."""
        self.nft(tables.wanted(planned(*ingress), renderer(), ftp=False)[1].files[0].content)

    def nft(self, text: str) -> None:
        """Load a text of nftables."""
        self.router.run("sh", "-euc", 'printf %s "$1" | nft --file -', "load", text)


def planned(*ingress: dual.Drop) -> Router:
    """Return the router of the drops of two tiers."""
    given = [dual.public_address(1), tier(WEB, six=True), tier(APP, six=True)]
    given += [acl(WEB, ingress, [ALL], six=True), acl(APP, [ALL], [ALL], six=True)]
    drops = [parse_drop(f"{body['type']}.json.{n}", json.dumps(body).encode()) for n, body in enumerate(given)]
    config = parse_cmdline(dual.vpc_cmdline())["cmd_line"]
    bags = merge_all({"cmdline": {"id": "cmdline", "config": config}}, drops)
    macs = {"eth0": dual.CONTROL_MAC, "eth1": dual.PUBLIC_MAC, WEB.nic: WEB.mac, APP.nic: APP.mac}
    return build(bags, [Nic(name, mac) for name, mac in macs.items()])


@pytest.fixture(scope="module")
def vpc() -> Iterator[Vpc]:
    """Return a VPC with two tiers with IPv6, open in both directions."""
    with Lab("hostile6") as lab:
        hosts = dual.outside(lab, [WEB, APP]) | dual.guests(lab, [WEB, APP])
        router = lab.host("router", "control", (), mac=dual.CONTROL_MAC)
        router.add_nic("eth1", "public", dual.PUBLIC_MAC)
        for segment in (WEB, APP):
            router.add_nic(segment.nic, segment.name, segment.mac)
        found = planned(ALL)
        knobs = "; ".join(f"echo {value} >{path}" for path, value in interfaces.wanted(found, 1).knobs)
        batches = [step for step in interfaces.compare(found, interfaces.Network()) if isinstance(step, IpBatch)]
        lines = "\n".join(line for batch in batches for line in batch.lines)
        router.run("sh", "-euc", knobs + '; echo "$1" | ip -batch -', "set-up", lines)
        for name in ("client", "other", "web1", "web2", "app1"):
            hosts[name].probe.serve(tcp=dual.SERVED_TCP, udp=dual.SERVED_UDP)
        for name in ("web1", "web2", "app1"):
            hosts[name].add_address(f"{address6(name)}/64")
            hosts[name].add_route("default", dual.VMS[name][0].router6)
        made = Vpc(router, hosts)
        made.loads(ALL)
        made.nft(GAUGE)
        yield made


def looked_for(vpc: Vpc) -> int:
    """Return how many datagrams of the scan have come to where their neighbours are looked for."""
    shown = vpc.router.run("nft", "list", "counter", "inet", "gauge", "scanned").stdout
    return int(shown.split("packets ")[1].split()[0])


def test_a_prefix_that_is_scanned_costs_nobody_his_neighbours(vpc: Vpc) -> None:
    """RFC 6583: by a host outside to which all is open, while others go on and begin anew."""
    hosts = vpc.hosts
    assert [bool(r) for r in ask_all([(hosts["client"], ping(ip)) for ip in (WEB1, WEB2, APP1)])] == [True] * 3
    started = time.monotonic()
    words = ("ip", "netns", "exec", hosts["other"].namespace, sys.executable, "-c", SCAN, "2001:db8:a:1::", "12000")
    with (
        PingStream(hosts["client"], WEB1) as web,
        PingStream(hosts["client"], APP1) as app,
        PingStream(hosts["web1"], CLIENT6) as out,
        subprocess.Popen(words) as scan,
    ):
        asked: list[bool] = []
        while scan.poll() is None:
            asked += map(bool, ask_all([(hosts["client"], tcp(WEB2, 22)), (hosts["client"], tcp(APP1, 22))]))
            time.sleep(0.1)
        found = looked_for(vpc)
    assert (web.lost, app.lost, out.lost) == (0, 0, 0)
    assert len(asked) > 4
    assert all(asked)
    assert 50 < found < 150 + 100 * (time.monotonic() - started) < 12000


def test_a_vm_that_speaks_for_neighbours_who_are_not_there(vpc: Vpc) -> None:
    hosts = vpc.hosts
    started = time.monotonic()
    with PingStream(hosts["client"], APP1) as app, PingStream(hosts["web1"], CLIENT6) as web:
        hosts["web2"].run(sys.executable, "-c", CLAIM, "2001:db8:a:1::", WEB.router6, "5000")
        shown = vpc.router.ip("-6", "neighbour", "show", "dev", WEB.nic)
        found = shown.count(dual.VMS["web2"][2])
    assert (web.lost, app.lost) == (0, 0)
    assert 50 < found < 250 + 100 * (time.monotonic() - started)


@pytest.mark.parametrize(("host", "target"), [("web2", CLIENT6), ("client", WEB1)])
def test_nobody_sends_from_an_address_of_the_router(vpc: Vpc, host: str, target: str) -> None:
    """Whoever has sent last is heard, and nobody before."""
    vpc.loads(ALL)
    before = looked_for(vpc)
    own = [WEB.router6, APP.router6, dual.OWN6, "2001:db8:a:1::"]
    vpc.hosts[host].run(sys.executable, "-c", SPOOF, target, *own, address6(host) if host in dual.VMS else CLIENT6)
    wait_for(lambda: looked_for(vpc) > before, 10, "the honest datagram")
    assert looked_for(vpc) == before + 1


def hidden(vpc: Vpc, kind: str, size: int, port: int) -> str:
    """Return what becomes of a datagram to the first tier."""
    host = vpc.hosts["client"]
    return host.run(sys.executable, "-c", HIDDEN, kind, str(size), WEB1, str(port)).stdout.strip()


def test_ipv6_13_a_protocol_is_what_comes_behind_extension_headers(vpc: Vpc) -> None:
    """Allowed and denied by number, in fragments and whole; ports count behind headers and in fragments."""
    shapes = [("none", 4000), ("destination", 8), ("destination", 4000)]
    vpc.loads(acl_rule("17"))
    assert [hidden(vpc, *shape, 53) for shape in shapes] == ["open"] * 3
    vpc.loads(acl_rule("17", allowed=False), ALL)
    assert [hidden(vpc, *shape, 53) for shape in shapes] == ["timeout"] * 3
    vpc.loads(acl_rule("udp", first_port=53, last_port=53))
    assert [hidden(vpc, *shape, 53) for shape in shapes] == ["open"] * 3
    assert [hidden(vpc, *shape, 5353) for shape in shapes] == ["timeout"] * 3


def test_ipv6_15_the_router_says_which_groups_it_is_in(vpc: Vpc) -> None:
    vpc.loads()
    assert vpc.hosts["web2"].run(sys.executable, "-c", QUERY, "ff02::1:ff00:1").stdout.strip() == "member"
