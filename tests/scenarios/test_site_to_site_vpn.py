# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tunnels of a VPC to peers in the internet: real IKE, real traffic, and what the provider sees of it."""

from __future__ import annotations

import re

import pytest

from tests.lab.probes import ask, icmp_ping, tcp, tcp_scan, udp
from tests.scenarios import tunnels
from tests.scenarios.tunnels import ALICE, SOON, Site, both_ways, connected, spis, wait

PSKS = {
    "blanks": "Psk 42 with spaces ",
    "quote": "Psk\"with\\back$lash'",
    "hexadecimal": "0x12",
    "base64": "0sAAAA",
    "long": "x" * 64,
    "not ascii": "Schlüssel-密码",
}


def test_vpn_1_traffic_passes_both_ways_and_none_in_the_clear(site: Site) -> None:
    """Before the tunnel, while it is up, when the peer is lost, and when the tunnel is gone for good but wanted."""
    web = site.vpc.hosts["web1"]
    site.send(site.alice)
    assert not icmp_ping(web, "10.41.0.5", timeout=0.5)
    assert not connected(site.router, ALICE)
    site.alice.configure()
    wait(lambda: connected(site.router, ALICE), SOON, "the keeper opens the tunnel")
    both_ways(site)
    site.alice.machine.exec("ip", "link", "set", "eth0", "down")
    assert not icmp_ping(web, "10.41.0.5", timeout=0.5)
    site.router.exec("swanctl", "--terminate", "--ike", "s2s-203_0_113_41", "--force", check=False)
    assert not icmp_ping(web, "10.41.0.5", timeout=0.5)
    counts = site.watch.counts()
    site.alice.machine.shell("ip link set eth0 up && ip route add 192.0.2.0/24 via 203.0.113.241")
    assert counts["clear"] == 0, counts
    assert counts["nat_t"] > 10
    wait(lambda: connected(site.router, ALICE), 30, "the tunnel is opened again")


@pytest.mark.parametrize(
    ("version", "split", "children"), [("ikev1", False, 3), ("ikev2", True, 3), ("ikev2", False, 1)]
)
def test_vpn_2_vpn_3_all_networks_are_reached(site: Site, version: str, split: bool, children: int) -> None:
    """Three children for IKEv1 (H1) and for split connections, one with three selectors otherwise."""
    site.bob.configure(version=int(version[-1]), per_child=1 if children == 3 else 3)
    site.send(site.bob, ike_version=version, split_connections=split)
    listed = lambda: site.router.exec("swanctl", "--list-sas").stdout  # noqa: E731
    wait(lambda: listed().count("INSTALLED") == children, SOON, "all children are installed")
    for number in site.bob.numbers:
        both_ways(site, f"10.{number}.0.5", site.bob)


@pytest.mark.parametrize("version", [1, 2])
def test_vpn_4_ike_of_any_version(site: Site, version: int) -> None:
    """Towards a peer of both we use 2; one that speaks 1 only connects by itself."""
    site.alice.configure(version=version, start=version == 1)
    site.send(site.alice, ike_version="ike")
    wait(lambda: connected(site.router, ALICE), SOON, "connected")
    assert f"IKEv{version}" in site.router.exec("swanctl", "--list-sas").stdout


@pytest.mark.parametrize("kind", PSKS)
def test_vpn_5_every_key_authenticates(site: Site, kind: str) -> None:
    """The peer has it in hexadecimal, so that nothing of it can mean anything there."""
    key = PSKS[kind]
    site.alice.configure(psk=f"0x{key.encode().hex()}")
    site.send(site.alice, ipsec_psk=key)
    wait(lambda: connected(site.router, ALICE), SOON, "connected")
    both_ways(site)


def test_vpn_5_a_wrong_key_does_not_authenticate(site: Site) -> None:
    before = _log(site).count("AUTH_FAILED")
    site.alice.configure(psk='"another"')
    site.send(site.alice)
    wait(lambda: _log(site).count("AUTH_FAILED") > before, SOON, "the peer refuses")
    assert not connected(site.router, ALICE)


def _log(site: Site) -> str:
    return str(site.router.exec("journalctl", "-u", "strongswan", "--no-pager").stdout)


def test_vpn_6_the_first_common_proposal_is_taken(site: Site) -> None:
    site.alice.configure(ike="aes256-sha384-modp3072, aes128-sha256-modp2048")
    site.send(site.alice, ike_policy="aes192-sha256;modp2048,aes256-sha384;modp3072,aes128-sha256;modp2048")
    wait(lambda: connected(site.router, ALICE), SOON, "connected")
    assert (
        "AES_CBC-256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/MODP_3072" in site.router.exec("swanctl", "--list-sas").stdout
    )


def test_vpn_6_a_peer_with_other_proposals_is_refused(site: Site) -> None:
    before = _log(site).count("NO_PROPOSAL_CHOSEN")
    site.alice.configure(ike="aes256-sha512-modp4096")
    site.send(site.alice)
    wait(lambda: _log(site).count("NO_PROPOSAL_CHOSEN") > before, SOON, "the peer refuses")
    assert not connected(site.router, ALICE)


def test_vpn_7_a_child_is_rekeyed_with_pfs(site: Site) -> None:
    """IKEv2 makes the first child without an exchange of its own: what was agreed shows at the first rekey."""
    site.open()
    before = spis(site.router)
    site.router.exec("swanctl", "--rekey", "--child", "s2s-203_0_113_41-1")
    wait(lambda: spis(site.router) != before, 30, "rekeyed")
    child = site.router.exec("swanctl", "--list-sas").stdout.partition("s2s-203_0_113_41-1")[2]
    assert "MODP_2048" in child, "with an exchange of its own"
    both_ways(site)


def test_vpn_8_lifetimes_are_those_of_the_drop(site: Site) -> None:
    """What charon has set itself lies within 80 to 100 % of the values, also of odd ones."""
    site.open(ike_lifetime=3599, esp_lifetime=120)
    listed = site.router.exec("swanctl", "--list-sas", "--raw").stdout
    rekeyed = int(re.findall(r"initiator=yes .*?rekey-time=(\d+)", listed)[0])
    child = listed.partition("child-sas")[2]
    renewed, ended = (int(re.findall(rf"{name}=(\d+)", child)[0]) for name in ("rekey-time", "life-time"))
    assert 0.75 * 3599 <= rekeyed <= 3599
    assert 0.75 * 120 <= renewed <= ended <= 120


def test_vpn_9_passive_waits_and_leaks_nothing(site: Site) -> None:
    """Nothing goes to the peer, and nothing of a VM in the clear, until the peer calls."""
    site.send(site.alice, passive=True)
    assert not icmp_ping(site.vpc.hosts["web1"], "10.41.0.5", timeout=0.5)
    assert not ask(site.vpc.hosts["web2"], tcp("10.41.0.5", 22, timeout=0.5))
    with pytest.raises(AssertionError):
        wait(lambda: site.watch.counts()["ike"], 15, "no packet goes to the peer")
    assert set(site.watch.counts().values()) == {0}
    site.alice.configure(start=True)
    wait(lambda: connected(site.router, ALICE), SOON, "the peer has connected")
    both_ways(site)
    assert site.watch.counts()["clear"] == 0


def test_vpn_11_a_peer_that_refuses_and_comes_back(site: Site) -> None:
    site.open()
    site.alice.machine.exec("systemctl", "stop", "strongswan")
    wait(lambda: not connected(site.router, ALICE), 30, "the peer has said goodbye")
    before = _log(site).count("AUTH_FAILED")
    site.alice.configure(psk='"another"')
    wait(lambda: _log(site).count("AUTH_FAILED") > before, SOON, "the peer refuses")
    site.alice.configure()
    wait(lambda: connected(site.router, ALICE), 60, "connected again")


def test_vpn_14_only_the_peer_finds_the_ports_open(site: Site) -> None:
    """From elsewhere nothing answers; the peer's requests are answered by charon."""
    site.open()
    elements = site.router.exec("nft", "list", "set", "inet", "cloudstack", "vpn_peers").stdout
    assert f"{ALICE} . {tunnels.HERE}" in elements
    stranger = site.vpc.hosts["elsewhere"]
    before = _drops(site)
    for port in (500, 4500):
        assert not ask(stranger, udp(tunnels.HERE, port, timeout=0.3))
    assert tcp_scan(stranger, tunnels.HERE, [500, 4500])["timeout"] == 2
    assert _drops(site) == before, "charon has not heard of it"


def _drops(site: Site) -> int:
    """Return how many packets charon was sent."""
    return _log(site).count("received packet: from 203.0.113.200")
