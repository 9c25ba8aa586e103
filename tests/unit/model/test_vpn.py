# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Tunnel
from tests.unit.model import bags


def record(peer: str = "203.0.113.41", **fields: Any) -> bags.Record:
    """Return a record of `site2sitevpn`."""
    return {
        "create": True,
        "peer_gateway_ip": peer,
        "local_public_ip": "192.0.2.50",
        "local_guest_cidr": "10.2.0.0/16",
        "peer_guest_cidr_list": "10.41.0.0/16",
        "esp_policy": "aes256-sha256;modp2048",
        "ike_policy": "aes256-sha256;modp2048",
        "ipsec_psk": "secret",
        **fields,
    }


def router(*records: bags.Record, public: str = "192.0.2.50", **arguments: str) -> Router:
    """Return a VPC with one public address, two tiers and these VPN records."""
    found = {
        "cmdline": {"id": "cmdline", "config": {"type": "vpcrouter", "name": "r-2-VM", **arguments}},
        "ips": bags.ips(
            eth1=[bags.address(public, vif_mac_address=bags.mac("0b"), source_nat=True)],
            eth2=[bags.address("10.2.2.1", "guest", vif_mac_address=bags.mac("0c"))],
            eth3=[bags.address("10.2.1.1", "guest", vif_mac_address=bags.mac("0d"))],
        ),
        "guestnetwork": {
            "id": "guestnetwork",
            "eth2": [{"mac_address": bags.mac("0c"), "network_id": 42, "add": True}],
            "eth3": [{"mac_address": bags.mac("0d"), "network_id": 41, "add": True}],
        },
        "site2sitevpn": {"id": "site2sitevpn", **{r["peer_gateway_ip"]: r for r in records}},
    }
    return build(found, bags.nics(eth1="0b", eth2="0c", eth3="0d"))


def tunnel(**fields: Any) -> Tunnel:
    """Return the tunnel of one record."""
    (found,) = router(record(**fields)).vpn.tunnels
    return found


def networks(*cidrs: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, cidrs))


def test_every_field_of_the_drop_is_read() -> None:
    found = tunnel(
        peer_guest_cidr_list="10.41.0.0/16, 10.42.1.7/24 ,,",
        ike_lifetime=59,
        esp_lifetime=3599,
        ike_version="IKEv1",
        dpd=True,
        passive=True,
        encap=True,
        split_connections=True,
    )
    assert found == Tunnel(
        peer="203.0.113.41",
        address=IPv4Address("203.0.113.41"),
        local_id=IPv4Address("192.0.2.50"),
        local_address=IPv4Address("192.0.2.50"),
        device="eth1",
        local_networks=networks("10.2.0.0/16"),
        remote_networks=networks("10.41.0.0/16", "10.42.1.0/24"),
        psk="secret",
        ike_proposals=("aes256-sha256-modp2048",),
        esp_proposals=("aes256-sha256-modp2048",),
        ike_lifetime=59,
        esp_lifetime=3599,
        version=1,
        dpd=True,
        encap=True,
        passive=True,
        split=True,
    )


def test_older_bags_lack_fields() -> None:
    found = tunnel()
    assert (found.version, found.dpd, found.passive, found.encap, found.split) == (0, False, False, False, False)
    assert (found.ike_lifetime, found.esp_lifetime) == (86400, 3600)


@pytest.mark.parametrize(("word", "version"), [("ike", 0), ("ikev1", 1), ("IKEv2", 2), ("IKE", 0)])
def test_vpn_4_version(word: str, version: int) -> None:
    assert tunnel(ike_version=word).version == version


@pytest.mark.parametrize(
    ("version", "split", "children"),
    [("ikev1", False, 3), ("ike", False, 3), ("ikev2", False, 1), ("ikev2", True, 3)],
)
def test_vpn_2_vpn_3_children(version: str, split: bool, children: int) -> None:
    """A quick mode of IKEv1 carries one network (H1); `ike` may end as IKEv1."""
    given = networks("10.41.0.0/24", "10.42.0.0/24", "10.43.0.0/24")
    found = tunnel(ike_version=version, split_connections=split, peer_guest_cidr_list=",".join(map(str, given)))
    assert len(found.children) == children
    assert [net for _name, nets in found.children for net in nets] == list(given)
    assert [name for name, _nets in found.children] == [f"s2s-203_0_113_41-{n}" for n in range(1, children + 1)]


def test_vpn_6_proposals_keep_their_order() -> None:
    found = tunnel(
        ike_policy="aes256-sha384;modp3072, aes128-sha1,3des-md5;modp1024",
        esp_policy="aes256-sha384;modp3072,aes128-sha1",
    )
    old = "aes128-sha1-modp2048-modp1536-modp1024"
    assert found.ike_proposals == ("aes256-sha384-modp3072", old, "3des-md5-modp1024")
    assert found.esp_proposals == ("aes256-sha384-modp3072", "aes128-sha1"), "no group is no PFS"


def test_vpn_24_a_tunnel_without_its_address_waits() -> None:
    found = router(record(local_public_ip="192.0.2.99"), record("203.0.113.42", peer_guest_cidr_list="10.42.0.0/24"))
    assert [t.peer for t in found.vpn.tunnels] == ["203.0.113.42"]
    assert "site-to-site VPN to 203.0.113.41: 192.0.2.99: no such address yet" in found.pending


def test_a_vpc_without_public_network_answers_on_its_lowest_tier() -> None:
    """The device upstream translates; the identity stays the public address."""
    (found,) = router(record(local_public_ip="192.0.2.99"), has_public_network="false").vpn.tunnels
    assert (found.device, str(found.local_address), str(found.local_id)) == ("eth3", "10.2.1.1", "192.0.2.99")


def test_vpn_22_a_name_is_a_peer() -> None:
    (found,) = router(record("vpn.example.com")).vpn.tunnels
    assert found.address is None
    assert found.name == "s2s-vpn_example_com"


def test_what_has_no_ipv4_is_told() -> None:
    found = router(record("2001:db8::1"), record(peer_guest_cidr_list="2001:db8:1::/48"))
    assert found.vpn.tunnels == ()
    assert "site-to-site VPN to 2001:db8::1: it has an IPv6 address, no tunnel is made" in found.warnings
    assert "site-to-site VPN to 203.0.113.41: it has no IPv4 networks, no tunnel is made" in found.warnings


def test_names_of_long_peers_fit_into_a_file_name_and_differ() -> None:
    long = ".".join(["a" * 60] * 4)
    names = {tunnel(peer=f"{long}.{last}").name for last in ("de", "fr")}
    assert len(names) == 2
    assert all(len(name) < 100 for name in names)


def test_vpn_35_the_key_is_in_no_representation() -> None:
    assert "c4nary" not in repr(router(record(ipsec_psk="c4nary")))
