# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Nic,
    Role,
    Router,
    StaticRoute,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.interfaces import (
    Link,
    Network,
    PolicyRule,
    Route,
    compare,
    network,
    wanted,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Announce, IpBatch
from tests.unit.plan.samples import CONTROL, EXTRA, GUEST, PUBLIC, device, isolated, vpc, with_settings


def lines(router: Router, live: Network) -> list[str]:
    """Return the lines for `ip -batch`."""
    return [line for step in compare(router, live) if isinstance(step, IpBatch) for line in step.lines]


def announced(router: Router, live: Network) -> list[tuple[str, str, str]]:
    """Return what is announced."""
    return [a for step in compare(router, live) if isinstance(step, Announce) for a in step.addresses]


def interfaces(*texts: str) -> tuple[IPv4Interface, ...]:
    """Return addresses with their prefix lengths."""
    return tuple(IPv4Interface(text) for text in texts)


@pytest.fixture
def router() -> Router:
    return isolated()


@pytest.fixture
def live(router: Router) -> Network:
    return network(router)


def test_compare_is_empty_when_all_is_as_wanted(router: Router, live: Network) -> None:
    assert compare(router, live) == []


def test_compare_ignores_the_order_of_further_addresses(router: Router, live: Network) -> None:
    """Only the first address of a subnet is special to the kernel."""
    three = replace(
        PUBLIC, addresses=(*PUBLIC.addresses, replace(PUBLIC.addresses[1], interface=IPv4Interface("192.0.2.12/24")))
    )
    wanting = isolated(GUEST, CONTROL, three, EXTRA)
    live = network(wanting)
    live.addresses["eth2"] = interfaces("192.0.2.10/24", "192.0.2.12/24", "192.0.2.11/24")
    assert compare(wanting, live) == []


def test_compare_from_nothing_sets_links_addresses_routes_rules_in_this_order(router: Router) -> None:
    """An address needs a link that is up for its routes, a route its address."""
    found = lines(router, Network())
    heads = [line.split()[0] for line in found]
    assert heads == sorted(heads, key=["link", "addr", "route", "rule"].index)
    assert "addr add 192.0.2.10/24 brd + dev eth2" in found
    assert found.index("addr add 192.0.2.10/24 brd + dev eth2") < found.index("addr add 192.0.2.11/24 brd + dev eth2")
    assert "route replace default via 192.0.2.1 dev eth2 table 254 proto static" in found
    assert "rule add fwmark 103 lookup 103 priority 1103" in found
    assert "rule add from 198.51.100.0/24 lookup 103 priority 2103" in found


def test_compare_removes_stale_state_before_it_adds(router: Router, live: Network) -> None:
    live.addresses["eth2"] = interfaces("192.0.2.10/24", "192.0.2.99/24")
    stale = Network(
        live.links,
        live.addresses,
        live.routes | {Route(254, "10.77.0.0/16", via="192.0.2.7", device="eth2")},
        live.rules | {PolicyRule(109, mark=109)},
    )
    found = lines(router, stale)
    assert found[:3] == [
        "rule del fwmark 109 lookup 109 priority 1109",
        "route del 10.77.0.0/16 via 192.0.2.7 dev eth2 table 254",
        "addr del 192.0.2.99/24 dev eth2",
    ]
    assert found[3] == "addr add 192.0.2.11/24 brd + dev eth2"
    assert announced(router, stale) == [("eth2", "192.0.2.11", "192.0.2.1")]


def test_compare_adds_a_subnet_anew_when_its_first_address_is_wrong(router: Router, live: Network) -> None:
    """The source NAT address is the first of its device, and only re-adding makes it so."""
    live.addresses["eth2"] = interfaces("192.0.2.11/24", "192.0.2.10/24")
    found = lines(router, live)
    assert found[:4] == [
        "addr del 192.0.2.11/24 dev eth2",
        "addr del 192.0.2.10/24 dev eth2",
        "addr add 192.0.2.10/24 brd + dev eth2",
        "addr add 192.0.2.11/24 brd + dev eth2",
    ]
    assert "route replace default via 192.0.2.1 dev eth2 table 254 proto static" in found, "its routes went with it"
    assert not any("eth3" in line for line in found)


def test_compare_announces_new_addresses_only(router: Router, live: Network) -> None:
    """Each with the gateway of its subnet, if it has one (D9, D11, A4)."""
    live.addresses["eth0"], live.addresses["eth3"] = (), ()
    assert announced(router, live) == [("eth0", "10.1.1.1", ""), ("eth3", "198.51.100.20", "198.51.100.1")]
    assert announced(router, Network(live.links, network(router).addresses)) == []


def test_compare_raises_a_link_that_is_down_and_sets_its_routes_anew(router: Router, live: Network) -> None:
    """The kernel forgets the routes of a link that goes down, but it keeps the addresses."""
    live.links["eth3"] = Link(up=False, mtu=1500)
    found = lines(router, live)
    assert found[0] == "link set dev eth3 up"
    assert "route replace default via 198.51.100.1 dev eth3 table 103 proto static" in found
    assert all("eth3" in line for line in found)


def test_compare_sets_the_mtu(live: Network) -> None:
    small = isolated(replace(GUEST, mtu=1450), CONTROL, PUBLIC, EXTRA)
    assert lines(small, live) == ["link set dev eth0 mtu 1450"]


def test_compare_shuts_nics_without_a_role(router: Router, live: Network) -> None:
    """A NIC of a released range stays plugged in: down, without address (D12)."""
    spare = replace(router, nics=(*router.nics, Nic("eth7", "02:00:00:00:00:07")))
    live.links["eth7"] = Link(up=True, mtu=1500)
    live.addresses["eth7"] = interfaces("192.0.2.70/24")
    assert lines(spare, live) == ["addr del 192.0.2.70/24 dev eth7", "link set dev eth7 down"]


def test_compare_replaces_a_route_in_one_step(router: Router, live: Network) -> None:
    """A changed gateway leaves no moment without a default route."""
    wrong = Route(254, "default", via="192.0.2.254", device="eth2")
    right = Route(254, "default", via="192.0.2.1", device="eth2")
    changed = replace_routes(live, live.routes - {right} | {wrong})
    assert lines(router, changed) == ["route replace default via 192.0.2.1 dev eth2 table 254 proto static"]


def test_compare_removes_a_second_route_with_another_metric(router: Router, live: Network) -> None:
    """`route replace` would not touch it."""
    second = Route(254, "default", via="192.0.2.254", device="eth2", metric=50)
    assert lines(router, replace_routes(live, live.routes | {second})) == [
        "route del default via 192.0.2.254 dev eth2 table 254 metric 50"
    ]


def replace_routes(live: Network, routes: frozenset[Route]) -> Network:
    """Return the state with other routes."""
    return Network(live.links, live.addresses, routes, live.rules)


def test_compare_puts_back_a_rule_that_was_deleted(router: Router, live: Network) -> None:
    gone = PolicyRule(102, mark=102)
    assert lines(router, Network(live.links, live.addresses, live.routes, live.rules - {gone})) == [
        "rule add fwmark 102 lookup 102 priority 1102"
    ]


def table(router: Router, number: int) -> set[str]:
    """Return the wanted routes of a table."""
    return {route.selector for route in network(router).routes if route.table == number}


def test_network_has_a_table_per_public_device() -> None:
    """Out by its own gateway, everything inside looked up elsewhere (D2)."""
    assert table(isolated(), 103) == {
        "default via 198.51.100.1 dev eth3 table 103",
        "throw 198.51.100.0/24 table 103",
        "throw 10.1.1.0/24 table 103",
        "throw 169.254.0.0/16 table 103",
    }


def test_network_prefers_private_gateways_and_static_routes_to_the_mark() -> None:
    """A VM with static NAT reaches the private gateway (E3)."""
    route = StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("172.20.0.1"), "eth4")
    router = vpc(routes=(route,))
    assert {"throw 172.20.0.0/24 table 101", "throw 10.50.0.0/16 table 101"} <= table(router, 101)
    assert "10.50.0.0/16 via 172.20.0.1 dev eth4 table 104" in table(router, 104)
    assert "10.50.0.0/16 via 172.20.0.1 dev eth4 table 254" in table(router, 254)


def test_network_answers_by_the_private_gateway_that_was_asked_by() -> None:
    """Also clients that no static route leads to (D2): out by its gateway, all that is inside looked up in main."""
    assert table(vpc(), 104) == {
        "default via 172.20.0.1 dev eth4 table 104",
        *(
            f"throw {network} table 104"
            for network in ("172.20.0.0/24", "10.2.1.0/24", "10.2.2.0/24", "169.254.0.0/16")
        ),
    }


@pytest.mark.parametrize("gateway", [None, "172.20.0.2"])
def test_network_has_no_way_out_where_the_router_is_the_gateway(gateway: str | None) -> None:
    """Of a private gateway without a gateway, or that is one itself, nothing can be said but what is connected."""
    side = device("eth4", Role.PRIVATE_GATEWAY, "172.20.0.2/24", gateway=gateway)
    assert table(vpc(devices=(side,)), 104) == {"throw 172.20.0.0/24 table 104"}


def test_network_has_one_route_per_network_and_table() -> None:
    """A static route by a public gateway is not thrown out of that NIC's own table."""
    route = StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("192.0.2.1"), "eth2")
    found = [(r.table, r.network) for r in network(isolated(routes=(route,))).routes]
    assert len(found) == len(set(found))
    assert "10.50.0.0/16 via 192.0.2.1 dev eth2 table 102" in table(isolated(routes=(route,)), 102)
    assert "throw 10.50.0.0/16 table 103" in table(isolated(routes=(route,)), 103)


@pytest.mark.parametrize("router", [isolated(), vpc()], ids=["isolated", "vpc"])
def test_network_uses_no_table_and_no_mark_0(router: Router) -> None:
    """0 is no table and no mark (D10)."""
    found = network(router)
    assert {route.table for route in found.routes} <= {254, *range(101, 105), 100}
    assert all(rule.mark in (0, rule.table) and rule.table > 100 for rule in found.rules)
    assert {rule.source for rule in found.rules if not rule.mark} == {
        str(n) for d in router.by_role(Role.PUBLIC) for n in d.networks
    }


@pytest.mark.parametrize("kind", [Kind.SHARED, Kind.INTERNAL_LB])
def test_network_of_a_router_that_does_not_route(kind: Kind) -> None:
    """Its default route leads by the guest network's gateway; no policy routing."""
    server = with_settings(isolated(GUEST, CONTROL), kind=kind, gateway=IPv4Address("10.1.1.254"))
    assert table(server, 254) == {"default via 10.1.1.254 dev eth0 table 254"}
    assert network(server).rules == frozenset()
    assert ("/proc/sys/net/ipv4/ip_forward", "0") in wanted(server, 1).knobs


def test_network_without_a_public_nic_has_no_default_route() -> None:
    """Its gateway is in no connected network yet: no route, and no error (C4)."""
    assert not any(route.network == "default" for route in network(isolated(GUEST, CONTROL)).routes)


def test_network_of_a_vpc_without_public_network_leads_by_the_lowest_tier() -> None:
    tiers = (
        device("eth2", Role.GUEST, "10.2.1.5/24", gateway="10.2.1.1", network_id=42),
        device("eth3", Role.GUEST, "10.2.2.5/24", gateway="10.2.2.1", network_id=41),
    )
    router = with_settings(vpc(devices=tiers), public_network=False)
    assert "default via 10.2.2.1 dev eth3 table 254" in table(router, 254)


def test_network_routes_management_by_the_control_nic() -> None:
    given = {"management_gateway": IPv4Address("169.254.0.1"), "management_networks": (IPv4Network("10.9.0.0/16"),)}
    assert "10.9.0.0/16 via 169.254.0.1 dev eth1 table 254" in table(with_settings(isolated(), **given), 254)
    unreachable = {**given, "management_gateway": IPv4Address("172.16.0.1")}
    assert not any("eth1" in route for route in table(with_settings(isolated(), **unreachable), 254))


def knob(router: Router, name: str, cpus: int = 1) -> str:
    """Return a wanted setting by the end of its path."""
    (found,) = (value for path, value in wanted(router, cpus).knobs if path.endswith(name))
    return found


@pytest.mark.parametrize(
    ("devices", "settings", "strict"),
    [
        ((GUEST, CONTROL, PUBLIC), {"disable_rp_filter": True}, {"eth0"}),
        ((GUEST, CONTROL, PUBLIC), {}, {"eth0", "eth2"}),
        ((GUEST, CONTROL, PUBLIC, EXTRA), {}, {"eth0"}),
        ((GUEST, CONTROL), {"public_network": False}, set()),
    ],
)
def test_wanted_filters_sources_on_guest_nics(
    devices: tuple[Device, ...], settings: dict[str, bool], strict: set[str]
) -> None:
    """On a public NIC only when it is the only one and the operator has not switched it off."""
    router = with_settings(isolated(*devices), **settings)
    assert {d.name for d in devices if knob(router, f"{d.name}/rp_filter") == "1"} == strict


@pytest.mark.parametrize(
    ("cpus", "mask"), [(2, "3"), (4, "f"), (32, "ffffffff"), (40, "ff,ffffffff"), (64, "ffffffff,ffffffff")]
)
def test_wanted_spreads_packets_over_all_processors(cpus: int, mask: str) -> None:
    assert knob(isolated(), "eth0/queues/rx-0/rps_cpus", cpus) == mask


def test_wanted_leaves_one_processor_alone() -> None:
    assert not any("rps" in path for path, _value in wanted(isolated(), 1).knobs)


def test_wanted_names_the_tables_of_all_but_the_control_nic() -> None:
    (file,) = wanted(isolated(), 1).files
    assert file.content.splitlines()[1:] == ["100 Table_eth0", "102 Table_eth2", "103 Table_eth3"]
