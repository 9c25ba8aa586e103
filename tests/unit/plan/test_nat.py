# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    Role,
    Router,
    StaticNat,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import nat
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import NamedSet, SetPool
from tests.unit.plan.nftables import Evaluator, Packet
from tests.unit.plan.samples import FIRST, SECOND, VM1, VM2, device, isolated, vpc, with_settings
from tests.unit.plan.strategies import forwards

PUBLIC = [FIRST, SECOND]
CLIENTS = ["203.0.113.7", "203.0.113.200", "198.18.0.1", "8.8.8.8"]


def applies(forward: Forward, packet: Packet) -> bool:
    """Tell by the plain meaning of its fields whether a forward is meant for a packet."""
    return (
        str(forward.public_ip) == packet.destination
        and forward.protocol in (None, packet.protocol)
        and (forward.public_ports is None or packet.port in forward.public_ports)
        and (not forward.sources or any(IPv4Address(packet.source) in IPv4Network(c) for c in forward.sources))
    )


def target(forward: Forward, packet: Packet) -> tuple[str, int]:
    """Return where a forward leads a packet."""
    public, inner = forward.public_ports, forward.internal_ports
    shift = inner.first - public.first if public and inner else 0
    return str(forward.internal_ip), packet.port + shift


def translated(router: Router, packet: Packet) -> tuple[str, int] | None:
    """Return where the planned maps lead a packet."""
    pool = SetPool()
    public = frozenset(a.ip for d in router.by_role(Role.PUBLIC) for a in d.addresses)
    plan = nat.destinations(router, public, pool)
    return Evaluator((*plan.maps, *pool.sets)).translate(plan.destination_rules, packet)


PACKETS = [
    Packet(source, str(ip), protocol, port)
    for source in CLIENTS
    for ip in PUBLIC
    for protocol in ("tcp", "udp")
    for port in range(0, 40, 3)
]


@settings(max_examples=150)
@given(st.lists(forwards(), max_size=8), st.integers(0, 2))
def test_destinations_lead_where_the_forwards_say(items: list[Forward], start: int) -> None:
    """A packet reaches the target of a forward that is meant for it, or none if there is none.

    With several (only hand-made databags have them) one restricted to sources wins, and the same one each time.
    """
    router = isolated(forwards=tuple(items))
    for packet in PACKETS[start::3]:
        meant = [f for f in items if applies(f, packet)]
        restricted = [f for f in meant if f.sources]
        found = translated(router, packet)
        assert (found in [target(f, packet) for f in restricted or meant]) if meant else found is None, packet


@settings(max_examples=100)
@given(st.lists(forwards(), max_size=8))
def test_precedence_is_the_order_of_the_maps(items: list[Forward]) -> None:
    """The first forward by precedence is the one that the maps follow: conntrack is judged by it."""
    router = isolated(forwards=tuple(items))
    for packet in PACKETS[::5]:
        meant = sorted((f for f in items if applies(f, packet)), key=nat.precedence)
        assert translated(router, packet) == (target(meant[0], packet) if meant else None), packet


def forward(public: tuple[int, int] | None, inner: tuple[int, int] | None, protocol: str | None = "tcp") -> Forward:
    """Return a forward of the first public address to the first VM."""
    return Forward(FIRST, VM1, protocol, Ports(*public) if public else None, Ports(*inner) if inner else None)


def maps(router: Router) -> dict[str, NamedSet]:
    """Return the maps of destination NAT by name."""
    plan = nat.destinations(router, frozenset(PUBLIC), SetPool())
    return {found.name: found for found in plan.maps}


def test_destinations_shift_a_range_port_by_port() -> None:
    """9000-9005 to 8000-8005 goes port by port (N9)."""
    found = maps(isolated(forwards=(forward((9000, 9005), (8000, 8005)),)))["forwards_tcp"]
    assert found.elements == tuple(f"192.0.2.10 . {9000 + n} : 10.1.1.11 . {8000 + n}" for n in range(6))


def test_destinations_keep_an_unshifted_range_as_one_element() -> None:
    found, _static_nat = maps(isolated(forwards=(forward((1, 65535), (1, 65535), "udp"),))).values()
    assert (found.elements, found.interval) == (("192.0.2.10 . 1-65535 : 10.1.1.11",), True)


def test_destinations_of_any_protocol_keep_lower_ranges_of_one_protocol() -> None:
    """A range of every protocol does not swallow a lower one of tcp alone."""
    router = isolated(forwards=(forward((100, 200), (100, 200), None), forward((50, 60), (50, 60))))
    assert translated(router, Packet("8.8.8.8", "192.0.2.10", "tcp", 55)) == ("10.1.1.11", 55)
    assert translated(router, Packet("8.8.8.8", "192.0.2.10", "udp", 55)) is None


def test_destinations_name_no_address_that_is_on_no_nic() -> None:
    """Rules of a released address are not made (B17)."""
    gone = IPv4Address("192.0.2.99")
    router = isolated(
        forwards=(Forward(gone, VM1, "tcp", Ports(22, 22), Ports(22, 22)),), static_nats=(StaticNat(gone, VM2),)
    )
    assert [(name, found.elements) for name, found in maps(router).items()] == [("static_nat", ())]
    assert all(not found.elements for found in nat.sources(router)[:2])


def test_destinations_ask_forwards_before_static_nat() -> None:
    """A port forward of an address that also has static NAT keeps its port."""
    router = isolated(forwards=(forward((22, 22), (2222, 2222)),), static_nats=(StaticNat(FIRST, VM2),))
    assert translated(router, Packet("8.8.8.8", "192.0.2.10", "tcp", 22)) == ("10.1.1.11", 2222)
    assert translated(router, Packet("8.8.8.8", "192.0.2.10", "tcp", 23)) == ("10.1.1.12", 23)


def elements(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the maps of source NAT."""
    return {found.name: found.elements for found in nat.sources(router)}


def test_sources_give_each_public_nic_its_own_address() -> None:
    """One source NAT address per public device (D3)."""
    assert elements(isolated())["nic_source"] == ("eth2 : 192.0.2.10", "eth3 : 198.51.100.20")


def test_sources_of_a_static_nat_vm_follow_its_public_address() -> None:
    """The VM is marked for the NIC of its address and leaves with it (D1); the mark is never 0 (D10)."""
    found = elements(isolated(static_nats=(StaticNat(SECOND, VM1),)))
    assert found["static_nat_mark"] == ("10.1.1.11 : 103",)
    assert found["static_nat_source"] == ("eth3 . 10.1.1.11 : 198.51.100.20",)


def test_sources_of_hairpin_connections_are_the_guest_address() -> None:
    """The VM sees the router's guest address (D6), on a redundant pair the shared one."""
    assert elements(isolated())["hairpin_source"] == ("eth0 : 10.1.1.1",)
    pair = with_settings(isolated(), guest_gateway=IPv4Address("10.1.1.254"))
    assert elements(pair)["hairpin_source"] == ("eth0 : 10.1.1.254",)


def test_sources_of_a_private_gateway_are_its_address_when_it_asks_for_it() -> None:
    """Traffic of the VPC leaves with the gateway's address (E4), without source_nat untranslated."""
    plain = device("eth4", Role.PRIVATE_GATEWAY, "172.20.0.2/24")
    asking = device("eth4", Role.PRIVATE_GATEWAY, "172.20.0.2/24", source_nat=True)
    assert elements(isolated(plain))["nic_source"] == ()
    assert elements(isolated(asking))["nic_source"] == ("eth4 : 172.20.0.2",)


def test_sources_know_the_networks_between_which_nothing_is_translated() -> None:
    """The rule is asked before any source NAT; an isolated network has none."""
    assert elements(vpc())["vpc_networks"] == ("10.2.0.0/16",)
    assert elements(isolated())["vpc_networks"] == ()


@settings(max_examples=100)
@given(st.lists(forwards(), max_size=8), st.booleans())
def test_ftp_servers_are_what_leads_to_port_21(items: list[Forward], static: bool) -> None:
    """By each forward, for the helper may be asked before it is known which of several is in force."""
    nats = (StaticNat(SECOND, VM1), StaticNat(IPv4Address("192.0.2.99"), VM2)) if static else ()
    found = nat.ftp_servers(isolated(forwards=tuple(items), static_nats=nats), frozenset(PUBLIC)).elements
    wanted = {f"{SECOND} . 21"} if static else set()
    for forward in items:
        for port in range(200):
            packet = Packet(CLIENTS[0], str(forward.public_ip), "tcp", port)
            matched = Forward(forward.public_ip, VM1, forward.protocol, forward.public_ports)
            if applies(matched, packet) and target(forward, packet)[1] == 21 and forward.public_ip in PUBLIC:
                wanted.add(f"{forward.public_ip} . {port}")
    assert {element for element in found if int(element.split(" . ")[1]) < 200} == wanted
