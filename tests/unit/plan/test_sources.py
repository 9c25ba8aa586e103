# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Kind,
    Role,
    Router,
    StaticRoute,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import sources
from tests.unit.plan.pairs import vpc_pair
from tests.unit.plan.samples import CONTROL, GUEST, device, isolated, vpc, with_settings


def route(network: str, gateway: str, nic: str) -> StaticRoute:
    return StaticRoute(IPv4Network(network), IPv4Address(gateway), nic)


def number(address: str) -> int:
    return int(IPv4Address(address))


def ways(router: Router, address: str) -> set[str] | str:
    """Return the NICs by which a source is let in; `world` where no network holds it, else what is said instead."""
    (networks, _networks6, world), chains = sources.planned(router)
    by_name = {chain.name: chain for chain in chains}
    for element in networks.elements:
        ends, verdict = element.split(" : ")
        first, last = _ends(ends)
        if number(first) <= number(address) <= number(last):
            chain = by_name.get(verdict.removeprefix("goto "))
            if chain is None:
                return verdict
            assert chain.rules[-2:] == ("iifname lo accept", "drop")
            return {rule.split()[1] for rule in chain.rules[:-2]}
    return f"world: {' '.join(world.elements)}"


def _ends(element: str) -> list[str]:
    return element.split("-") if "-" in element else [str(IPv4Network(element)[at]) for at in (0, -1)]


WORLD = "world: lo eth0 eth1 eth4"
ROUTES = (
    route("172.21.0.0/16", "172.20.0.9", "eth4"),
    route("10.0.0.0/8", "172.20.0.9", "eth4"),
    route("10.77.0.0/16", "10.2.1.250", "eth2"),
    route("10.2.2.128/25", "10.2.1.250", "eth2"),
    route("0.0.0.0/1", "10.2.1.250", "eth2"),
    route("203.0.113.0/24", "192.0.2.254", "eth1"),
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.2.1.0", {"eth2"}),
        ("10.2.1.255", {"eth2"}),
        ("10.2.2.7", {"eth3"}),
        ("10.2.2.200", {"eth2", "eth3"}),
        ("10.2.3.1", {"eth4"}),
        ("10.77.1.1", {"eth2"}),
        ("10.255.255.255", {"eth4"}),
        ("172.20.0.9", {"eth4"}),
        ("172.21.3.4", {"eth4"}),
        ("169.254.0.1", {"eth0"}),
        ("192.0.2.77", {"eth1"}),
        ("203.0.113.7", {"eth1"}),
        ("11.0.0.1", WORLD),
        ("8.8.8.8", WORLD),
        ("0.0.0.0", "goto source_unspecified"),
        ("0.255.255.255", "goto source_unspecified"),
        ("1.0.0.0", WORLD),
        ("127.3.4.5", "goto source_loopback"),
        ("224.0.0.1", "drop"),
        ("240.0.0.1", "drop"),
        ("255.255.255.255", "drop"),
    ],
)
def test_a_source_belongs_to_the_nic_of_its_network_or_of_the_route_to_it(
    address: str, expected: set[str] | str
) -> None:
    """The longest prefix decides, a network stays its own NIC's, and half the internet is no network behind a VM."""
    assert ways(vpc(routes=ROUTES), address) == expected


def test_public_networks_are_one_internet() -> None:
    router = isolated()
    assert ways(router, "192.0.2.77") == ways(router, "198.51.100.77") == {"eth2", "eth3"}
    assert ways(router, "10.1.1.5") == {"eth0"}


def test_networks_that_two_nics_have_belong_to_both() -> None:
    twice = device("eth4", Role.PRIVATE_GATEWAY, "10.1.1.77/24")
    inner = device("eth5", Role.PRIVATE_GATEWAY, "10.1.1.130/25")
    router = isolated(GUEST, CONTROL, twice, inner)
    assert ways(router, "10.1.1.5") == {"eth0", "eth4"}
    assert ways(router, "10.1.1.200") == {"eth5"}, "the longest prefix"


def test_a_guest_nic_leads_to_the_world_by_live_routes_only() -> None:
    """Which the kernel is asked for: the default route of a shared network, or one that was added by hand."""
    for kind in Kind:
        assert "eth0" not in ways(with_settings(isolated(GUEST, CONTROL), kind=kind), "8.8.8.8").split()


def test_the_addresses_of_a_relayed_link_are_the_pairs() -> None:
    assert ways(vpc_pair(), "240.0.0.9") == "goto source_pair"


def test_reserved_networks_are_nobodys_though_a_nic_has_them() -> None:
    router = isolated(GUEST, CONTROL, device("eth2", Role.PUBLIC, "240.1.0.5/16", "127.0.0.9/8", "0.0.0.9/8"))
    assert (ways(router, "240.1.0.9"), ways(router, "127.0.0.7")) == ("drop", "goto source_loopback")


@pytest.mark.parametrize("seed", range(30))
def test_ranges_do_not_overlap_and_say_what_a_slow_look_up_says(seed: int) -> None:
    """Random nests of networks and routes, judged by hand for each address next to an edge."""
    chance = random.Random(seed)

    def network() -> IPv4Network:
        address = (10 << 24) + (chance.randrange(4) << 16) + (chance.randrange(4) << 8) + chance.randrange(256)
        return IPv4Network((address, chance.choice((12, 16, 22, 24, 25, 28, 32))), strict=False)

    guests = [device(f"eth{n}", Role.GUEST, f"{(net := network())[0]}/{net.prefixlen}") for n in range(4)]
    routes = [StaticRoute(network(), IPv4Address("10.0.0.1"), f"eth{chance.randrange(4)}") for _number in range(5)]
    connected = [(d.networks[0], d.name) for d in guests]
    routes = [r for r in routes if r.network not in [n for n, _nic in connected]]
    router = vpc(devices=tuple(guests), routes=tuple(routes))
    found = [element.split(" : ")[0] for element in sources.planned(router)[0][0].elements]
    ends = sorted(tuple(map(number, _ends(e))) for e in found)
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    edges = {int(n.network_address) + d for n, _nic in connected for d in (-1, 0)}
    edges |= {int(n.broadcast_address) + d for n, _nic in connected for d in (0, 1)}
    edges |= {int(r.network.network_address) + d for r in routes for d in (-1, 0)}
    edges |= {int(r.network.broadcast_address) + d for r in routes for d in (0, 1)}
    for edge in edges:
        address = IPv4Address(edge)
        assert ways(router, str(address)) == _slowly(address, connected, routes), address


def _slowly(
    address: IPv4Address, connected: list[tuple[IPv4Network, str]], routes: list[StaticRoute]
) -> set[str] | str:
    known = [(n.prefixlen, True, nic) for n, nic in connected if address in n]
    known += [(r.network.prefixlen, False, r.device) for r in routes if address in r.network]
    if not known:
        return "world: lo"
    longest = max(length for length, _is, _nic in known)
    nics = {nic for length, _is, nic in known if length == longest}
    if all(is_connected for length, is_connected, _nic in known if length == longest):
        return nics
    around = max((length for length, is_connected, _nic in known if is_connected), default=None)
    return nics | {nic for length, is_connected, nic in known if is_connected and length == around}
