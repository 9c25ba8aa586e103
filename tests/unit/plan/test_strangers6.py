# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Of neighbours that have never spoken few are looked for at a time, whatever is sent to them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, RuleList
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import Packet6
from tests.unit.apply.namespace import namespace, needs_root
from tests.unit.plan import test_why, test_why6
from tests.unit.plan.test_ipv6 import CLIENT, isolated

GAUGE = """
table inet gauge {
    counter scanned { }
    chain last {
        type filter hook postrouting priority 10;
        ip6 saddr 2001:db8:99::10 counter name scanned
    }
}
"""
SENT = 3000


def looked_for(router: Router, frames: list[tuple[str, str]]) -> tuple[int, float]:
    """Send the frames; return how many packets come to where neighbours are looked for, and in how many seconds."""
    with namespace() as space:
        test_why.set_up(space, router, GAUGE)
        started = time.monotonic()
        space(("python3", "-c", test_why.SENDER), stdin=json.dumps(frames))
        listed = json.loads(space(("nft", "-j", "list", "counter", "inet", "gauge", "scanned")))
        seconds = time.monotonic() - started
    return next(item["counter"]["packets"] for item in listed["nftables"] if "counter" in item), seconds


@needs_root
@pytest.mark.parametrize(
    ("protocol", "port"), [("udp", 53), ("icmp", 128), ("icmp", 135), ("icmp", 136), ("icmp", 133)]
)
def test_a_scan_of_any_kind_is_slowed_down(protocol: str, port: int) -> None:
    """Also one by what looks like neighbour discovery: that of the router itself has the hop limit of one link."""
    router = replace(isolated(), inbound6=RuleList(default_allow=True))
    mac = next(nic.mac for nic in router.nics if nic.name == "eth2")
    first = int(IPv6Address("2001:db8:a:1::1000"))
    packets = [Packet6(IPv6Address(CLIENT), IPv6Address(first + n), protocol, port) for n in range(SENT)]
    frames = [("eth2", test_why6.frame(packet, n, mac)) for n, packet in enumerate(packets)]
    found, seconds = looked_for(router, frames)
    assert 50 < found < 150 + 100 * seconds


@needs_root
def test_a_vm_that_asks_for_many_has_few_of_them_looked_for() -> None:
    """It may send from any address of its network, and whoever is asked, such as a name server, answers all of them."""
    router = replace(isolated(), egress6=RuleList(default_allow=True))
    macs = {nic.name: nic.mac for nic in router.nics}
    first = int(IPv6Address("2001:db8:a:1::1000"))
    packets = [Packet6(IPv6Address(first + n), IPv6Address(CLIENT), "udp", 53) for n in range(SENT)]
    frames = [("eth0", test_why6.frame(packet, n, macs["eth0"])) for n, packet in enumerate(packets)]
    frames += [("eth2", test_why6.frame(packet, n, macs["eth2"], answer=True)) for n, packet in enumerate(packets)]
    found, seconds = looked_for(router, frames)
    assert 500 < found < 1050 + 200 * seconds


@needs_root
def test_a_vm_that_speaks_for_many_leaves_room_for_others() -> None:
    """What it says beyond its share is believed by the kernel, and not remembered here."""
    router = isolated()
    own, first = IPv6Address("2001:db8:a:1::1"), IPv6Address("2001:db8:a:1::1000")
    mac = next(nic.mac for nic in router.nics if nic.name == "eth0")

    def speaks(source: IPv6Address, number: int, sender: str) -> tuple[str, str]:
        said = test_why6.frame(Packet6(source, own, "icmp", 135), number, mac)
        return "eth0", said[:12] + sender + said[24:42] + "ff" + said[44:]

    frames = [speaks(first + n, n, "02ff00000001") for n in range(150)]
    frames += [speaks(first + 150, 150, "02ff00000002")]
    with namespace() as space:
        test_why.set_up(space, router, GAUGE)
        space(("python3", "-c", test_why.SENDER), stdin=json.dumps(frames))
        listed = space(("nft", "-j", "list", "set", "inet", "cloudstack", "neighbours6"))
    (held,) = (item["set"] for item in json.loads(listed)["nftables"] if "set" in item)
    known = {element["elem"]["val"] for element in held["elem"]}
    assert str(first + 150) in known
    assert 60 < len(known) < 75


@needs_root
def test_who_is_not_on_the_link_is_no_neighbour() -> None:
    """From the internet anybody may send from an address of the public network, through the router that leads there."""
    router = isolated()
    own, neighbour = IPv6Address("2001:db8:f::10"), IPv6Address("2001:db8:f::77")
    mac = next(nic.mac for nic in router.nics if nic.name == "eth2")
    far = [test_why6.frame(Packet6(neighbour + n, own, "icmp", 135), n, mac) for n in range(1, 50)]
    near = test_why6.frame(Packet6(neighbour, own, "icmp", 135), 0, mac)
    near = near[:42] + "ff" + near[44:]
    with namespace() as space:
        test_why.set_up(space, router, GAUGE)
        space(("python3", "-c", test_why.SENDER), stdin=json.dumps([("eth2", frame) for frame in [*far, near]]))
        listed = space(("nft", "-j", "list", "set", "inet", "cloudstack", "neighbours6"))
    (held,) = (item["set"] for item in json.loads(listed)["nftables"] if "set" in item)
    assert [element["elem"]["val"] for element in held.get("elem", ())] == [str(neighbour)]
