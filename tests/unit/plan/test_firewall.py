# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address
from itertools import product

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Kind,
    Role,
    Router,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import Ruleset, ruleset
from tests.unit.plan.nftables import Evaluator, Packet
from tests.unit.plan.samples import (
    CONTROL,
    FIRST,
    GUEST,
    PUBLIC,
    SECOND,
    device,
    isolated,
    rule,
    rules,
    vpc,
    with_settings,
)


def elements(found: Ruleset, name: str) -> tuple[str, ...]:
    """Return the elements of a set or map."""
    (wanted,) = (s.elements for s in found.sets if s.name == name)
    return wanted


def chain(found: Ruleset, name: str) -> tuple[str, ...]:
    """Return the rules of a chain."""
    (wanted,) = (c.rules for c in found.chains if c.name == name)
    return wanted


VM = "10.1.1.11"
PACKETS = {
    "tcp 80": Packet(VM, "203.0.113.7", "tcp", 80),
    "tcp 25": Packet(VM, "203.0.113.7", "tcp", 25),
    "udp 80": Packet(VM, "203.0.113.7", "udp", 80),
    "ping": Packet(VM, "203.0.113.7", "icmp", 8),
    "unreachable": Packet(VM, "203.0.113.7", "icmp", 3),
    "gre": Packet(VM, "203.0.113.7", "47", 0),
    "ping of another VM": Packet("10.1.1.12", "203.0.113.7", "icmp", 8),
    "ping elsewhere": Packet(VM, "8.8.8.8", "icmp", 8),
}
RULES = {
    "no rule": (None, set()),
    "every protocol": ({}, set(PACKETS)),
    "tcp": ({"protocol": "tcp"}, {"tcp 80", "tcp 25"}),
    "tcp 80": ({"protocol": "tcp", "ports": 80}, {"tcp 80"}),
    "tcp range": ({"protocol": "tcp", "ports": (1, 65535)}, {"tcp 80", "tcp 25"}),
    "udp": ({"protocol": "udp"}, {"udp 80"}),
    "icmp": ({"protocol": "icmp"}, {"ping", "unreachable", "ping of another VM", "ping elsewhere"}),
    "icmp echo": (
        {"protocol": "icmp", "icmp_type": 8, "icmp_code": 0},
        {"ping", "ping of another VM", "ping elsewhere"},
    ),
    "icmp of a VM": ({"protocol": "icmp", "sources": (f"{VM}/32",)}, {"ping", "unreachable", "ping elsewhere"}),
    "icmp to a network": (
        {"protocol": "icmp", "destinations": ("203.0.113.0/24",)},
        {"ping", "unreachable", "ping of another VM"},
    ),
    "protocol number": ({"protocol": "47"}, {"gre"}),
}


@pytest.mark.parametrize(("policy", "name"), list(product([True, False], RULES)))
def test_egress_truth_table(policy: bool, name: str) -> None:
    """A rule does the opposite of the policy to what it names, and to nothing else (B16)."""
    match, hit = RULES[name]
    listed = RuleList(() if match is None else (rule(not policy, **match),), policy)
    found = ruleset(isolated(egress=listed))
    judge = Evaluator(found.sets)
    passed = {label for label, packet in PACKETS.items() if judge.verdict(chain(found, "egress"), packet) == "return"}
    assert passed == (set(PACKETS) - hit if policy else hit)


def test_ruleset_has_a_firewall_per_public_address() -> None:
    """Each address its own rules; one without rules is not in the map, and what is not in it is dropped."""
    found = ruleset(isolated(firewall={FIRST: rules(rule(protocol="tcp", ports=22)), SECOND: rules(rule())}))
    assert elements(found, "public_firewall") == (
        "192.0.2.10 : jump firewall_192.0.2.10",
        "198.51.100.20 : jump firewall_198.51.100.20",
    )
    assert chain(found, "firewall_192.0.2.10")[-1] == "drop"


def test_ruleset_names_no_released_address() -> None:
    """A rule of an address that is on no NIC makes no chain (B17)."""
    found = ruleset(isolated(firewall={IPv4Address("192.0.2.99"): rules(rule())}))
    assert elements(found, "public_firewall") == ()
    assert [c.name for c in found.chains if not c.name.startswith("source_")] == [
        "egress",
        "egress_reversed",
    ]


def test_ruleset_forwards_between_guests_and_public_nics_only() -> None:
    """The control NIC is in no pair: nothing is routed from or to it."""
    found = ruleset(isolated())
    assert set(elements(found, "forward_from")) == {"eth0 . eth2 : jump egress", "eth0 . eth3 : jump egress"}
    assert set(elements(found, "forward_to")) == {
        "eth0 . eth0 : accept",
        "eth0 . eth2 : accept",
        "eth0 . eth3 : accept",
        "eth2 . eth0 : accept",
        "eth3 . eth0 : accept",
    }


def test_ruleset_asks_both_acls_of_a_vpc() -> None:
    """The egress ACL of one side and the ingress ACL of the other (N2), for a private gateway too (B9)."""
    found = ruleset(vpc())
    leaving, towards = elements(found, "forward_from"), elements(found, "forward_to")
    for source, target in product(("eth2", "eth3", "eth4"), repeat=2):
        assert f"{source} . {target} : jump acl_{source}_egress" in leaving
        assert f"{source} . {target} : jump acl_{target}_ingress" in towards
    assert "eth1 . eth2 : jump acl_eth2_ingress" in towards, "a port forward does not pass by the tier's ACL"
    assert "eth2 . eth1 : accept" in towards


def test_ruleset_of_a_vpc_without_acls_lets_nothing_in_and_everything_out() -> None:
    found = ruleset(vpc())
    assert chain(found, "acl_eth2_ingress") == chain(found, "acl_eth2_ingress_reversed") == ("goto refused",)
    assert chain(found, "acl_eth2_egress") == ("return",)


def test_ruleset_of_a_vpc_has_no_firewall_per_address_unless_it_is_enabled() -> None:
    """All may enter by an address, the ACLs judge; with vpc_firewall_enabled the address judges first."""
    assert elements(ruleset(vpc()), "public_firewall") == ("192.0.2.50 : accept",)
    enabled = with_settings(vpc(), per_ip_firewall=True)
    assert elements(ruleset(enabled), "public_firewall") == ()


@pytest.mark.parametrize("kind", [Kind.SHARED, Kind.INTERNAL_LB])
def test_ruleset_of_a_server_forwards_nothing(kind: Kind) -> None:
    server = with_settings(isolated(GUEST, CONTROL), kind=kind)
    found = ruleset(server)
    assert (elements(found, "forward_from"), elements(found, "forward_to"), found.counters) == ((), (), ())


def test_ruleset_serves_guests_by_nic_and_source() -> None:
    """Services are for the guest network's own addresses, on its own NIC."""
    found = ruleset(isolated())
    assert elements(found, "guest_members") == ("eth0 . 10.1.1.0/24",)
    assert elements(found, "guest_addresses") == ("10.1.1.1",)
    assert elements(found, "dns_sources") == ()
    assert elements(ruleset(with_settings(isolated(), expose_dns=True)), "dns_sources") == ("eth0",)


def test_ruleset_joins_subnets_of_a_nic_that_overlap() -> None:
    """An alias may lie in the network's own subnet, and an interval set refuses overlaps."""
    guest = device("eth0", Role.GUEST, "10.1.1.1/24", "10.1.1.129/25", "10.1.5.1/24")
    assert elements(ruleset(isolated(guest, CONTROL)), "guest_members") == ("eth0 . 10.1.1.0/24", "eth0 . 10.1.5.0/24")


@pytest.mark.parametrize("router", [isolated(), vpc()], ids=["isolated", "vpc"])
def test_ruleset_marks_are_table_numbers(router: Router) -> None:
    """Never 0 (D10), and every public and private gateway NIC has one (D2)."""
    marked = dict(element.split(" : ") for element in elements(ruleset(router), "nic_mark"))
    assert marked == {d.name: str(100 + d.number) for d in router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY)}
    assert "0" not in marked.values()


def test_ruleset_clamps_segments_where_nics_differ() -> None:
    smaller = device("eth2", Role.PUBLIC, "192.0.2.10/24", mtu=1400)
    control = device("eth1", Role.CONTROL, "169.254.3.101/16", mtu=9000)
    assert not ruleset(isolated(GUEST, control, PUBLIC)).clamp
    assert ruleset(isolated(GUEST, control, smaller)).clamp
    assert not ruleset(with_settings(isolated(GUEST, control, smaller), kind=Kind.SHARED)).clamp


def test_ruleset_has_no_helper_where_the_kernel_has_none_or_nothing_is_forwarded() -> None:
    assert ruleset(isolated()).ftp
    assert not ruleset(isolated(), ftp=False).ftp
    assert not ruleset(with_settings(isolated(GUEST, CONTROL), kind=Kind.SHARED)).ftp


def test_ruleset_counts_per_public_nic() -> None:
    """What passed between it and the guests, in and out (K6), and the TCP that ends on the router, but for its sshd."""
    found = ruleset(isolated(GUEST, CONTROL, PUBLIC))
    assert found.counters == ("eth2_sent", "eth2_received", "eth2_own_sent", "eth2_own_received")
    assert found.usage_rules == {
        "forward": (
            'iifname { eth0 } oifname eth2 counter name "eth2_sent"',
            'iifname eth2 oifname { eth0 } counter name "eth2_received"',
        ),
        "input": ('iifname eth2 tcp dport != 3922 counter name "eth2_own_received"',),
        "output": ('oifname eth2 tcp sport != 3922 counter name "eth2_own_sent"',),
    }
