# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Ports
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    NamedSet,
    SetPool,
    comment,
    merge_networks,
    merge_ports,
    table,
)

RANGES = st.tuples(st.integers(0, 60), st.integers(0, 10)).map(lambda p: Ports(p[0], p[0] + p[1]))
NETWORKS = st.tuples(st.integers(0, 255), st.integers(26, 32)).map(
    lambda p: str(IPv4Network(f"10.0.0.{p[0]}/{p[1]}", strict=False))
)


@given(st.lists(RANGES, max_size=12))
def test_merge_ports_holds_the_same_ports(ranges: list[Ports]) -> None:
    merged = merge_ports(ranges)
    for port in range(75):
        assert any(port in r for r in merged) == any(port in r for r in ranges)
    assert all(a.last + 1 < b.first for a, b in pairwise(merged)), "sorted, with gaps between"


@given(st.lists(NETWORKS, max_size=12))
def test_merge_networks_holds_the_same_addresses(cidrs: list[str]) -> None:
    merged = [IPv4Network(cidr) for cidr in merge_networks(cidrs)]
    wanted = {address for cidr in cidrs for address in IPv4Network(cidr)}
    assert {address for network in merged for address in network} == wanted
    assert sum(network.num_addresses for network in merged) == len(wanted), "no overlap: an interval set refuses it"


def test_merge_networks_writes_single_addresses_bare() -> None:
    assert merge_networks(["10.1.1.11/32", "10.1.2.0/24"]) == ("10.1.1.11", "10.1.2.0/24")


def test_set_pool_names_equal_lists_once() -> None:
    pool = SetPool()
    first = pool.name("networks", "ipv4_addr", ("10.0.0.1",))
    assert pool.name("networks", "ipv4_addr", ("10.0.0.1",)) == first
    other = pool.name("ports", "inet_service", ("10",))
    assert [(s.name, s.interval) for s in pool.sets] == [(first, True), (other, True)]


def test_set_pool_gives_a_list_the_same_name_whatever_else_there_is() -> None:
    """A set that a change is not about stays as it is, with its elements."""
    lists = [("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), ("10.0.0.10", "10.0.0.2")]
    alone = [SetPool().name("networks", "ipv4_addr", elements) for elements in lists]
    pool = SetPool()
    assert [pool.name("networks", "ipv4_addr", elements) for elements in reversed(lists)] == alone[::-1]
    assert len(set(alone)) == 3


def test_table_is_a_map() -> None:
    found = table("nic_mark", "ifname", "mark", {"eth2": "102"})
    assert found == NamedSet("nic_mark", "ifname", ("eth2 : 102",), False, "mark")
    assert (found.keyword, found.type) == ("map", "ifname : mark")


@pytest.mark.parametrize("count", [1, 2, 5, 6, 200])
def test_comment_stays_within_what_nft_takes(count: int) -> None:
    """nft refuses comments of more than 128 bytes."""
    text = comment(f"firewallrules {number:06}" for number in range(count))
    assert "firewallrules 000000" in text
    assert len(text) - len('comment ""') <= 128
    assert ("more" in text) == (count > 4)
