# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is taken for the word of the other router of a pair, in a real kernel's words where that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import DhcpHost, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import pair_filter
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import ruleset as firewall
from tests.unit.plan.pairs import isolated_pair, vpc_pair
from tests.unit.plan.samples import isolated

VMS = tuple(
    DhcpHost(mac=f"02:01:00:00:00:{number:02x}", ip=IPv4Address(f"10.1.1.{number}"), name=f"vm{number}", device="eth0")
    for number in (11, 12)
)


def elements(router: Router, name: str) -> tuple[str, ...]:
    return next(found.elements for found in firewall.ruleset(router).sets if found.name == name)


def test_every_vm_is_known_by_its_address_and_by_its_mac() -> None:
    router = replace(isolated_pair(), hosts=VMS)
    assert elements(router, "vm_addresses") == ("10.1.1.11", "10.1.1.12")
    assert elements(router, "vm_macs") == ("02:01:00:00:00:0b", "02:01:00:00:00:0c")


def test_a_mac_of_two_tiers_is_named_once() -> None:
    """nft refuses no element twice, but a listing has it once, and would differ for ever."""
    router = replace(isolated_pair(), hosts=(VMS[0], replace(VMS[1], mac=VMS[0].mac)))
    assert elements(router, "vm_macs") == (VMS[0].mac,)


def test_who_is_no_pair_has_no_use_for_it() -> None:
    single = replace(isolated(), hosts=VMS)
    assert elements(single, "vm_macs") == elements(single, "vm_addresses") == elements(single, "pair_members") == ()
    assert firewall.ruleset(single).pair_rules == ()


@pytest.mark.parametrize(
    ("make", "members"),
    [
        (isolated_pair, ("eth0 . 10.1.1.0/24",)),
        (vpc_pair, ("pair0 . 240.0.0.0/4", "eth2 . 10.2.1.0/24", "eth3 . 10.2.2.0/24")),
    ],
)
def test_a_router_of_the_pair_can_have_these_addresses(make: Callable[..., Router], members: tuple[str, ...]) -> None:
    assert elements(make(), "pair_members") == members


def test_vms_are_refused_before_anything_is_taken() -> None:
    rules = pair_filter.rules(isolated_pair())
    first = next(number for number, rule in enumerate(rules) if "protocol 112" in rule or "udp" in rule)
    for refused in ("ip saddr @vm_addresses", "ether saddr @vm_macs", "ip saddr @guest_addresses"):
        assert rules.index(f"{refused} drop") < first


@pytest.mark.parametrize("vrrp_id", [1, 51, 255])
def test_only_what_a_pair_advertises_is_taken(vrrp_id: int) -> None:
    """Version 3, our id, and the priorities of a planned handover, of a primary, and after bumpup_priority.sh."""
    (rule,) = [rule for rule in pair_filter.rules(isolated_pair(vrrp_id=vrrp_id)) if "protocol 112" in rule]
    taken = {int(word, 16) for word in rule.partition("{")[2].partition("}")[0].split(",")}
    wanted = {0, redundancy.PRIORITY, redundancy.PRIORITY + redundancy.BUMP}
    assert taken == {0x31 << 16 | vrrp_id << 8 | priority for priority in wanted}
    assert 255 not in wanted


def test_a_vpcs_tiers_carry_what_is_authenticated_and_nothing_else() -> None:
    rules = pair_filter.rules(vpc_pair())
    taken = [rule for rule in rules if rule.endswith("accept") and "protocol 2 " not in rule]
    tiers = [rule for rule in taken if not rule.startswith("iifname pair0 ")]
    assert tiers == [f"iifname != pair0 ip daddr 224.0.0.18 udp dport {redundancy.WIRE_PORT} accept"]
