# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routed mode: nothing is translated, and what enters is decided by the guest network."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import NO_ACL, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import Change
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import (
    Pattern,
    patterns,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset
from tests.unit.model.bags import Record, address, cmdline, egress, firewall, ingress, ips, nics

NICS = nics(eth0="00", eth1="01", eth2="02")
PUBLIC = address("192.0.2.10", source_nat=True, gateway="192.0.2.1")
CLIENT, VM = IPv4Address("203.0.113.7"), IPv4Address("10.1.1.11")
FORWARD: Record = {"type": "forward", "public_ip": "192.0.2.10", "internal_ip": "10.1.1.11", "protocol": "tcp"}
FORWARD |= {"public_ports": "80:80", "internal_ports": "80:80"}


def network(*rules: Record, routed: str = "true", **bags: Any) -> Router:
    """Return an isolated network with these rules, with a port forward in its databags."""
    return build(
        {
            "cmdline": cmdline(is_routed=routed, gateway="192.0.2.1"),
            "ips": ips(eth0=[address("10.1.1.1", "guest")], eth2=[PUBLIC]),
            "forwardingrules": {"id": "forwardingrules", "192.0.2.10": [FORWARD]},
            "firewallrules": firewall(*rules),
            **bags,
        },
        NICS,
    )


def into(**fields: Any) -> Record:
    """Return an ingress rule of a routed network, which names no public address."""
    found = ingress(**fields)
    del found["src_ip"]
    return found


def sets(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the elements of every set and map of the ruleset."""
    return {found.name: found.elements for found in ruleset(router).sets}


def chains(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the rules of every chain that differs from router to router."""
    return {found.name: found.rules for found in ruleset(router).chains}


@pytest.mark.parametrize("routed", ["true", "1", "TRUE", "false", "null"])
def test_routed_1_nothing_is_translated_or_marked(routed: str) -> None:
    """Whatever the databags of NAT hold; a network that is not routed shows that they do hold something."""
    found = sets(network(routed=routed))
    names = [name for name in found if name.startswith(("forwards", "static_nat", "nic_", "hairpin"))]
    translating = sorted(name for name in names if found[name])
    on = routed in ("true", "1", "TRUE")
    assert translating == ([] if on else ["forwards_tcp", "hairpin_source", "nic_mark", "nic_source"])


def test_routed_2_who_sends_a_forward_is_told() -> None:
    (warning,) = network().warnings
    assert warning == "routed mode translates nothing: what is forwarded from 192.0.2.10 has no effect"
    assert network(routed="false").warnings == ()


def test_routed_3_what_enters_is_decided_by_the_list_of_the_guest_network() -> None:
    router = network(
        into(source_cidr_list=["203.0.113.0/24"], dest_cidr_list=["10.1.1.11/32"], src_port_range=[22, 22])
    )
    assert sets(router)["forward_to"] == (
        "eth0 . eth0 : accept",
        "eth0 . eth2 : accept",
        "eth2 . eth0 : jump inbound",
    )
    (rule, rest) = chains(router)["inbound"]
    assert rule.startswith("ip saddr 203.0.113.0/24 ip daddr 10.1.1.11 tcp dport 22 accept")
    assert rest == "goto refused"


def test_routed_3_a_rule_of_a_public_address_is_none_of_the_guest_network() -> None:
    assert network(ingress("192.0.2.10")).inbound.rules == ()
    assert network(into(), routed="false").inbound.rules == ()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("policy", [True, False])
def test_routed_4_ingress_rules_say_nothing_of_the_egress_policy(policy: bool, order: int) -> None:
    router = network(*[into(), egress(policy), into()][::order])
    assert router.egress.default_allow is policy


def test_routed_5_without_rules_both_ways_are_closed() -> None:
    router = network()
    assert chains(router)["inbound"] == chains(router)["egress"] == ("goto refused",)


def test_routed_9_a_vpc_is_closed_but_for_what_rules_allow() -> None:
    """In both directions, with an ACL and without: its addresses are known outside, and nothing hides them."""
    item = {"type": "tcp", "first_port": 80, "last_port": 80, "cidr": "10.0.0.0/8", "allowed": True}
    acl = {"mac_address": "02:00:00:00:00:02", "ingress_rules": [], "egress_rules": [item]}
    bags = {
        "ips": ips(eth1=[address("10.2.1.1", "guest")], eth2=[address("10.2.2.1", "guest")]),
        "networkacl": {"id": "networkacl", "eth2": acl},
    }
    given = {"eth1": NO_ACL, "eth2": build({**bags, "cmdline": cmdline(type="vpcrouter")}, NICS).acls["eth2"]}
    router = build({**bags, "cmdline": cmdline(type="vpcrouter", is_routed="true")}, NICS)
    assert set(router.acls) == set(given)
    for name, (towards, leaving) in router.acls.items():
        assert (towards.default_allow, leaving.default_allow) == (False, False), name
        assert (towards.rules, leaving.rules) == (given[name][0].rules, given[name][1].rules)


def test_routed_8_within_a_tier_no_acl_is_asked() -> None:
    bags = {"ips": ips(eth1=[address("10.2.1.1", "guest")], eth2=[address("10.2.2.1", "guest")])}
    found = sets(build({**bags, "cmdline": cmdline(type="vpcrouter", is_routed="true")}, NICS))
    assert "eth1 . eth1 : accept" in found["forward_to"]
    assert not [element for element in found["forward_from"] if element.startswith("eth1 . eth1")]
    assert "eth1 . eth2 : jump acl_eth1_egress" in found["forward_from"]


def test_who_answers_may_have_begun_it() -> None:
    """What outlives the table of connections: in routed mode both lists say all, from outside as well."""
    found = sets(network(into(src_port_range=[22, 22]), egress(True)))
    assert found["resumed_from"] == ("eth0 . eth2 : goto egress_reversed",)
    assert "eth2 . eth0 : goto inbound_reversed" in found["resumed_to"]


def flow(port: int) -> Flow:
    """Return a connection from outside to a VM, which nothing translates."""
    return Flow("tcp", CLIENT, VM, 40000, port, VM, CLIENT, port)


def test_routed_15_what_a_rule_no_longer_admits_is_cut() -> None:
    """B18: it and nothing else, and only what the change can have taken away is looked for."""
    both = network(into(src_port_range=[22, 22]), into(src_port_range=[80, 80]))
    one = network(into(src_port_range=[22, 22]))
    change = Change(both, one)
    assert [change.cuts(flow(port)) for port in (22, 80, 443)] == [False, True, False]
    assert patterns([both], one) == (Pattern(protocol=6, port=80),)
    assert patterns([one], both) == ()


def test_routed_15_what_leaves_is_judged_as_well() -> None:
    allowing, denying = network(egress(True)), network()
    out = replace(flow(80), source=VM, destination=CLIENT, reply_source=CLIENT, reply_destination=VM)
    assert Change(allowing, denying).cuts(out)
    assert not Change(allowing, allowing).cuts(out)
