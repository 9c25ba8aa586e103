# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.dhcp import leases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role
from tests.unit.plan.samples import device

SHARED = device("eth0", Role.GUEST, "10.30.0.5/24", "10.30.1.5/24")
TIERS = (
    device("eth2", Role.GUEST, "10.2.1.1/24", network_id=7),
    device("eth3", Role.GUEST, "10.2.2.1/24", network_id=8),
)


def entry(ip: str | None, **fields: Any) -> dict[str, Any]:
    found = {"mac_address": "02:01:00:00:00:0B", "host_name": "vm", **fields}
    return found if ip is None else {"ipv4_address": ip, **found}


def entries(*found: dict[str, Any]) -> dict[str, Any]:
    return {"dhcpentry": {"id": "dhcpentry", **{str(n): one for n, one in enumerate(found)}}}


def test_leases_places_vms_in_each_subnet_of_a_nic_and_ignores_other_pods() -> None:
    """F6, A3."""
    bags = entries(entry("10.30.1.13"), entry("10.99.0.4"), entry("10.30.0.11"))
    assert [(str(h.ip), h.mac, h.device) for h in leases(bags, (SHARED,)).hosts] == [
        ("10.30.0.11", "02:01:00:00:00:0b", "eth0"),
        ("10.30.1.13", "02:01:00:00:00:0b", "eth0"),
    ]


def test_leases_finds_the_smallest_of_overlapping_subnets() -> None:
    outer = device("eth0", Role.GUEST, "10.1.0.1/16")
    inner = device("eth2", Role.GUEST, "10.1.5.1/25")
    found = leases(entries(entry("10.1.5.9"), entry("10.1.5.200")), (outer, inner))
    assert [host.device for host in found.hosts] == ["eth2", "eth0"]


def test_leases_takes_the_gateway_of_a_subnet_from_the_ranges_before_the_entries() -> None:
    ranges = [{"router_ip_address": "10.30.1.5", "gateway": "10.30.1.1", "netmask": "255.255.255.0"}]
    vms = entries(entry("10.30.1.13", default_gateway="10.30.1.99"), entry("10.30.0.11", default_gateway="10.30.0.1"))
    assert leases({**vms, "dhcpconfig": {"id": "dhcpconfig", "entries": ranges}}, (SHARED,)).gateways == {
        IPv4Network("10.30.0.0/24"): IPv4Address("10.30.0.1"),
        IPv4Network("10.30.1.0/24"): IPv4Address("10.30.1.1"),
    }


def test_leases_believes_no_gateway_outside_the_subnet() -> None:
    found = leases(entries(entry("10.30.0.11", default_gateway="10.30.1.1"), entry("10.30.1.13")), (SHARED,))
    assert found.gateways == {}


def test_leases_names_ipv6_addresses_of_both_kinds_of_entries() -> None:
    dual = entry("10.30.0.14", ipv6_address="2001:db8:30::14", host_name="dual")
    alone = entry(None, ipv6_address="2001:db8:30::13", host_name="alone")
    found = leases(entries(dual, alone), (SHARED,))
    assert [(str(n.ip), n.name) for n in found.names6] == [("2001:db8:30::13", "alone"), ("2001:db8:30::14", "dual")]
    assert [h.name for h in found.hosts] == ["dual"]


def test_leases_places_an_entry_without_ipv4_by_the_prefix_of_its_tier() -> None:
    tiers = {
        "id": "guestnetwork",
        "eth2": [{"network_id": 7, "router_guest_ip6_cidr": "2001:db8:a:1::/64"}],
        "eth3": [{"network_id": 8, "router_guest_ip6_cidr": "2001:db8:a:2::/64"}],
    }
    vms = entries(entry(None, ipv6_address="2001:db8:a:2::13"), entry(None, ipv6_address="2001:db8:b::1"))
    assert [n.device for n in leases({**vms, "guestnetwork": tiers}, TIERS).names6] == ["eth3"]


def test_leases_cost_of_superfluous_entries_is_linear() -> None:
    """A basic zone sends the entries of all pods (A3): a hundred times as many cost about a hundred times the time."""

    def seconds(count: int) -> float:
        bags = entries(*(entry(str(IPv4Address("10.64.0.0") + n)) for n in range(count)))
        started = time.process_time()
        assert leases(bags, (SHARED,)).hosts == ()
        return time.process_time() - started

    seconds(100)
    few = min(seconds(1000) for _number in range(3))
    assert seconds(50_000) < 50 * few * 10
