# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-pair-relay between two real networks with two tiers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.apply.namespace import Namespace, namespace, needs_root

pytestmark = needs_root

SCRIPT = Path(__file__).resolve().parents[3] / "libexec" / "vr-pair-relay"
KEY = "11" * 32
TELL = (
    "import socket, sys\n"
    "opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))\n"
    "for number in range(int(sys.argv[3])):\n"
    "    opened.sendto(b'%d' % number, ('225.0.0.50', int(sys.argv[2])))\n"
)
HEAR = (
    "import socket, sys, time\n"
    "opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "group = socket.inet_aton('225.0.0.50')\n"
    "opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(sys.argv[1]))\n"
    "opened.bind(('225.0.0.50', int(sys.argv[2])))\n"
    "print('ready', flush=True)\n"
    "opened.settimeout(float(sys.argv[3]))\n"
    "try:\n"
    "    while True:\n"
    "        print(opened.recv(2048).decode(), flush=True)\n"
    "except TimeoutError:\n"
    "    pass\n"
)
SNIFF = (
    "import socket, sys, time\n"
    "opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
    "opened.bind((sys.argv[1], 0x0800))\n"
    "end = time.monotonic() + float(sys.argv[2])\n"
    "found = []\n"
    "while (left := end - time.monotonic()) > 0:\n"
    "    opened.settimeout(left)\n"
    "    try:\n"
    "        frame, sender = opened.recvfrom(2048)\n"
    "    except TimeoutError:\n"
    "        break\n"
    "    if frame[36:38] == (3782).to_bytes(2, 'big'):\n"
    "        found.append(frame)\n"
    "print(''.join(frame.hex() + chr(10) for frame in found))\n"
)


@dataclass
class Node:
    """One of the two routers: its network, its address on the link, and its relay."""

    net: Namespace
    own: str
    folder: Path
    relay: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, key: str = KEY) -> None:
        """Write its files, and start the relay."""
        number = self.own[-1]
        wires = f"eth2=10.2.1.{number}/24 eth3=10.2.2.{number}/24"
        (self.folder / "relay").write_text(f"# owner\nOWN='{self.own}'\nWIRES='{wires}'\nHEARD_MS='300'\n")
        (self.folder / "relay.key").write_text(f"{key}\n")
        enter = ("ip", "netns", "exec", self.net.name, "env", f"VR_PAIR_DIRECTORY={self.folder}")
        self.relay = subprocess.Popen([*enter, sys.executable, "-IS", str(SCRIPT)])

    def stop(self) -> None:
        """Kill the relay."""
        if self.relay is not None:
            self.relay.kill()
            self.relay.wait()

    @contextmanager
    def hearing(self, wait: float = 0.4) -> Iterator[list[str]]:
        """Note what comes on the link, until nothing does for some time after the block."""
        heard: list[str] = []
        words = ("ip", "netns", "exec", self.net.name, sys.executable, "-c", HEAR, self.own, "3780", str(wait))
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield heard
            heard += process.stdout.read().split()

    def tell(self, count: int = 20, port: int = 3780) -> None:
        """Send datagrams to the group of the pair on the link."""
        self.net((sys.executable, "-c", TELL, self.own, str(port), str(count)))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Return two routers that share two tiers; no relay runs."""
    with namespace() as one, namespace() as other:
        made = []
        for number, net in ((1, one), (2, other)):
            folder = tmp_path / str(number)
            folder.mkdir()
            net.ip("link add pair0 mtu 1280 type veth peer name pair1")
            net.ip(f"address add 240.0.0.{number}/32 dev pair0")
            made.append(Node(net, f"240.0.0.{number}", folder))
        for tier in (1, 2):
            plug(made, tier)
        for node in made:
            for nic in ("pair0", "pair1"):
                node.net.ip(f"link set {nic} up")
        try:
            yield made[0], made[1]
        finally:
            for node in made:
                node.stop()


def plug(nodes: list[Node], tier: int) -> None:
    """Wire a tier between the two."""
    nodes[0].net.ip(f"link add eth{tier + 1} type veth peer name eth{tier + 1} netns {nodes[1].net.name}")
    for number, node in enumerate(nodes, start=1):
        node.net.ip(f"address add 10.2.{tier}.{number}/24 dev eth{tier + 1}")
        node.net.ip(f"link set eth{tier + 1} up")


def heard_from(one: Node, other: Node, patience: float = 30.0) -> list[str]:
    """Tell something until it is heard, and then what counts."""
    end = time.monotonic() + patience
    while True:
        with other.hearing() as heard:
            one.tell()
        if heard or time.monotonic() > end:
            return heard


ALL = [str(number) for number in range(20)]


def test_what_one_says_the_other_hears_once(nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        node.start()
    assert heard_from(*nodes) == ALL
    assert heard_from(nodes[1], nodes[0]) == ALL


def test_who_has_another_password_is_not_heard(nodes: tuple[Node, Node]) -> None:
    nodes[0].start()
    nodes[1].start("22" * 32)
    assert heard_from(*nodes, patience=2) == []


def test_only_what_a_pair_says_is_carried(nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        node.start()
    assert heard_from(*nodes) == ALL
    with nodes[1].hearing() as heard:
        nodes[0].tell(port=3779)
    assert heard == []


def test_recordings_are_worth_nothing(nodes: tuple[Node, Node]) -> None:
    """Played from where they were made, on the same tier and on the other one, before and after a restart."""
    one, other = nodes
    for node in nodes:
        node.start()
    assert heard_from(*nodes) == ALL
    words = ("ip", "netns", "exec", other.net.name, sys.executable, "-c", SNIFF, "eth2", "1.5")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout is not None
        time.sleep(0.5)
        one.tell()
        recorded = sniffer.stdout.read()
    assert len(recorded.split()) >= 20
    send = SEND.format("eth2") + SEND.format("eth3")
    one.stop()
    for restart in (False, True):
        if restart:
            other.stop()
            other.start()
            time.sleep(0.5)
        with other.hearing(1.0) as heard:
            one.net((sys.executable, "-c", f"import socket, sys\nlines = sys.stdin.read().split()\n{send}"), recorded)
        assert heard == []


SEND = (
    "opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
    "opened.bind(('{}', 0))\n"
    "for line in lines:\n"
    "    opened.send(bytes.fromhex(line))\n"
)


@pytest.mark.parametrize("fault", ["one killed", "lowest tier gone", "all plugged again", "link made again"])
def test_they_find_each_other_again(nodes: tuple[Node, Node], fault: str) -> None:
    one, other = nodes
    for node in nodes:
        node.start()
    assert heard_from(one, other) == ALL
    if fault == "one killed":
        other.stop()
        other.start()
    elif fault == "link made again":
        other.net.ip("link del pair0")
        other.net.ip("link add pair0 mtu 1280 type veth peer name pair1")
        other.net.ip("address add 240.0.0.2/32 dev pair0")
        other.net.ip("link set pair0 up")
        other.net.ip("link set pair1 up")
    else:
        for tier in (1, 2) if fault == "all plugged again" else (1,):
            one.net.ip(f"link del eth{tier + 1}")
            if fault == "all plugged again":
                plug([one, other], tier)
    assert heard_from(one, other) == ALL
    assert heard_from(other, one) == ALL
