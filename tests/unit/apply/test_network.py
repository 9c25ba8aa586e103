# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `ip -json` says is read, compared and repaired on a real kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import network
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.network import (
    announce,
    observe,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.nics import nics
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic, Router, StaticRoute
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.interfaces import Link, PolicyRule, Route
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import IpBatch
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.plan.samples import isolated, with_settings

pytestmark = needs_root

ROUTE = StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("192.0.2.1"), "eth2")


@pytest.fixture
def router() -> Router:
    """Return an isolated router with every kind of route."""
    management = {
        "management_gateway": IPv4Address("169.254.0.1"),
        "management_networks": (IPv4Network("10.9.0.0/16"),),
    }
    return with_settings(isolated(routes=(ROUTE,)), **management)


@pytest.fixture
def host(router: Router) -> Iterator[Namespace]:
    """Return a namespace with the router's NICs."""
    with namespace() as found:
        for nic in router.nics:
            found.plug(nic.name, nic.mac)
        yield found


def live(host: Namespace) -> interfaces.Network:
    """Return the state of the kernel."""
    return observe(host)


def converge(host: Namespace, router: Router) -> tuple[str, ...]:
    """Apply what is missing and return it."""
    batches = [step for step in interfaces.compare(router, live(host)) if isinstance(step, IpBatch)]
    for step in batches:
        host(("ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in step.lines))
    return batches[0].lines if batches else ()


def test_other_interfaces_are_left_out(host: Namespace, tmp_path: Path) -> None:
    """lo, and the other ends of the wires, are no NICs of the router, nor is one that goes at this moment."""
    for name, mac in (("lo", "00:00:00:00:00:00"), ("eth10", "02:00:00:00:00:0a"), ("eth2", "02:00:00:00:00:02")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(f"{mac}\n")
    (tmp_path / "eth3").mkdir()
    assert nics(str(tmp_path)) == [Nic("eth10", "02:00:00:00:00:0a"), Nic("eth2", "02:00:00:00:00:02")]
    assert set(live(host).links) == {f"eth{n}" for n in range(4)}


def test_observe_reads_what_was_set(host: Namespace, router: Router) -> None:
    """The kernel's own words are those of the plan: a second converge does nothing (B1)."""
    assert live(host).addresses["eth2"] == ()
    assert converge(host, router)
    assert live(host) == interfaces.network(router)
    assert converge(host, router) == ()


SABOTAGE = {
    "address removed": "addr del 192.0.2.11/24 dev eth2",
    "primary address removed": "addr del 192.0.2.10/24 dev eth2",
    "address added": "addr add 192.0.2.99/24 dev eth2",
    "address added in a subnet of its own": "addr add 172.31.0.1/24 dev eth0",
    "link down": "link set eth3 down",
    "mtu changed": "link set eth0 mtu 1400",
    "default route deleted": "route del default",
    "default route changed": "route replace default via 192.0.2.200",
    "second default route": "route add default via 192.0.2.200 metric 50",
    "part of the guest network led elsewhere by hand": "route add 10.1.1.128/25 via 192.0.2.7",
    "default route of a table of ours added by hand": "route add default via 192.0.2.7 table 100",
    "route of a databag that was removed": "route add 10.77.0.0/16 via 192.0.2.7 proto static",
    "host route added by hand": "route add 10.78.0.1 via 192.0.2.7 proto static",
    "throw deleted": "route del throw 10.1.1.0/24 table 102",
    "route of a table deleted": "route del default table 103",
    "table filled by hand": "route add 10.79.0.0/16 via 192.0.2.7 table 150",
    "rule deleted": "rule del priority 1103",
    "rule added": "rule add fwmark 150 lookup 150 priority 1150",
    "source rule added": "rule add from 10.66.0.0/16 lookup 102 priority 2102",
    "foreign rule to a table of ours": "rule add from 10.66.0.0/16 tos 0x10 lookup 102 priority 7",
    "link down, then up": "link set eth2 down",
}


@pytest.mark.parametrize("command", SABOTAGE.values(), ids=SABOTAGE.keys())
def test_converge_repairs(host: Namespace, router: Router, command: str) -> None:
    """One converge brings back what was changed by hand, in one go."""
    converge(host, router)
    host.ip(command)
    assert converge(host, router), "the change was not seen"
    assert live(host) == interfaces.network(router)


def test_converge_repairs_a_link_that_went_down_and_up(host: Namespace, router: Router) -> None:
    """The link is as wanted, its routes are not."""
    converge(host, router)
    host.ip("link set eth3 down")
    host.ip("link set eth3 up")
    assert "route replace default via 198.51.100.1 dev eth3 table 103 proto static" in converge(host, router)
    assert live(host) == interfaces.network(router)


def test_converge_leaves_the_routes_of_others_alone(host: Namespace, router: Router) -> None:
    """Routes of the kernel and of routing daemons, other tables and other rules are not ours."""
    converge(host, router)
    for line in ("route add 10.88.0.0/16 via 192.0.2.7 proto bird", "route add 10.89.0.0/16 via 192.0.2.7 table 300"):
        host.ip(line)
    host.ip("rule add from 10.66.0.0/16 lookup 300 priority 5000")
    assert converge(host, router) == ()


def test_what_peers_have_said_is_not_even_read(host: Namespace, router: Router) -> None:
    """It may be the whole internet, and every converge would wait for that."""
    converge(host, router)
    host.ip("route add 10.88.0.0/16 via 192.0.2.7 proto bgp")
    host.ip("-6 route add 2001:db8:88::/48 dev eth2 proto bgp")
    said = host(*network.READ)
    assert "10.50.0.0/16" in said
    assert "10.88.0.0" not in said
    assert "2001:db8:88" not in said


def test_converge_keeps_a_route_added_by_hand_until_it_contradicts(host: Namespace, router: Router) -> None:
    """A monitor's network by one more next hop, say; when a databag has that network, the databag has its way."""
    converge(host, router)
    for line in (
        "route add 10.77.0.0/16 via 192.0.2.7",
        "route add 10.0.0.0/8 via 192.0.2.7",
        "route add blackhole 10.66.0.0/16",
    ):
        host.ip(line)
    assert converge(host, router) == ()
    wider = replace(router, routes=(StaticRoute(IPv4Network("10.76.0.0/15"), IPv4Address("192.0.2.1"), "eth2"),))
    (step,) = (s for s in interfaces.compare(wider, live(host)) if isinstance(s, IpBatch))
    assert [warning.split(":")[0] for warning in step.warnings] == [
        "route 10.77.0.0/16 via 192.0.2.7 dev eth2 table 254"
    ]
    assert converge(host, wider)
    assert "10.77" not in host.ip("route show")
    assert "10.66" in host.ip("route show")
    assert converge(host, wider) == ()


def test_observe_reads_metric_and_host_routes(host: Namespace, router: Router) -> None:
    converge(host, router)
    host.ip("route add 10.78.0.1 via 192.0.2.7 metric 7")
    found = live(host)
    assert Route(254, "10.78.0.1/32", via="192.0.2.7", device="eth2", metric=7) in found.routes
    assert Route(103, "10.1.1.0/24", "throw") in found.routes
    assert PolicyRule(103, source="198.51.100.0/24") in found.rules
    assert found.links["eth2"] == Link(up=True, mtu=1500)
    assert found.addresses["eth2"] == (IPv4Interface("192.0.2.10/24"), IPv4Interface("192.0.2.11/24"))


def test_observe_leaves_link_local_addresses_out(host: Namespace, router: Router) -> None:
    converge(host, router)
    host.ip("addr add 169.254.77.1/16 dev eth2 scope link")
    assert converge(host, router) == ()


class Wire:
    """Stand in for a packet socket."""

    frames: list[tuple[str, bytes]]

    opened = 0

    def __init__(self, *_family: int) -> None:
        Wire.opened += 1

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_error: object) -> None:
        """Close nothing."""

    def sendto(self, frame: bytes, address: tuple[str, int]) -> None:
        """Remember the frame."""
        Wire.frames.append((address[0], frame))


@pytest.mark.parametrize(("gateway", "asked"), [("192.0.2.1", ["192.0.2.10", "192.0.2.1"]), ("", ["192.0.2.10"])])
def test_announce_sends_a_gratuitous_arp_and_one_to_the_gateway(
    monkeypatch: pytest.MonkeyPatch, gateway: str, asked: list[str]
) -> None:
    """Without a gateway there is no second one (A4, D9)."""
    Wire.frames = []
    monkeypatch.setattr(network.socket, "socket", Wire)
    logged: list[str] = []
    announce([("eth2", "192.0.2.10", gateway)], {"eth2": "02:00:00:00:00:02"}, logged.append)
    assert [device for device, _frame in Wire.frames] == ["eth2"] * len(asked)
    for (_device, frame), target in zip(Wire.frames, asked, strict=True):
        mac = bytes.fromhex("020000000002")
        assert frame[:14] == b"\xff" * 6 + mac + b"\x08\x06", "to all, from the NIC, ARP"
        assert frame[14:22] == bytes.fromhex("0001080006040001"), "Ethernet, IPv4, a request"
        assert frame[22:32] == mac + socket.inet_aton("192.0.2.10")
        assert frame[38:42] == socket.inet_aton(target)
    assert len(logged) == 1
