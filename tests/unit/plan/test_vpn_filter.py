# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the packet filter has for tunnels; how packets fare is shown by scenarios."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.bgp import Bgp, Session
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Router,
    StaticNat,
    StaticRoute,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import bgp
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import (
    conntrack,
    flow_patterns,
    sources,
    tables,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset
from tests.golden.cases import renderer
from tests.unit.plan.samples import isolated, rule, rules, vpc, with_settings
from tests.unit.plan.test_conntrack import cut
from tests.unit.plan.test_sources import ways
from tests.unit.plan.test_vpn import A, B, router, tunnel


def text(found: Router, protected: tuple[str, ...] = ()) -> str:
    """Return the ruleset."""
    _rules, wanted = tables.wanted(found, renderer(), True, protected)
    return wanted.files[0].content


def chain(found: str, name: str) -> list[str]:
    """Return the rules of a chain."""
    body = found.partition(f"\tchain {name} {{\n")[2].partition("\n\t}")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


def elements(found: Router, name: str) -> tuple[str, ...]:
    (known,) = [s for s in ruleset(found).sets if s.name == name]
    return known.elements


def test_vpn_14_only_the_peer_may_send_ike_and_esp() -> None:
    assert elements(router(A, B), "vpn_peers") == (
        "eth1 . 203.0.113.41 . 192.0.2.50",
        "eth1 . 203.0.113.42 . 192.0.2.50",
    )
    assert elements(vpc(), "vpn_peers") == ()
    assert elements(router(tunnel("vpn.example.com")), "vpn_peers") == (), "the keeper resolves names"


def test_what_was_decrypted_gets_past_what_guards_public_addresses() -> None:
    """With the kernel's ESP it comes in again by the public NIC, which a lab without it does not notice."""
    found = text(router(A))
    assert chain(found, "from_public")[:2] == ["meta ipsec exists accept", "jump from_peers"]
    assert "iifname @public_nics meta ipsec missing ct status ! dnat drop" in chain(found, "forward")


def test_vpn_9_nothing_leaves_in_the_clear() -> None:
    (rule,) = chain(text(router(A)), "clear_text")[1:]
    assert rule == "oifname { eth1, eth4 } ip saddr 10.2.0.0/16 ip daddr 10.41.0.0/16 rt ipsec missing drop"
    assert "clear_text" not in text(vpc())


@pytest.mark.parametrize("static", [False, True])
def test_vpn_15_tunnels_come_before_every_translation(static: bool) -> None:
    nats = (StaticNat(IPv4Address("192.0.2.51"), IPv4Address("10.2.1.11")),) if static else ()
    assert chain(text(router(A, static_nats=nats)), "srcnat")[1:3] == [
        "ip saddr 10.2.0.0/16 ip daddr 10.41.0.0/16 return",
        "ip saddr 10.41.0.0/16 ip daddr 10.2.0.0/16 return",
    ]


def test_a_peer_is_heard_though_its_ports_are_forwarded() -> None:
    assert chain(text(router(A)), "dstnat")[1:] == ["jump from_peers", "jump destinations"]


def test_sources_beyond_a_tunnel_are_believed_only_when_they_were_decrypted() -> None:
    found = router(A)
    nics = ways(found, "10.41.0.5")
    (name,) = {c.name for c in ruleset(found).chains if "iifname eth1 meta ipsec exists accept" in c.rules}
    (accepted,) = [c.rules for c in ruleset(found).chains if c.name == name]
    assert nics == {"eth1"}
    assert accepted == (
        "iifname eth1 meta ipsec exists accept",
        "iifname eth1 meta l4proto 50 accept",
        "iifname eth1 udp dport { 500, 4500 } accept",
        "iifname lo accept",
        "drop",
    )


DECRYPTED = ("eth1 meta ipsec exists", "eth1 meta l4proto 50", "eth1 udp dport { 500, 4500 }")


def accepted(found: Router, address: str) -> tuple[str, ...]:
    """Return the conditions under which a source is believed."""
    (networks, _networks6, _world), chains = sources.planned(found)
    (name,) = {
        element.partition(" : goto ")[2]
        for element in networks.elements
        if "-" not in element.partition(" : ")[0] and IPv4Address(address) in IPv4Network(element.partition(" : ")[0])
    }
    (rules_,) = [c.rules for c in chains if c.name == name]
    return tuple(line.removeprefix("iifname ").removesuffix(" accept") for line in rules_[:-2])


def test_a_tunnel_wins_over_a_route_to_the_same_network() -> None:
    routed = router(A, routes=(StaticRoute(IPv4Network("10.41.0.0/16"), IPv4Address("172.20.0.9"), "eth4"),))
    assert accepted(routed, "10.41.0.5") == DECRYPTED


def test_a_tunnel_wins_over_a_network_around_the_remote_one() -> None:
    assert accepted(router(tunnel(remote="172.20.0.128/25")), "172.20.0.130") == DECRYPTED
    assert accepted(router(tunnel(remote="172.20.0.0/24")), "172.20.0.130") == ("eth4",), "connected"


def test_tunnels_to_the_same_network_are_both_believed() -> None:
    twice = router(A, replace(B, device="eth4", remote_networks=A.remote_networks))
    assert set(accepted(twice, "10.41.0.5")) == {*DECRYPTED, *(d.replace("eth1", "eth4") for d in DECRYPTED)}


def test_no_bgp_peer_leads_a_remote_network_elsewhere() -> None:
    speaks = Bgp(65001, (Session(IPv4Address("192.0.2.1"), 65000, ()),))
    config = bgp.wanted(router(A, bgp=speaks), renderer()).files[1].content
    assert " deny 10.41.0.0/16 le 32\n" in config


def test_a_device_of_tests_stands_beside_the_public_nic_and_a_router_has_none() -> None:
    found = ruleset(router(A), protected=("ipsec0",))
    maps = {s.name: s.elements for s in found.sets}
    assert "ipsec0 . eth2 : jump acl_eth2_ingress" in maps["forward_to"]
    assert "eth2 . ipsec0 : jump acl_eth2_egress" in maps["forward_from"]
    assert "ipsec0" not in str(maps["public_nics"])
    assert "ipsec0" not in text(router(A))


def test_segments_fit_into_any_tunnel() -> None:
    """Of 1500 bytes 84 are headers, IV and ICV; ESP fills blocks of 16 and needs two bytes; TCP and IP take 40."""
    assert any("maxseg size set 1366" in line for line in chain(text(router(A)), "tunnels"))


def test_vpn_27_what_tunnels_carry_is_counted_once() -> None:
    _rules, wanted = tables.wanted(router(A), renderer())
    forward = chain(wanted.files[1].content.rpartition("flush chain")[2], "forward")
    assert forward[0] == 'meta mark 0x525 counter name "vpn_to_peers" accept'
    assert forward[1] == 'meta mark 0x524 counter name "vpn_from_peers" accept'
    assert any("eth1_sent" in line for line in forward[2:])


def flow(source: str, destination: str, answered: str = "") -> Flow:
    ends = IPv4Address(source), IPv4Address(destination)
    return Flow("tcp", ends[0], ends[1], 40000, 22, ends[1], IPv4Address(answered or source), 22)


def open_vpc(*tunnels: object, ingress: bool = True) -> Router:
    lists = (rules(rule(allow=ingress)), rules(default_allow=True))
    return vpc(vpn=Vpn(tunnels), acls={"eth2": lists})  # type: ignore[arg-type]


IN, OUT = flow("10.41.0.5", "10.2.1.11"), flow("10.2.1.11", "10.41.0.5")


@pytest.mark.parametrize("running", [IN, OUT])
def test_a_tunnel_that_goes_takes_its_connections_along(running: Flow) -> None:
    change = conntrack.Change(open_vpc(A), open_vpc())
    assert change.cuts(running)
    assert flow_patterns.patterns((open_vpc(A),), open_vpc()) == (flow_patterns.ANY,)
    assert not conntrack.Change(open_vpc(A), open_vpc(A, B)).cuts(running)


def spoken(protocol: str, source: str, destination: str, ports: tuple[int, int] = (500, 500)) -> Flow:
    ends = IPv4Address(source), IPv4Address(destination)
    return Flow(protocol, ends[0], ends[1], *ports, ends[1], ends[0], ports[1])


PEER, OWN = "203.0.113.42", "192.0.2.50"


@pytest.mark.parametrize(
    "running",
    [
        spoken("udp", PEER, OWN),
        spoken("udp", OWN, PEER),
        spoken("udp", OWN, PEER, (4500, 61000)),
        spoken("udp", PEER, OWN, (61000, 4500)),
        spoken("50", PEER, OWN, (0, 0)),
        spoken("50", OWN, PEER, (0, 0)),
    ],
)
def test_who_is_no_peer_any_more_is_not_heard_though_charon_spoke_with_it(running: Flow) -> None:
    """Whose other tunnel leads to the same networks, so that what the tunnel carries is not what tells them apart."""
    moved = replace(B, peer="203.0.113.43", address=IPv4Address("203.0.113.43"))
    for after in (router(A), router(A, moved)):
        assert cut([running], router(A, B), after) == [running]
    assert cut([running], router(A, B), router(A, replace(B, psk="new"))) == []


def test_what_else_a_former_peer_says_is_judged_by_the_rules() -> None:
    others = [spoken("udp", PEER, OWN, (61000, 53)), spoken("udp", PEER, "192.0.2.51"), spoken("tcp", OWN, PEER)]
    assert cut(others, router(A, B), router(A)) == []


def test_flows_of_a_former_peer_are_told_apart_by_their_ports() -> None:
    """Whatever was judged before them."""
    flows = [spoken("udp", OWN, PEER, (port, 7000)) for port in (53, 500, 501, 4500, 4501)]
    assert [item.source_port for item in cut(flows, router(A, B), router(A))] == [500, 4500]


def test_a_denied_port_of_a_routed_network_is_cut_in_tunnels_too() -> None:
    before, after = (
        with_settings(
            isolated(
                vpn=Vpn((replace(A, device="eth2", local_networks=(IPv4Network("10.1.1.0/24"),)),)), inbound=found
            ),
            routed=True,
        )
        for found in (rules(rule()), rules())
    )
    assert cut([flow("10.41.0.5", "10.1.1.11")], before, after) == [flow("10.41.0.5", "10.1.1.11")]
    assert cut([flow("10.41.0.5", "10.1.1.11")], before, before) == []


def test_vpn_16_a_denied_network_is_cut() -> None:
    change = conntrack.Change(open_vpc(A), open_vpc(A, ingress=False))
    assert change.cuts(IN)
    assert not change.cuts(OUT)


def test_a_connection_that_was_translated_does_not_move_into_a_tunnel() -> None:
    before = flow("10.2.1.11", "10.41.0.5", answered="192.0.2.50")
    assert conntrack.Change(open_vpc(), open_vpc(A)).cuts(before)


def test_a_network_inside_which_the_peer_is_lets_the_peer_speak() -> None:
    """Peer networks may be public ones."""
    found = router(tunnel(remote="203.0.113.0/24"))
    assert ways(found, "203.0.113.41") == {"eth1"}


def test_an_isolated_network_has_tunnels_too() -> None:
    found = isolated(vpn=Vpn((replace(A, device="eth2", local_address=IPv4Address("192.0.2.10")),)))
    assert elements(found, "vpn_peers") == ("eth2 . 203.0.113.41 . 192.0.2.10",)
