# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""BGP as FRR's configuration: who is spoken with, what each is told, and who is let in."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.bgp import adopt_peers
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import bgp, routing
from tests.golden.cases import renderer
from tests.unit.model.bags import Record, address, cmdline, ips, nics

NICS = nics(eth0="00", eth1="01", eth2="02")
SIX = {"eth0ip6": "2001:db8:a:1::1", "eth0ip6prelen": "64", "eth2ip6": "2001:db8:f::10", "eth2ip6prelen": "64"}


def peer(number: int = 1, network: int = 7, **fields: Any) -> Record:
    """Return a record of a peer of both families."""
    found = {"peer_id": number, "network_id": network, "peer_as_number": 64512, "network_as_number": 65010}
    found |= {"ip4_address": "192.0.2.2", "ip6_address": "2001:db8:f::2", "details": {}}
    return found | {"guest_ip4_cidr": "10.1.1.0/24", "guest_ip6_cidr": "2001:db8:a:1::/64"} | fields


def router(*peers: Record, state: VrrpState = VrrpState.UNKNOWN, **arguments: str) -> Router:
    """Return the router of a routed isolated network with these peers."""
    return build(
        {
            "cmdline": cmdline(**{"gateway": "192.0.2.1", "is_routed": "true", **SIX, **arguments}),
            "ips": ips(
                eth0=[address("10.1.1.1", "guest")],
                eth2=[address("192.0.2.10", source_nat=True, gateway="192.0.2.1")],
            ),
            "bgppeers": {"id": "bgppeers", **{f"{p['peer_id']}-{p['network_id']}": p for p in peers}},
        },
        NICS,
        state,
    )


def text(found: Router) -> str:
    """Return FRR's configuration."""
    return next(file.content for file in bgp.wanted(found, renderer()).files if file.path == bgp.CONFIG)


def lines(found: Router) -> list[str]:
    """Return its lines without their indentation."""
    return [line.strip() for line in text(found).splitlines()]


def test_bgp_3_a_peer_is_told_the_networks_of_its_own_records_only() -> None:
    other = peer(2, 8, ip4_address="192.0.2.3", guest_ip4_cidr="10.1.9.0/24", ip6_address=None)
    found = lines(router(peer(), peer(1, 9, guest_ip4_cidr="10.1.2.0/24"), other))
    assert "ip prefix-list TO-192.0.2.2 seq 5 permit 10.1.1.0/24" in found
    assert "ip prefix-list TO-192.0.2.2 seq 10 permit 10.1.2.0/24" in found
    assert "ip prefix-list TO-192.0.2.3 seq 5 permit 10.1.9.0/24" in found
    assert not [line for line in found if line.startswith("ip prefix-list TO") and ("le " in line or "any" in line)]
    assert found.count("neighbor 192.0.2.2 remote-as 64512") == 1


def test_bgp_6_families_are_apart() -> None:
    found = text(router(peer(ip4_address=None)))
    assert "ipv4 unicast" not in found.replace("no bgp default ipv4-unicast", "")
    assert "192.0.2.2" not in found
    assert "network 2001:db8:a:1::/64" in found


def test_bgp_12_nothing_that_is_part_of_ours_is_believed() -> None:
    found = lines(router(peer()))
    for network in ("10.1.1.0/24", "192.0.2.0/24", "127.0.0.0/8", "169.254.0.0/16"):
        assert [line for line in found if line.endswith(f"deny {network} le 32")], network
    assert [line for line in found if line.endswith("deny 2001:db8:a:1::/64 le 128")]
    assert [line for line in found if line.startswith("ip prefix-list FROM")][-1].endswith("permit any")


def test_bgp_5_of_our_own_as() -> None:
    found = lines(router(peer(peer_as_number=65010, details={"EBGP_MultiHop": "3"})))
    assert "neighbor 192.0.2.2 next-hop-self" in found
    assert not [line for line in found if "multihop" in line]


def test_bgp_4_hops_as_they_are_given() -> None:
    assert "neighbor 192.0.2.2 ebgp-multihop 3" in lines(router(peer(details={"EBGP_MultiHop": "3"})))
    assert "multihop" not in text(router(peer()))


@pytest.mark.parametrize("password", ["two words", "tab\there", "x" * 81, "ö" * 41])
def test_bgp_16_a_password_that_nobody_can_take_leaves_the_peer_out(password: str) -> None:
    found = router(peer(peer_password=password), peer(2, ip4_address="192.0.2.3", ip6_address=None))
    assert "192.0.2.2" not in text(found)
    assert "neighbor 192.0.2.3 remote-as 64512" in lines(found)
    assert len(found.warnings) == 2, "one for each address"
    assert all(w.startswith("BGP peer ") and "there is no session" in w for w in found.warnings)
    assert password not in " ".join(found.warnings) + repr(found)


@pytest.mark.parametrize("password", ["!", "#hash", 'quo"te', "ö" * 40, "$(reboot)"])
def test_bgp_1_any_other_password_stands_as_it_is(password: str) -> None:
    found = router(peer(peer_password=password))
    assert f"neighbor 192.0.2.2 password {password}" in lines(found)
    file = next(file for file in bgp.wanted(found, renderer()).files if file.path == bgp.CONFIG)
    assert (file.secret, file.mode, file.owner) == (True, 0o640, "frr")
    assert password not in repr(found.bgp)
    assert [file.hidden for file in bgp.wanted(found, renderer()).files] == [(), (password, password)]


def test_a_detail_that_nobody_knows_is_told_and_kept() -> None:
    found = router(peer(details={"BFD": "true"}, ip6_address=None))
    assert found.warnings == ("BGP peer 192.0.2.2: nobody knows what BFD means",)
    assert "neighbor 192.0.2.2 remote-as 64512" in lines(found)


def test_bgp_13_only_the_primary_speaks() -> None:
    pair = {"redundant_router": "true", "guestgw": "10.1.1.2"}
    units = {state: bgp.wanted(router(peer(), state=state, **pair), renderer()).units[0] for state in VrrpState}
    assert [state for state, unit in units.items() if unit.running] == [VrrpState.PRIMARY]
    assert "frr.service" in routing.SHARE.primary_units(router(peer(), **pair))
    assert "bgp graceful-restart preserve-fw-state" in lines(router(peer(), **pair))
    assert "graceful" not in text(router(peer()))


def test_bgp_14_peers_alone_are_let_in() -> None:
    four, six = bgp.opened(router(peer()))
    assert four.elements == ("192.0.2.2 . 192.0.2.10",)
    assert six.elements == ("2001:db8:f::2 . 2001:db8:f::10",)
    assert [found.elements for found in bgp.opened(router())] == [(), ()]


def test_a_session_without_an_own_address_of_its_family_waits() -> None:
    found = router(peer(), eth2ip6="null")
    assert [str(n.session.peer) for n in bgp.neighbors(found)] == ["192.0.2.2"]


def test_bgp_10_without_peers_the_file_knows_none_and_nothing_runs() -> None:
    wanted = bgp.wanted(router(), renderer())
    assert "neighbor" not in text(router())
    assert "router bgp" not in text(router())
    assert not wanted.units[0].running
    assert "bgpd=no" in next(file.content for file in wanted.files if file.path == bgp.DAEMONS)


def test_bgp_19_a_bag_of_the_original_is_taken_over() -> None:
    bag = adopt_peers({"2-2040": peer(2, 2040)})
    assert list(bag) == ["2-2040"]


def test_the_id_is_the_source_nat_address_or_the_lowest_guest_gateway() -> None:
    assert bgp.router_id(router(peer())) == "192.0.2.10"
    bags = {"cmdline": cmdline(), "ips": ips(eth0=[address("10.1.1.1", "guest")])}
    assert bgp.router_id(build(bags, NICS)) == "10.1.1.1"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"peer_as_number": 0}, "peers[0].peer_as_number"),
        ({"guest_ip4_cidr": "10.1.1.1/24"}, "peers[0].guest_ip4_cidr"),
        ({"guest_ip6_cidr": "2001:db8::1/64"}, "peers[0].guest_ip6_cidr"),
        ({"ip4_address": "10.0.0.1\nrouter bgp 1"}, "peers[0].ip4_address"),
        ({"ip6_address": "ff02::1"}, "peers[0].ip6_address"),
        ({"details": {"EBGP_MultiHop": "0"}}, "peers[0].details.EBGP_MultiHop"),
        ({"details": {"EBGP_MultiHop": "256"}}, "peers[0].details.EBGP_MultiHop"),
        ({"details": {"EBGP_MultiHop": "1 ttl"}}, "peers[0].details.EBGP_MultiHop"),
        ({"peer_password": "a\nb"}, "peers[0].peer_password"),
    ],
)
def test_bgp_17_what_is_malformed_is_refused_by_name(fields: Record, named: str) -> None:
    body = {"type": "bgppeers", "peers": [{**peer(), **fields}]}
    with pytest.raises(DropError, match=named.replace("[", r"\[").replace("]", r"\]")):
        parse_drop("bgp_peers.json.1", json.dumps(body).encode())


def test_the_addresses_of_a_model_are_addresses() -> None:
    speaks = router(peer()).bgp
    assert speaks is not None
    assert speaks.sessions[0].peer == IPv4Address("192.0.2.2")
