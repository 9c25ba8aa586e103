# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator, devices
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Device, Role
from tests.unit.model.bags import address, cmdline, ips, mac, nics

ALL = nics(eth0="00", eth1="01", eth2="02", eth3="03", eth13="0d")


def found(bag: dict[str, Any], plugged: Any = ALL, **bags: Any) -> dict[str, Device]:
    """Return the devices by name, having made sure that nothing is pending."""
    known, pending = devices({"ips": bag, **bags}, plugged)
    assert not pending
    return {device.name: device for device in known}


@pytest.mark.parametrize(
    ("given_mac", "name", "wanted"),
    [
        (mac("03"), "eth2", "eth3"),
        (mac("03").lower(), None, "eth3"),
        (None, "eth2", "eth2"),
        (mac("99"), "eth2", None),
        (None, "eth9", None),
        (None, "ethNone", None),
    ],
)
def test_locator_finds_by_mac_and_by_name_without_one(
    given_mac: str | None, name: str | None, wanted: str | None
) -> None:
    """A MAC that is not plugged in is not looked for under its old name (E1, C10)."""
    assert Locator(ALL).find(given_mac, name) == wanted


def test_devices_follow_the_mac_when_names_are_shuffled() -> None:
    """Tiers and addresses stay with their NIC (E1)."""
    bag = ips(
        eth2=[address("192.0.2.10", vif_mac_address=mac("03"))],
        eth3=[address("198.51.100.9", vif_mac_address=mac("02"))],
    )
    placed = found(bag)
    assert [str(a.ip) for a in placed["eth3"].addresses] == ["192.0.2.10"]
    assert [str(a.ip) for a in placed["eth2"].addresses] == ["198.51.100.9"]


def test_devices_report_what_has_no_nic() -> None:
    """The rest is placed all the same (H5, E5)."""
    bag = ips(eth0=[address("10.1.1.1", "guest")], eth4=[address("192.0.2.10", vif_mac_address=mac("99"))])
    known, pending = devices({"ips": bag}, ALL)
    assert [device.name for device in known] == ["eth0"]
    assert pending == ("eth4 (02:00:00:00:00:99): 192.0.2.10: no such NIC yet",)


def test_devices_report_kinds_of_networks_that_no_router_serves() -> None:
    known, pending = devices({"ips": ips(eth0=[address("10.9.0.1", "storage")])}, ALL)
    assert (known, pending) == ((), ("eth0: 10.9.0.1: no router serves a storage network",))


def test_devices_leave_out_addresses_that_were_taken_off() -> None:
    """The original keeps them in its databag for good (D7)."""
    bag = ips(eth2=[address("192.0.2.10"), address("192.0.2.11", add=False)])
    assert [str(a.ip) for a in found(bag)["eth2"].addresses] == ["192.0.2.10"]


def test_devices_put_the_source_nat_address_first() -> None:
    """Whatever order they came in; the boot arguments' address precedes the others of its NIC."""
    bag = ips(
        eth0=[address("10.1.1.9", "guest"), address("10.1.1.77", "guest")],
        eth2=[address("192.0.2.9"), address("192.0.2.10", source_nat=True), address("192.0.2.11")],
    )
    placed = found(bag, cmdline=cmdline(eth0ip="10.1.1.77"))
    assert [str(a.ip) for a in placed["eth2"].addresses] == ["192.0.2.10", "192.0.2.9", "192.0.2.11"]
    assert [str(a.ip) for a in placed["eth0"].addresses] == ["10.1.1.77", "10.1.1.9"]


def test_devices_move_boot_addresses_off_a_nic_that_is_another_one_by_its_mac() -> None:
    """eth0 is the public NIC by its MAC: the guest address that only knows the name waits."""
    bag = ips(eth0=[address("10.1.1.1", "guest")], eth2=[address("192.0.2.10", vif_mac_address=mac("00"))])
    known, pending = devices({"ips": bag}, ALL)
    assert [(d.name, d.role) for d in known] == [("eth0", Role.PUBLIC)]
    assert pending == ("eth0: 10.1.1.1: the NIC of this name is another one",)


@pytest.mark.parametrize("nw_type", ["public", "guest"])
def test_devices_know_a_private_gateway_by_its_flag(nw_type: str) -> None:
    """It is sent as public at first and as guest after a reboot (E2)."""
    bag = ips(eth13=[address("172.20.0.2", nw_type, is_private_gateway=True, gateway="None", mtu="null")])
    device = found(bag)["eth13"]
    assert (device.role, device.gateway, device.mtu) == (Role.PRIVATE_GATEWAY, None, 1500)


@pytest.mark.parametrize("number", [0, 1, 13, 99])
def test_tables_and_marks_are_never_0(number: int) -> None:
    """0 is no table and no mark (D10); tables of the system begin at 253."""
    assert 0 < Device(f"eth{number}", Role.PUBLIC, ()).table < 253


def test_devices_take_mtu_domain_and_resolvers_from_the_tier() -> None:
    """The tier counts for its NIC; resolvers of DHCP are IPv4 addresses (L5, F11)."""
    tier = {
        "device": "eth2",
        "mac_address": mac("03"),
        "add": True,
        "mtu": 1450,
        "network_id": 41,
        "dns": "203.0.113.53,2001:db8::53",
        "domain_name": "db.internal",
        "is_vr_guest_gateway": False,
    }
    bag = ips(eth2=[address("10.2.1.5", "guest", vif_mac_address=mac("03"))])
    device = found(bag, guestnetwork={"id": "guestnetwork", "eth2": [tier]})["eth3"]
    assert (device.mtu, device.network_id, device.domain, device.is_gateway) == (1450, 41, "db.internal", False)
    assert device.dns == ("203.0.113.53",)


def test_devices_take_a_gateway_of_another_subnet_for_none() -> None:
    """The boot arguments give every address but the public one the gateway of the control network."""
    bag = ips(eth0=[address("10.1.1.1", "guest", gateway="169.254.0.1")])
    assert found(bag)["eth0"].gateway is None
