# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what must hold for any drops: order, revoking and repeating do not matter."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge, merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop
from tests.unit.databag.support import ACL_RULE, ADDRESS, ENTRY, FIREWALL_RULE, FORWARD, STATIC_NAT, TIER, drop, filled

SMALL = st.integers(0, 5)
BOOT = merge({}, drop("cmdline"))


def firewall(n: int, _m: int, revoke: bool) -> Drop:
    return drop("firewallrules", rules=[{**FIREWALL_RULE, "id": 100 + n, "revoked": revoke}])


def firewall6(n: int, _m: int, revoke: bool) -> Drop:
    rule = {**FIREWALL_RULE, "id": 100 + n, "revoked": revoke, "source_cidr_list": ["2001:db8::/48"]}
    return drop("ipv6firewallrules", rules=[rule])


def forward(n: int, m: int, revoke: bool) -> Drop:
    rule = {"source_port_range": f"{n}:{n}", "destination_port_range": f"{m}:{m}", "revoke": revoke}
    return drop("forwardrules", rules=[{**FORWARD, **rule, "source_ip_address": f"192.0.2.{m}"}])


def static_nat(n: int, m: int, revoke: bool) -> Drop:
    rule = {"source_port_range": f"{n}:{n}", "source_ip_address": f"192.0.2.{m}", "revoke": revoke}
    return drop("staticnatrules", rules=[{**STATIC_NAT, **rule}])


def address(n: int, m: int, revoke: bool) -> Drop:
    record = {"public_ip": f"198.51.100.{n * 6 + m + 1}", "nic_dev_id": 3 + m, "add": not revoke}
    return drop("ips", ip_address=[{**ADDRESS, **record, "vif_mac_address": f"06:00:2f:00:00:0{m}"}])


def alias(n: int, m: int, revoke: bool) -> Drop:
    record = {"ip_address": f"10.1.{n}.{10 + m}", "netmask": "255.255.255.0", "revoke": revoke, "count": n}
    return drop("ipaliases", aliases=[record])


def entry(n: int, m: int, revoke: bool) -> Drop:
    fields = {"host_name": f"vm-{n}-{m}", "mac_address": f"02:01:00:00:0{m}:0{n}", "ipv4_address": f"10.1.{m}.{n}"}
    return drop("dhcpentry", **{**ENTRY, **fields, "remove": revoke})


def tier(n: int, _m: int, revoke: bool) -> Drop:
    fields = {"mac_address": f"02:00:55:00:01:0{n}", "device": f"eth{10 + n}", "network_id": 50 + n}
    return drop("guestnetwork", **{**TIER, **fields, "router_guest_ip": f"10.9.{n}.1", "add": not revoke})


def user(n: int, _m: int, revoke: bool) -> Drop:
    return drop("vpnuserlist", vpn_users=[{"user": f"user{n}", "password": "x", "add": not revoke}])


def peer(n: int, _m: int, revoke: bool) -> Drop:
    return drop(
        "site2sitevpn", peer_gateway_ip=f"203.0.113.{n}", peer_guest_cidr_list=f"10.{40 + n}.0.0/16", create=not revoke
    )


MAKERS = [firewall, firewall6, forward, static_nat, address, alias, entry, tier, user, peer]
KEYS = st.tuples(st.sampled_from(MAKERS), SMALL, SMALL)
DISTINCT = st.lists(KEYS, max_size=12, unique_by=lambda key: (key[0].__name__, key[1], key[2]))


def distinct(keys: list[Any]) -> list[Any]:
    """Leave one of the keys that differ only in what their maker does not look at."""
    plain = (firewall, firewall6, tier, user, peer)
    return list({(key[0].__name__, key[1], 0 if key[0] in plain else key[2]): key for key in keys}.values())


@given(keys=DISTINCT, data=st.data())
def test_order_of_drops_for_distinct_keys_does_not_matter(keys: list[Any], data: st.DataObject) -> None:
    """B2: the databags are a function of what is wanted, not of its history."""
    drops = [make(n, m, False) for make, n, m in distinct(keys)]
    shuffled = data.draw(st.permutations(drops))
    assert merge_all(BOOT, drops) == merge_all(BOOT, shuffled)


@given(before=DISTINCT, added=KEYS, data=st.data())
def test_add_and_revoke_is_never_added(before: list[Any], added: Any, data: st.DataObject) -> None:
    """B2, D8: also with other drops in between."""
    make, n, m = added
    others = [d for d in distinct([*before, added]) if d != added and (d[0], d[1]) != (make, n)]
    drops = [f(a, b, False) for f, a, b in others]
    cut = data.draw(st.integers(0, len(drops)))
    with_it = [*drops[:cut], make(n, m, False), *drops[cut:], make(n, m, True)]
    assert filled(merge_all(BOOT, with_it)) == filled(merge_all(BOOT, drops))


@given(keys=DISTINCT)
def test_merging_twice_is_a_no_op(keys: list[Any]) -> None:
    drops = [make(n, m, False) for make, n, m in keys]
    once = merge_all(BOOT, drops)
    again = merge_all(once, drops[-1:])
    assert again == once
    assert all(again[name] is once[name] for name in once)


@given(keys=DISTINCT)
@settings(max_examples=50)
def test_merging_one_by_one_is_merging_all(keys: list[Any]) -> None:
    drops = [make(n, m, n == 0) for make, n, m in keys]
    bags: dict[str, Bag] = BOOT
    for each in drops:
        before = deepcopy(bags)
        after = merge(bags, each)
        assert bags == before
        bags = after
    assert filled(bags) == filled(merge_all(BOOT, drops))


@given(keys=DISTINCT)
@settings(max_examples=50)
def test_taking_over_what_was_merged_changes_nothing(keys: list[Any]) -> None:
    bags = merge_all(BOOT, [make(n, m, False) for make, n, m in keys])
    assert {name: adopt(name, deepcopy(bag)) for name, bag in bags.items()} == bags


def test_an_acl_does_not_care_whether_its_tier_came_first() -> None:
    acl = drop("networkacl", device="eth11", mac_address="02:00:55:00:01:01", ingress_rules=[ACL_RULE])
    assert merge_all(BOOT, [acl, tier(1, 0, False)]) == merge_all(BOOT, [tier(1, 0, False), acl])
