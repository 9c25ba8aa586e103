# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routed mode: nothing is translated, what enters is decided by the guest network, and all of it by real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, Probe, ask, ask_all, dhcp_lease, ping, raw_protocol, tcp, udp
from tests.scenarios import drops, dual, states
from tests.scenarios.dual import APP, CLIENT, OTHER, OWN, POLICY, VMS, WEB, Dual, acl, acl_rule, leaving, rule, rules

VM1, VM2 = VMS["vm1"][1], VMS["vm2"][1]
WEB1, WEB2, APP1 = VMS["web1"][1], VMS["web2"][1], VMS["app1"][1]
ALL = acl_rule("all")


@pytest.fixture(scope="module")
def network() -> Iterator[Dual]:
    """Return a routed isolated network without a rule."""
    with Lab("routed") as lab:
        found = dual.make(lab, dual.isolated_cmdline(is_routed="true"), [dual.GUEST])
        found.change("ip_associations", dual.public_address(2))
        yield found


@pytest.fixture(scope="module")
def vpc() -> Iterator[Dual]:
    """Return a routed VPC with two tiers without an ACL."""
    with Lab("routed-vpc") as lab:
        found = dual.make(lab, dual.vpc_cmdline(is_routed="true"), [WEB, APP], "eth1")
        states.change(found.router, dual.public_address(1), dual.tier(WEB), dual.tier(APP))
        yield found


def opened(network: Dual, *given: dual.Drop) -> None:
    """Make these all rules that the network has."""
    known = json_keys(network)
    gone = [rule(int(key), "tcp", revoked=True) for key in known]
    states.change(network.router, rules(*gone), rules(*given))


def json_keys(network: Dual) -> list[str]:
    """Return the ids of the rules that the router knows."""
    if not network.router.exists("/etc/cloudstack/firewallrules.json"):
        return []
    found = network.router.exec("jq", "-r", "keys[]", "/etc/cloudstack/firewallrules.json").stdout.split()
    return [key for key in found if key != "id"]


def passes(network: Dual, *questions: tuple[str, Probe]) -> list[bool]:
    """Return which probes, (name of a host, probe), get an answer."""
    return [bool(result) for result in ask_all([(network.hosts[name], probe) for name, probe in questions])]


def test_routed_5_without_a_rule_nothing_passes_either_way(network: Dual) -> None:
    """Default deny, for which the server sends no rule; the worst fault of the original on this subject."""
    opened(network)
    both = (("client", tcp(VM1, 22)), ("client", ping(VM1)), ("vm1", tcp(CLIENT, 80)), ("vm1", udp(CLIENT, 53)))
    assert passes(network, *both) == [False] * 4
    assert passes(network, ("vm1", ping("10.1.1.1")), ("client", ping(OWN))) == [True, True]


def test_routed_1_packets_keep_their_addresses_both_ways(network: Dual) -> None:
    opened(network, POLICY, rule(801, "tcp", (22, 22)))
    out, into = ask_all([(network.hosts["vm1"], tcp(CLIENT, 80)), (network.hosts["client"], tcp(VM1, 22))])
    assert (out.seen_from, out.seen_at) == (VM1, CLIENT)
    assert (into.seen_from, into.seen_at) == (CLIENT, VM1)
    known = [line for line in network.router.facts.conntrack() if VM1 in line and "tcp" in line]
    assert known
    for line in known:
        words = [word for word in line.split() if word.startswith(("src=", "dst="))]
        assert words[:2] == [words[3].replace("dst", "src"), words[2].replace("src", "dst")], line
        assert " mark=0 " in f"{line} ", line


def test_routed_2_what_is_left_of_nat_changes_nothing(network: Dual) -> None:
    """A port forward is stored, has no effect, and whoever sent it is told."""
    opened(network, POLICY, rule(801, "tcp", (22, 22)))
    answer = network.change("forwarding_rules", drops.forward(OWN, (2222, 2222), VM1, (22, 22)))
    assert f"what is forwarded from {OWN} has no effect" in answer.stdout + answer.stderr
    assert passes(network, ("client", tcp(OWN, 2222)), ("client", tcp(VM1, 22))) == [False, True]
    assert ask(network.hosts["vm1"], tcp(CLIENT, 80)).seen_from == VM1
    network.change("forwarding_rules", drops.forward(OWN, (2222, 2222), VM1, (22, 22), revoke=True))


def test_routed_3_every_form_of_ingress_rule(network: Dual) -> None:
    """A source list, a destination list, ports, none, ICMP by type, all; nothing else enters."""
    opened(
        network,
        rule(801, "tcp", (22, 22), source_cidr_list=["203.0.113.0/25"], dest_cidr_list=[f"{VM1}/32"]),
        rule(802, "tcp", (80, 443), dest_cidr_list=["10.1.1.0/24"]),
        rule(803, "icmp", icmp_type=8, icmp_code=0, source_cidr_list=["203.0.113.0/25"]),
        rule(804, "udp", source_cidr_list=["203.0.113.0/25", "198.18.0.0/15"]),
        rule(805, "all", source_cidr_list=[f"{OTHER}/32"], dest_cidr_list=[f"{VM2}/32"]),
        rule(806, "tcp", (8443, 8443), dest_cidr_list=["10.77.0.0/16"]),
    )
    table = [
        (("client", tcp(VM1, 22)), True),
        (("client", tcp(VM2, 22)), False),
        (("other", tcp(VM1, 22)), False),
        (("other", tcp(VM1, 80)), True),
        (("client", tcp(VM2, 443)), True),
        (("client", ping(VM1)), True),
        (("other", ping(VM1)), False),
        (("client", udp(VM1, 5353)), True),
        (("other", udp(VM1, 5353)), False),
        (("other", udp(VM2, 5353)), True),
        (("other", tcp(VM2, 25)), True),
        (("client", tcp(VM2, 25)), False),
        (("client", tcp(VM1, 8443)), False),
    ]
    found = passes(network, *(question for question, _wanted in table))
    wrong = [question for (question, wanted), passed in zip(table, found, strict=True) if passed is not wanted]
    assert wrong == []


@pytest.mark.parametrize("first", [1, 900], ids=["ingress first", "egress first"])
@pytest.mark.parametrize("policy", [True, False], ids=["allow", "deny"])
def test_routed_4_egress_by_both_policies_whatever_ingress_rules_say(network: Dual, policy: bool, first: int) -> None:
    """Ingress rules always say that the policy is to deny."""
    given = [rule(first, "tcp", (22, 22)), leaving(500, "tcp", policy, (25, 25))]
    opened(network, *given, *([POLICY] if policy else []))
    found = passes(network, ("vm1", tcp(CLIENT, 25)), ("vm1", tcp(CLIENT, 80)), ("vm1", ping(CLIENT)))
    assert found == [not policy, policy, policy]
    assert passes(network, ("client", tcp(VM1, 22)), ("client", tcp(VM1, 80))) == [True, False]


def test_routed_6_answers_pass_under_egress_deny(network: Dual) -> None:
    """B12: what was let in may answer."""
    opened(network, rule(801, "tcp", (22, 22)), rule(802, "udp", (5353, 5353)))
    assert passes(network, ("client", tcp(VM1, 22)), ("client", udp(VM1, 5353))) == [True, True]
    assert passes(network, ("vm1", tcp(CLIENT, 22)), ("vm1", udp(CLIENT, 5353))) == [False, False]


def test_routed_10_the_routers_own_services_are_reached_under_egress_deny(network: Dual) -> None:
    opened(network)
    network.change("vm_dhcp_entry", {**drops.vm("vm1", VMS["vm1"][2], VM1), "default_gateway": "10.1.1.1"})
    lease = dhcp_lease(network.hosts["vm1"], mac=VMS["vm1"][2])
    assert lease is not None
    assert lease["routers"] == ["10.1.1.1"]
    served = (("vm1", tcp("10.1.1.1", 53)), ("vm1", tcp("10.1.1.1", 80)), ("vm1", tcp("10.1.1.1", 8080)))
    assert passes(network, *served) == [True] * 3


def test_routed_14_a_foreign_source_is_dropped(network: Dual) -> None:
    """A VM that borrows an address would leave unfiltered where only the CIDR of a rule is looked at."""
    opened(network, POLICY)
    vm = network.hosts["vm1"]
    network.hosts["provider"].add_route("10.44.0.0/16", OWN)
    vm.add_address("10.44.0.4/32")
    assert passes(network, ("vm1", udp(CLIENT, 53, source="10.44.0.4"))) == [False]
    assert not [line for line in network.router.facts.conntrack() if "10.44.0.4" in line]
    vm.ip("address", "del", "10.44.0.4/32", "dev", "eth0")


def test_routed_15_a_change_loses_no_packet_that_is_allowed(network: Dual) -> None:
    opened(network, POLICY, rule(801, "icmp"))
    with PingStream(network.hosts["client"], VM1) as inward, PingStream(network.hosts["vm2"], CLIENT) as outward:
        for number in range(3):
            network.change("firewall_rules", rules(rule(850 + number, "tcp", (6000, 6000 + number))))
        network.change("firewall_rules", rules(rule(851, "tcp", (6000, 6001), revoked=True)))
    assert (inward.lost, outward.lost) == (0, 0)
    assert min(inward.sent, outward.sent) > 20


def test_routed_15_what_is_revoked_is_cut(network: Dual) -> None:
    """B18: the stream through the rule that goes ends, the other goes on."""
    opened(
        network, rule(801, "icmp", source_cidr_list=[f"{CLIENT}/32"]), rule(802, "icmp", dest_cidr_list=[f"{VM2}/32"])
    )
    with PingStream(network.hosts["client"], VM1) as revoked, PingStream(network.hosts["client"], VM2) as kept:
        network.change("firewall_rules", rules(rule(801, "icmp", source_cidr_list=[f"{CLIENT}/32"], revoked=True)))
        assert not ask(network.hosts["client"], ping(VM1))
    assert kept.lost == 0
    assert revoked.lost > 0


def test_routed_16_the_ruleset_after_a_reboot_is_the_one_before(network: Dual) -> None:
    opened(network, POLICY, rule(801, "tcp", (22, 22)))
    before = network.router.facts.ruleset()
    network.router.reboot()
    assert sorted(network.router.facts.ruleset().splitlines()) == sorted(before.splitlines())
    assert passes(network, ("client", tcp(VM1, 22)), ("client", tcp(VM1, 80)), ("vm1", tcp(CLIENT, 80))) == [
        True,
        False,
        True,
    ]
    assert states.repaired(network.router) == []


# VPC


def lists(
    vpc: Dual, web: tuple[list[dual.Drop], list[dual.Drop]], app: tuple[list[dual.Drop], list[dual.Drop]]
) -> None:
    """Give both tiers their ACLs, ingress and egress."""
    states.change(vpc.router, acl(WEB, *web), acl(APP, *app))


def test_routed_9_a_vpc_without_rules_is_closed(vpc: Dual) -> None:
    """Before any ACL, and with empty ones; the router's own connections get their answers."""
    outer = (("client", tcp(WEB1, 22)), ("web1", tcp(CLIENT, 80)), ("web1", tcp(APP1, 22)))
    assert passes(vpc, *outer) == [False] * 3
    lists(vpc, ([], []), ([], []))
    assert passes(vpc, *outer) == [False] * 3
    assert ask(vpc.router, tcp(CLIENT, 80))
    assert passes(vpc, ("web1", ping(WEB.router))) == [True]


def carried(vpc: Dual, name: str, number: int) -> bool:
    """Tell whether a packet of a protocol gets from a host outside to a VM."""
    vpc.router.exec("conntrack", "-F")
    known = {1: ping(WEB1), 6: tcp(WEB1, 22), 17: udp(WEB1, 53)}.get(number)
    if known is not None:
        return passes(vpc, (name, known)) == [True]
    return bool(raw_protocol(vpc.hosts[name], vpc.hosts["web1"], WEB1, number))


@pytest.mark.parametrize("number", [1, 6, 17, 41, 47, 50, 112])
def test_routed_7_protocols_by_number(vpc: Dual, number: int) -> None:
    """nft refuses what the original writes for them: an allow is missing without notice, and so is a deny."""
    cidrs = f"{CLIENT}/32,198.18.0.0/15"
    other = 47 if number != 47 else 41
    for allowed in (True, False):
        one = acl_rule(str(number), cidrs, allowed=allowed)
        lists(vpc, ([one, acl_rule("all", cidrs, allowed=not allowed)], []), ([], []))
        assert carried(vpc, "client", number) is allowed
        assert carried(vpc, "client", other) is not allowed
        assert not carried(vpc, "other", number), "not of the rule's networks"


@pytest.mark.parametrize(("leaves", "enters"), [(True, True), (True, False), (False, True), (False, False)])
def test_routed_8_both_acls_decide_between_tiers(vpc: Dual, leaves: bool, enters: bool) -> None:
    """N2, in both directions."""
    egress, ingress = [ALL] if leaves else [], [ALL] if enters else []
    lists(vpc, (ingress, egress), (ingress, egress))
    both = leaves and enters
    assert passes(vpc, ("web1", tcp(APP1, 22)), ("app1", udp(WEB1, 53))) == [both, both]


def test_routed_8_within_a_tier_the_router_is_in_nobodys_way(vpc: Dual) -> None:
    lists(vpc, ([], []), ([], []))
    vpc.hosts["web1"].add_route(f"{WEB2}/32", WEB.router)
    assert passes(vpc, ("web1", tcp(WEB2, 22))) == [True]
    vpc.hosts["web1"].ip("route", "del", f"{WEB2}/32")


def test_routed_1_a_vpc_translates_nothing_either(vpc: Dual) -> None:
    lists(vpc, ([ALL], [ALL]), ([ALL], [ALL]))
    probes = (("web1", tcp(CLIENT, 80)), ("client", tcp(WEB1, 22)), ("web1", tcp(APP1, 22)))
    seen = [result.seen_from for result in ask_all([(vpc.hosts[name], probe) for name, probe in probes])]
    assert seen == [WEB1, CLIENT, WEB1]


def test_routed_12_a_private_gateway_filters_and_does_not_translate(vpc: Dual) -> None:
    """Whatever its record says of source NAT; what lies behind is reached by a static route."""
    lab, mac = vpc.lab, "02:00:09:00:00:04"
    lab.segment("partner")
    peer = lab.host("peer", "partner", "172.20.0.9/24", gateway="172.20.0.2")
    peer.add_address("172.21.0.9/32")
    peer.probe.serve(tcp=(22,))
    vpc.router.plug("eth4", "partner", mac)
    record = dual.public_address(4)["ip_address"][0]
    record |= {"public_ip": "172.20.0.2", "gateway": "172.20.0.9", "vif_mac_address": mac, "is_private_gateway": True}
    routes = {
        "type": "staticroutes",
        "routes": [{"revoke": False, "network": "172.21.0.0/24", "gateway": "172.20.0.9"}],
    }
    side = dual.Segment("partner", "eth4", mac, "172.20.0.0/24")
    private = {**acl(side, [], [ALL]), "private_gateway_acl": True, "nic_ip": "172.20.0.2"}
    states.change(vpc.router, {"type": "ips", "ip_address": [record]}, routes, private, acl(WEB, [ALL], [ALL]))
    assert passes(vpc, ("web1", tcp("172.20.0.9", 22)), ("web1", tcp("172.21.0.9", 22))) == [False, False]
    states.change(vpc.router, {**private, "ingress_rules": [ALL]})
    results = ask_all([(vpc.hosts["web1"], tcp(target, 22)) for target in ("172.20.0.9", "172.21.0.9")])
    assert [result.seen_from for result in results] == [WEB1, WEB1]
    assert ask(peer, tcp(WEB1, 22, source="172.21.0.9")).seen_from == "172.21.0.9"


def test_routed_13_a_thousand_rules(vpc: Dual) -> None:
    """In the time that they take without routed mode; what they say is in force."""
    many = [acl_rule("tcp", f"198.18.{n // 250}.{n % 250}/32", first_port=n + 1, last_port=n + 1) for n in range(1000)]
    answer = vpc.change("network_acl", acl(WEB, [*many, acl_rule("tcp", first_port=22, last_port=22)], [ALL]))
    assert answer.seconds < 10
    assert passes(vpc, ("client", tcp(WEB1, 22)), ("client", tcp(WEB1, 80))) == [True, False]
