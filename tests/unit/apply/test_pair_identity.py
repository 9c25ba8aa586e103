# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is taken for the other router of an isolated pair: frames against the rulesets in a real kernel."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import DhcpHost
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import ruleset as firewall
from tests.golden.cases import renderer
from tests.scenarios import hostile
from tests.scenarios.hostile import Identity
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.plan.pairs import isolated_pair

pytestmark = needs_root

MEMORY = 0.6
"""How long a router counts as alive here, in seconds."""
ID = 51
PEER = Identity("02:00:00:00:00:85", "10.1.1.85")
STRANGER = Identity("02:00:00:00:00:99", "10.1.1.99")
VM = DhcpHost(mac="02:01:00:00:00:11", ip=IPv4Address("10.1.1.11"), name="vm", device="eth0")
SEND = (
    "import socket, sys\n"
    "opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
    "opened.bind(('xeth0', 0))\n"
    "for line in sys.stdin:\n"
    "    opened.send(bytes.fromhex(line.strip()))\n"
)
JOIN = (
    "import socket, sys\n"
    "opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "for group in ('224.0.0.18', '225.0.0.50'):\n"
    "    words = socket.inet_aton(group) + socket.inet_aton('10.1.1.84')\n"
    "    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, words)\n"
    "print('ready', flush=True)\n"
    "sys.stdin.read()\n"
)
"""What the daemons do: only members of a group hear it."""


@pytest.fixture
def router() -> Iterator[Namespace]:
    """Return a network with the rulesets of a router of a pair."""
    planned, render = replace(isolated_pair(vrrp_id=ID), hosts=(VM,)), renderer()
    link = planned.pair_link
    assert link is not None
    ruleset = render("nftables/ruleset.nft.j2", header="#", table="cloudstack", ruleset=firewall.ruleset(planned))
    peers = redundancy._peers(planned, link, render)
    with namespace() as found:
        found.plug("eth0", "02:00:00:00:00:84")
        found.ip("link set eth0 up")
        found.ip("address add 10.1.1.84/24 dev eth0")
        found(("nft", "-f", "-"), stdin=ruleset)
        found(("nft", "-f", "-"), stdin=re.sub(r"timeout \d+ms", f"timeout {round(1000 * MEMORY)}ms", peers))
        words = ("ip", "netns", "exec", found.name, sys.executable, "-c", JOIN)
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as member:
            assert member.stdout is not None
            assert member.stdout.readline() == "ready\n"
            yield found
            member.communicate("")


def advertisement(who: Identity, priority: int = 253, vrrp_id: int = ID, version: int = 3) -> bytes:
    body = hostile._version_3(who, vrrp_id, priority, "10.1.1.1")
    return hostile._ip(who, hostile.ELECTIONS, 112, bytes([version << 4 | 1]) + body[1:])


def states(who: Identity, port: int = 3780) -> bytes:
    return hostile._ip(who, hostile.STATES, 17, hostile._udp(port, b"states"))


def send(router: Namespace, *frames: bytes) -> None:
    """Send frames to the router, one after the other."""
    router((sys.executable, "-c", SEND), stdin="".join(f"{frame.hex()}\n" for frame in frames))


def known(router: Namespace, name: str) -> set[str]:
    """Return the addresses in a set."""
    listing = router(("nft", "list", "set", "inet", "cloudstack_pair", name))
    return set(re.findall(r"(?<![\d.])(?:\d+\.){3}\d+", listing))


def sign(router: Namespace, name: str) -> bool:
    """Tell whether a sign of the moment is there."""
    return "expires" in router(("nft", "list", "set", "inet", "cloudstack_pair", name))


def remember(router: Namespace, who: Identity) -> None:
    """Do what the watchdog does when it knows the other router."""
    router(("nft", f"add element inet cloudstack_pair former {{ {who.ip} . {who.mac} }}"))


def test_the_other_router_is_heard(router: Namespace) -> None:
    send(router, advertisement(PEER), states(PEER))
    assert known(router, "primaries") == known(router, "routers") == known(router, "peer") == {PEER.ip}


@pytest.mark.parametrize("priority", [0, 253, 254])
def test_what_our_pair_advertises_is_taken(router: Namespace, priority: int) -> None:
    send(router, advertisement(PEER, priority))
    assert known(router, "primaries") == {PEER.ip}


def test_what_our_pair_never_advertises_is_not(router: Namespace) -> None:
    wrong = [advertisement(PEER, priority) for priority in range(1, 253)] + [advertisement(PEER, 255)]
    wrong += [advertisement(PEER, 253, ID + 1)] + [advertisement(PEER, 253, version=n) for n in (0, 1, 2, 4, 15)]
    wrong += [states(PEER, port) for port in (3779, 3782, 22)]
    send(router, *wrong)
    assert known(router, "primaries") | known(router, "routers") | known(router, "peer") == set()


@pytest.mark.parametrize(
    "who",
    [
        Identity(VM.mac, str(VM.ip)),
        Identity(VM.mac, PEER.ip),
        Identity(PEER.mac, str(VM.ip)),
        Identity(PEER.mac, "10.1.1.84"),
        Identity(PEER.mac, "10.1.1.1"),
        Identity(PEER.mac, "10.1.2.85"),
        Identity(PEER.mac, "240.0.0.85"),
        Identity(PEER.mac, "0.0.0.0"),
    ],
)
def test_who_is_a_vm_or_cannot_be_there_is_no_router(router: Namespace, who: Identity) -> None:
    send(router, advertisement(who), advertisement(who, 0), states(who), states(who, 3781))
    assert known(router, "primaries") | known(router, "routers") | known(router, "peer") == set()


def test_while_the_other_router_lives_nobody_else_is_taken_for_it(router: Namespace) -> None:
    for _number in range(3):
        send(router, states(PEER), *(advertisement(STRANGER, priority) for priority in (0, 253, 254)))
    mixed = [Identity(PEER.mac, STRANGER.ip), Identity(STRANGER.mac, PEER.ip)]
    send(router, *(states(who) for who in mixed))
    assert known(router, "routers") == {PEER.ip}
    assert known(router, "primaries") == set()


def test_a_router_that_replaces_a_silent_one_is_heard(router: Namespace) -> None:
    remember(router, PEER)
    send(router, states(PEER), advertisement(PEER))
    send(router, states(STRANGER))
    assert STRANGER.ip not in known(router, "routers")
    time.sleep(MEMORY + 0.3)
    send(router, states(STRANGER), advertisement(STRANGER))
    assert STRANGER.ip in known(router, "routers")
    assert known(router, "primaries") == {STRANGER.ip}
    time.sleep(MEMORY + 0.3)
    another = Identity("02:00:00:00:00:86", "10.1.1.86")
    send(router, states(another))
    assert another.ip in known(router, "routers"), "and the next one"


def test_after_an_attack_only_the_router_of_before_is_heard(router: Namespace) -> None:
    """It may have lost its power; who spoke beside it is not the one that replaces it."""
    remember(router, PEER)
    send(router, states(PEER), states(STRANGER), states(PEER))
    assert sign(router, "alarm")
    time.sleep(MEMORY + 0.3)
    other = Identity("02:00:00:00:00:98", "10.1.1.98")
    send(router, *(frame for who in (STRANGER, other) for frame in (states(who), advertisement(who, 0))))
    assert known(router, "peer") == set()
    assert known(router, "routers") == {PEER.ip}
    send(router, advertisement(PEER))
    assert known(router, "primaries") == {PEER.ip}


def test_the_router_of_before_is_believed_when_it_is_back(router: Namespace) -> None:
    """Somebody has taken its place meanwhile."""
    remember(router, PEER)
    send(router, states(STRANGER))
    assert known(router, "peer") == {STRANGER.ip}
    send(router, advertisement(PEER), advertisement(STRANGER))
    assert known(router, "primaries") == {PEER.ip}


def test_any_number_of_strangers_keep_nobody_out(router: Namespace) -> None:
    remember(router, PEER)
    many = [Identity(f"02:00:00:00:{n // 200:02x}:{n % 200:02x}", f"10.1.1.{100 + n % 150}") for n in range(2000)]
    send(router, states(PEER), *(frame for who in many for frame in (states(who), advertisement(who))), states(PEER))
    send(router, advertisement(PEER))
    assert known(router, "primaries") == known(router, "routers") == {PEER.ip}
    assert len(known(router, "strangers")) <= 16
