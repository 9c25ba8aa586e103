# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""BGP: what real peers hear of a router, what it believes of them, and what disturbs no session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import ask_all, tcp
from tests.scenarios import dual, states
from tests.scenarios.dual import GUEST, HOP, HOP6, OWN, OWN6, POLICY, POLICY6, Dual, rule, rules
from tests.scenarios.peers import OUR_AS, Bird, peer, peers

NEAR, SECOND = (HOP, HOP6), ("192.0.2.3", "2001:db8:f::3")
PASSWORD = "c4nary!#q'"
CANARY = "c4nary"


@pytest.fixture(scope="module")
def network() -> Iterator[Dual]:
    """Return a routed isolated network with IPv6 and two hosts that can be peers."""
    arguments = {"is_routed": "true", **dual.IPV6_ARGUMENTS}
    with Lab("bgp") as lab:
        found = dual.make(lab, dual.isolated_cmdline(**arguments), [GUEST])
        lab.host("second", "public", [f"{SECOND[0]}/24", f"{SECOND[1]}/64"])
        states.change(found.router, dual.public_address(2), rules(POLICY, rule(801, "tcp", (22, 22))))
        states.change(found.router, rules(POLICY6, kind="ipv6firewallrules"))
        yield Dual(lab, found.router, {**found.hosts, "second": lab.hosts["second"]})


def told(network: Dual, *records: dual.Drop) -> None:
    """Make these the peers that the router has."""
    network.change("bgp_peers", peers(*records))


def daemon(network: Dual) -> str:
    """Return the PID of bgpd, nothing when it does not run."""
    return network.router.exec("pidof", "bgpd", check=False).stdout.strip()


def test_bgp_10_without_a_peer_nothing_speaks(network: Dual) -> None:
    assert daemon(network) == ""
    assert network.router.facts.unit("frr")["ActiveState"] == "inactive"


@pytest.mark.parametrize("password", ["", PASSWORD], ids=["open", "MD5"])
def test_bgp_1_sessions_of_both_families(network: Dual, tmp_path: Path, password: str) -> None:
    """bgp-3: each is told the guest network of its family, with our public address of that family as next hop."""
    fields = {"peer_password": password} if password else {}
    with Bird(network.hosts["provider"], NEAR, tmp_path, password=password) as bird:
        told(network, peer(1, NEAR, **fields))
        bird.established("four", "six")
        bird.learns("four", {GUEST.network: OWN})
        bird.learns("six", {GUEST.network6: OWN6})


def test_bgp_20_the_file_has_the_lines_that_others_look_for(network: Dual) -> None:
    told(network, peer(1, NEAR, peer_password=PASSWORD))
    lines = [line.strip() for line in network.router.read("/etc/frr/frr.conf").splitlines()]
    assert f"neighbor {HOP} remote-as 64512" in lines
    assert f"neighbor {HOP} password {PASSWORD}" in lines
    assert f"network {GUEST.network}" in lines
    assert network.router.exec("stat", "-c", "%a %U", "/etc/frr/frr.conf").stdout.split() == ["640", "frr"]


def test_bgp_2_a_wrong_password_is_that_sessions_affair(network: Dual, tmp_path: Path) -> None:
    with (
        Bird(network.hosts["provider"], NEAR, tmp_path, password="wrong") as wrong,
        Bird(network.hosts["second"], SECOND, tmp_path, remote=64513) as right,
    ):
        told(network, peer(1, NEAR, peer_password=PASSWORD), peer(2, SECOND, peer_as_number=64513))
        right.established("four", "six")
        assert wrong.state("four") != "Established"


def test_bgp_6_a_peer_of_one_family_hears_of_no_other(network: Dual, tmp_path: Path) -> None:
    with Bird(network.hosts["provider"], NEAR, tmp_path) as bird:
        told(network, peer(1, (None, HOP6)))
        bird.established("six")
        bird.learns("six", {GUEST.network6: OWN6})
        assert bird.learned("four") == {}
        assert bird.state("four") != "Established"


def test_bgp_5_a_peer_of_our_own_as(network: Dual, tmp_path: Path) -> None:
    with Bird(network.hosts["provider"], NEAR, tmp_path, remote=OUR_AS) as bird:
        told(network, peer(1, NEAR, peer_as_number=OUR_AS))
        bird.established("four", "six")
        bird.learns("four", {GUEST.network: OWN})
        bird.learns("six", {GUEST.network6: OWN6})


def test_bgp_4_a_peer_that_is_two_hops_away_needs_to_be_told_so(network: Dual, tmp_path: Path) -> None:
    far = ("203.0.113.10", "2001:db8:99::10")
    with Bird(network.hosts["client"], far, tmp_path, options="multihop 5;") as bird:
        told(network, peer(1, far))
        with pytest.raises(Exception, match="client"):
            bird.established("four", within=8)
        told(network, peer(1, far, details={"EBGP_MultiHop": "3"}))
        bird.established("four", "six")


def test_bgp_7_another_peer_that_changes_or_goes_disturbs_no_session(network: Dual, tmp_path: Path) -> None:
    """bgp-8: nor does the same drop again, or any other."""
    first, second = peer(1, NEAR), peer(2, SECOND, peer_as_number=64513)
    with (
        Bird(network.hosts["provider"], NEAR, tmp_path) as kept,
        Bird(network.hosts["second"], SECOND, tmp_path, remote=64513) as other,
    ):
        told(network, first, second)
        kept.established("four", "six")
        other.established("four", "six")
        before = [kept.since(name) for name in ("four", "six")]
        time.sleep(1.1)
        told(network, first, {**second, "peer_password": "changed"})
        told(network, first)
        file = network.router.exec("stat", "-c", "%Y %i", "/etc/frr/frr.conf").stdout
        told(network, first)
        for number in range(10):
            network.change("firewall_rules", rules(rule(900 + number, "tcp", (6000, 6000))))
        assert network.router.exec("stat", "-c", "%Y %i", "/etc/frr/frr.conf").stdout == file
        assert other.state("four") != "Established"
        assert [kept.since(name) for name in ("four", "six")] == before
        assert kept.learned("four") == {GUEST.network: OWN}


def test_bgp_12_what_a_peer_says_of_our_networks_changes_no_way(network: Dual, tmp_path: Path) -> None:
    """A foreign one is in the main table, survives a converge, goes with the session, and nobody else hears of it."""
    lies = (GUEST.network, "10.1.1.8/29", "169.254.0.0/16", "0.0.0.0/0", "2001:db8:a:1:8000::/65", "::/0")
    truth = ("198.18.0.0/15", "2001:db8:77::/48")
    before = network.router.exec("sh", "-c", "ip route; ip -6 route").stdout
    with (
        Bird(network.hosts["provider"], NEAR, tmp_path, told=(*lies, *truth)) as liar,
        Bird(network.hosts["second"], SECOND, tmp_path, remote=64513) as other,
    ):
        told(network, peer(1, NEAR), peer(2, SECOND, peer_as_number=64513))
        liar.established("four", "six")
        other.established("four", "six")
        time.sleep(2)
        states.repaired(network.router)
        learned = network.router.exec("sh", "-c", "ip route; ip -6 route").stdout
        new = sorted(line.split()[0] for line in learned.splitlines() if line not in before.splitlines())
        assert new == sorted(truth)
        assert (other.learned("four"), other.learned("six")) == ({GUEST.network: OWN}, {GUEST.network6: OWN6})
    time.sleep(2)
    assert network.router.exec("sh", "-c", "ip route; ip -6 route").stdout == before


def test_bgp_14_nobody_else_may_speak(network: Dual) -> None:
    told(network, peer(1, NEAR))
    questions = [
        ("second", tcp(OWN, 179)),
        ("client", tcp(OWN, 179)),
        ("vm1", tcp(OWN, 179)),
        ("vm1", tcp("10.1.1.1", 179)),
    ]
    questions += [("second", tcp(OWN6, 179)), ("client", tcp(OWN6, 179))]
    found = [result.verdict for result in ask_all([(network.hosts[name], probe) for name, probe in questions])]
    assert found == ["timeout"] * len(questions)
    assert [r.verdict for r in ask_all([(network.hosts["provider"], tcp(OWN, 179))])] != ["timeout"]


def test_bgp_16_a_password_with_a_blank_leaves_that_peer_out(network: Dual, tmp_path: Path) -> None:
    """It is told, and everything else is done; no password is in any log, result or listing."""
    with Bird(network.hosts["second"], SECOND, tmp_path, remote=64513, password=PASSWORD) as bird:
        blank = peer(1, NEAR, peer_password=f"{CANARY} two words")
        answer = network.change(
            "bgp_peers", peers(blank, peer(2, SECOND, peer_as_number=64513, peer_password=PASSWORD))
        )
        assert answer.returncode == 0
        assert f"BGP peer {HOP}: its password has a blank" in answer.stdout + answer.stderr
        assert CANARY not in answer.stdout + answer.stderr
        bird.established("four", "six")
    assert f"neighbor {HOP}" not in network.router.read("/etc/frr/frr.conf")
    places = "/var/log /var/lib/cloudstack/results /run/cloudstack"
    assert network.router.shell(f"grep -rlaF {CANARY} {places}", check=False).stdout == ""
    assert CANARY not in network.router.facts.journal()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"network_as_number": 0}, "network_as_number"),
        ({"peer_as_number": 4294967296}, "peer_as_number"),
        ({"guest_ip4_cidr": "10.1.1.1/24"}, "guest_ip4_cidr"),
        ({"guest_ip6_cidr": "2001:db8:a:1::1/64"}, "guest_ip6_cidr"),
        ({"ip4_address": "192.0.2.1 remote-as 1"}, "ip4_address"),
        ({"ip6_address": "fe80::1"}, "ip6_address"),
        ({"details": {"EBGP_MultiHop": "0"}}, "EBGP_MultiHop"),
        ({"details": {"EBGP_MultiHop": "300"}}, "EBGP_MultiHop"),
        ({"peer_password": "two\nlines"}, "peer_password"),
    ],
)
def test_bgp_17_what_is_malformed_is_refused(network: Dual, fields: dual.Drop, named: str) -> None:
    before = network.router.read("/etc/frr/frr.conf")
    answer = network.change("bgp_peers", peers({**peer(1, NEAR), **fields}), check=False)
    assert answer.returncode != 0
    assert f"{named}: expected" in answer.stdout + answer.stderr
    assert network.router.read("/etc/frr/frr.conf") == before


def test_bgp_17_a_router_has_one_as_number(network: Dual) -> None:
    answer = network.change("bgp_peers", peers(peer(1, NEAR), peer(2, SECOND, network_as_number=65099)), check=False)
    assert answer.returncode != 0
    assert "peers[1].network_as_number: expected" in answer.stdout + answer.stderr


def test_bgp_11_a_reboot_brings_the_sessions_back(network: Dual, tmp_path: Path) -> None:
    with Bird(network.hosts["provider"], NEAR, tmp_path) as bird:
        told(network, peer(1, NEAR))
        bird.established("four", "six")
        network.router.reboot()
        bird.established("four", "six", within=30)
        bird.learns("four", {GUEST.network: OWN})
    assert states.repaired(network.router) == []


def test_bgp_15_a_peer_that_is_opened_to_or_opens_itself(network: Dual, tmp_path: Path) -> None:
    """B13, in both families: `passive` never begins."""
    told(network, peer(1, NEAR))
    with Bird(network.hosts["provider"], NEAR, tmp_path, options="passive on;") as bird:
        bird.established("four", "six")
    network.router.shell(f"vtysh -c 'conf t' -c 'router bgp {OUR_AS}' -c 'neighbor {HOP} passive'")
    with Bird(network.hosts["provider"], NEAR, tmp_path) as bird:
        bird.established("four")
    network.router.shell(f"vtysh -c 'conf t' -c 'router bgp {OUR_AS}' -c 'no neighbor {HOP} passive'")


def test_bgp_10_an_empty_list_ends_it(network: Dual, tmp_path: Path) -> None:
    with Bird(network.hosts["provider"], NEAR, tmp_path) as bird:
        told(network, peer(1, NEAR))
        bird.established("four")
        told(network)
        assert daemon(network) == ""
        assert bird.state("four") != "Established"
    assert "neighbor" not in network.router.read("/etc/frr/frr.conf")
    assert network.router.facts.unit("frr")["ActiveState"] == "inactive"
    known = json.loads(network.router.read("/etc/cloudstack/bgppeers.json"))
    assert [key for key in known if key != "id"] == []
