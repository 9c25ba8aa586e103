# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.redundancy import (
    PairLink,
    advert_interval,
    own_address,
    vrrp_id,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Nic,
    Role,
    VrrpState,
)
from tests.unit.plan.pairs import isolated_pair, vpc_pair
from tests.unit.plan.samples import device, isolated, with_settings


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 1.0), ("", 1.0), ("2", 2.0), ("0.1", 0.1), ("0.004", 0.01), ("0", 0.01), ("90", 40.95)],
)
def test_advert_interval(given: str | None, seconds: float) -> None:
    assert advert_interval({"advert_int": given}) == seconds


@pytest.mark.parametrize(("given", "wanted"), [("1", 1), ("7", 7), ("255", 255), ("256", 1), ("262", 7), (None, 1)])
def test_vrrp_id_of_a_vpc_is_its_database_id(given: str | None, wanted: int) -> None:
    assert vrrp_id({"type": "vpcrouter", "router_id": given}) == wanted


def test_vrrp_id_of_an_isolated_network_is_the_same_on_both_routers_and_differs_between_networks() -> None:
    pair = [
        {"type": "router", "eth2ip": "192.0.2.10", "guestgw": "10.1.1.1", "eth0ip": f"10.1.1.{n}"} for n in (84, 85)
    ]
    assert vrrp_id(pair[0]) == vrrp_id(pair[1])
    others = {vrrp_id({**pair[0], "eth2ip": f"192.0.2.{n}"}) for n in range(11, 61)}
    assert len(others) > 40
    assert all(0 < number < 256 for number in others)


def test_state_comes_from_outside_and_is_unknown_before_the_first_election() -> None:
    bags = {"cmdline": {"config": {"type": "router", "redundant_router": "true"}}}
    assert build(bags, []).state is VrrpState.UNKNOWN
    assert build(bags, [Nic("eth0", "02:00:00:00:00:01")], VrrpState.PRIMARY).state is VrrpState.PRIMARY


@pytest.mark.parametrize(("state", "active"), [(state, state is VrrpState.PRIMARY) for state in VrrpState])
def test_only_the_primary_of_a_pair_is_active(state: VrrpState, active: bool) -> None:
    assert isolated_pair(state=state).active is active
    assert replace(isolated(), state=state).active, "a single router is always"


@pytest.mark.parametrize("state", [VrrpState.BACKUP, VrrpState.FAULT, VrrpState.UNKNOWN])
def test_backup_shows_guest_and_control_links_only(state: VrrpState) -> None:
    router = vpc_pair(state=state)
    up = {d.role for d in router.devices if router.is_up(d)}
    assert up == {Role.GUEST, Role.CONTROL}
    assert all(map(replace(router, state=VrrpState.PRIMARY).is_up, router.devices))


def test_virtual_address_of_an_isolated_network_is_the_shared_gateway() -> None:
    router = isolated_pair()
    assert [str(v.interface) for v in router.virtual_addresses] == ["10.1.1.1/24"]
    assert router.guest_address(router.devices[0]) == IPv4Address("10.1.1.1")


def test_virtual_addresses_of_a_vpc_are_in_the_order_of_the_networks() -> None:
    """The names of the NICs may differ on the other router (C1, C2)."""
    one, other = vpc_pair(own=84, names=("eth2", "eth3")), vpc_pair(own=85, names=("eth7", "eth5"))
    found = [[str(v.interface) for v in router.virtual_addresses] for router in (one, other)]
    assert found == [["10.2.1.1/24", "10.2.2.1/24"]] * 2
    links = [router.pair_link for router in (one, other)]
    assert [[device.name for device in link.wires] for link in links if link] == [["eth2", "eth3"], ["eth7", "eth5"]]


def test_a_router_that_is_not_one_of_a_pair_has_no_virtual_address() -> None:
    assert isolated().virtual_addresses == ()
    assert isolated().pair_link is None


def test_a_tier_whose_gateway_is_elsewhere_is_not_moved() -> None:
    router = vpc_pair(is_gateway=False)
    assert router.virtual_addresses == ()
    assert router.guest_address(router.devices[2]) == IPv4Address("10.2.1.84")


def test_a_gateway_that_is_the_own_address_is_not_shared() -> None:
    """Both routers would hold it whatever VRRP says."""
    guest = device("eth0", Role.GUEST, "10.1.1.1/24")
    router = with_settings(isolated(guest), redundant=True, guest_gateway=IPv4Address("10.1.1.1"))
    assert router.virtual_addresses == ()


def test_a_pair_without_a_guest_network_has_no_link_to_be_elected_on() -> None:
    router = vpc_pair(tiers=0)
    assert router.pair_link is None
    assert not router.active


def fields(**given: Any) -> dict[str, Any]:
    return {"type": "router", "redundant_router": "true", **given}


def test_settings_of_a_pair() -> None:
    found = build({"cmdline": {"config": fields(advert_int="0.3", guestgw="10.1.1.1")}}, []).settings
    assert (found.redundant, found.advert_interval, found.guest_gateway) == (True, 0.3, IPv4Address("10.1.1.1"))


def test_prefix_length_is_that_of_the_subnet() -> None:
    guest = device("eth0", Role.GUEST, "10.1.0.84/16")
    router = with_settings(isolated(guest), redundant=True, guest_gateway=IPv4Address("10.1.0.1"))
    assert router.virtual_addresses[0].interface == IPv4Interface("10.1.0.1/16")


def test_the_one_guest_nic_of_an_isolated_network_is_the_link_of_its_pair() -> None:
    router = isolated_pair()
    (guest,) = router.by_role(Role.GUEST)
    shared = IPv4Address("10.1.1.1")
    assert router.pair_link == PairLink("eth0", IPv4Address("10.1.1.84"), shared, (guest,))
    assert not router.pair_link.relayed


def test_the_link_of_a_vpcs_pair_does_not_depend_on_its_tiers() -> None:
    links = [vpc_pair(tiers=tiers).pair_link for tiers in (1, 2)]
    found = {(link.name, link.own, link.shared, link.relayed) for link in links if link}
    assert found == {("pair0", IPv4Address("240.0.0.84"), IPv4Address("240.0.0.0"), True)}


@pytest.mark.parametrize(
    ("name", "own"),
    [("r-1-VM", "240.0.0.1"), ("r-268435454-VM", "255.255.255.254"), ("r-268435455-VM", "240.0.0.1")],
)
def test_addresses_on_the_link_are_neither_the_shared_one_nor_broadcast(name: str, own: str) -> None:
    assert own_address(name) == IPv4Address(own)


def test_a_router_whose_name_has_no_number_has_an_address_by_its_name() -> None:
    assert own_address("alpha") != own_address("beta")
