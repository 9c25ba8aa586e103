# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import (
    cmdline,
    load_balancer,
    nat,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Kind,
    MismatchError,
)
from tests.unit.databag.support import ACL_RULE, BODIES, ENTRY, FORWARD, PEER, ROUTE, SITE_TO_SITE, drop, encode

CASES: list[tuple[Kind, list[Any], list[Any]]] = [
    (k.boolean, [True, False], [0, 1, "true", None]),
    (k.integer(0, 10), [0, 10], [-1, 11, 1.0, True, "1", None]),
    (k.number(0, 10), [0, 10, "0", "10"], [-1, 11, "11", "01", "+1", " 1", "1 ", "\u0661", True, 1.0, ""]),
    (k.word_of("tcp", "udp"), ["tcp", "udp", "TCP"], ["icmp", "tcp; touch x", "", 6, ["tcp"], {}]),
    (k.one_of("Ingress"), ["Ingress"], ["ingress", "", None, [], {}]),
    (
        k.ipv4,
        ["0.0.0.0", "10.1.1.1", "255.255.255.255"],
        ["10.1.1", "10.1.1.256", "10.1.1.01", "10.1.1.1 ", "10.1.1.1\n", "::1", "", 7, "10.1.1.1/32", "\u0661.1.1.1"],
    ),
    (k.ipv6, ["::", "2001:db8::1", "::ffff:1.2.3.4"], ["fe80::1%eth0", "10.1.1.1", "2001:db8::1/64", ":::", "", None]),
    (k.ip, ["10.1.1.1", "::1"], ["::1%lo", "vm", "", 1]),
    (
        k.cidr4,
        ["0.0.0.0/0", "10.1.1.1/24", "203.0.113.7/32"],
        ["0.0.0.0/02", "10.0.0.0/33", "10.0.0.0", "10.0.0.0/", "10.0.0.0/255.0.0.0", "::/0", "10.0.0.0/8\n", "a/8", 8],
    ),
    (k.cidr6, ["::/0", "2001:db8::1/64"], ["::/129", "::/064", "0.0.0.0/0", "fe80::%1/64", "::"]),
    (k.cidr, ["::/0", "0.0.0.0/0"], ["0.0.0.0/0,::/0", "", None]),
    (
        k.comma_list(k.cidr),
        ["0.0.0.0/0,::/0", "10.0.0.0/8"],
        ["", ",", "10.0.0.0/8,", "10.0.0.0/8, ::/0", "0.0.0.0/02"],
    ),
    (k.netmask, ["255.255.255.0", "0.0.0.0", "255.255.255.255"], ["255.0.255.0", "24", "255.255.255.1", "", 24]),
    (
        k.mac,
        ["02:00:55:00:00:02", "02:00:55:00:00:AF"],
        ["02:00:55:00:00", "02-00-55-00-00-02", "0g:00:00:00:00:00", ""],
    ),
    (k.device, ["eth0", "eth13"], ["eth", "eth01", "eth-1", "lo", "ethNone", "eth0;", "eth0\n", "eth99999"]),
    (
        k.host_name,
        ["vm-a", "r-101-VM", "1", "a" * 63],
        ["-a", "a-", "a" * 64, "a.b", "a b", "a_b", "a\n", "$(id)", "../a", "vm,set:x", "", "ü", None],
    ),
    (
        k.domain,
        ["cs2cloud.internal", "a", "db.x."],
        ["a..b", ".a", "a b", "a\nserver=/x/", "x" * 64, "a." * 130 + "a", "a,b"],
    ),
    (k.host, ["203.0.113.41", "::1", "vpn.example.test"], ["a b", "::1%eth0", "", 'a"b', None]),
    (k.text, ["", "zz top;rm -rf", "ü€"], ["a\nb", "\t", "\x7f", "\x85", "\u2028", "\ud800", 1, None]),
    (k.some_text, ["x"], ["", "a\nb"]),
    (k.lines, ["a\n\tb\r\n"], ["\0", "\x1b", "\ud800", 1]),
    (k.content, [None, "", "a\0b"], ["\ud800", 1, []]),
    (
        k.port_pair,
        [[0, 0], [22, 22], [1, 65535]],
        [[1], [1, 2, 3], [2, 1], [0, 65536], [-1, 1], ["1", "2"], [True, True], "1:2", None],
    ),
    (k.port_text, ["0:0", "22:22", "1:65535"], ["22", "2:1", "0:65536", "01:2", "1:2:3", "any", "1:2\n", ":", 22]),
    (
        k.safe_name,
        ["user-data", "vm id", "a.b", "ü", "x" * 255],
        ["../x", "a/b", "a\\b", "..", ".", ".htaccess", "a..b", "a\0", "a\n", "x" * 256, "ü" * 128, None, 1],
    ),
    (
        cmdline._KNOWN["authorized_key"],
        ["c3NoLXJzYSBBQUFB", "YWI=", "YWI", "YQpi"],
        ["YWI=YWI=", "Y", "_-8=", "/w==", "AAAA", "a b", "", None],
    ),
    (nat.ports_or_any, ["any", "1:2"], ["all", "", None]),
    (
        load_balancer.listener,
        ["192.0.2.11:80:", "0.0.0.0/0:8081:0/0:,"],
        [
            "10.1.1.5",
            "10.1.1.5:80",
            "10.1.1.5:0:",
            "10.1.1.5:70000:",
            "x:80:",
            ":80:",
            "10.1.1.5:\u0663:",
            "1.1.1.1:80:\n",
            None,
        ],
    ),
    (load_balancer.statistics, ["", "10.1.1.1:8081:0/0:,"], ["10.1.1.1", None]),
    (
        vpn.POLICY,
        ["3des-md5", "aes128-sha1;modp1536,aes256-sha256"],
        ["", "aes;", "a b", "aes-sha1!\n", "aes;x;y", None],
    ),
    (vpn.USER, ["alice", "a@b.c+d-e_f"], ["", "a b", 'a"b', "a*", "a#b", "a\n", None]),
    (
        vpn.address_range,
        ["10.1.2.2-10.1.2.8"],
        ["10.1.2.8-10.1.2.2", "10.1.2.2", "a-b", "10.1.2.2-10.1.2.8-", None, 7],
    ),
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, good, _bad in CASES for value in good])
def test_kinds_accept(kind: Kind, value: Any) -> None:
    kind(value)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, _good, bad in CASES for value in bad])
def test_kinds_refuse(kind: Kind, value: Any) -> None:
    with pytest.raises(MismatchError):
        kind(value)


# What a name, number or address may consist of, once it was accepted. None of it means anything to a parser of
# nft, dnsmasq, haproxy or systemd files beyond what these characters mean in every address.
HARMLESS = set(string.ascii_letters + string.digits + ".:/,-;")


@pytest.mark.parametrize(
    "kind",
    [
        k.ip,
        k.cidr,
        k.comma_list(k.cidr),
        k.mac,
        k.device,
        k.host_name,
        k.domain,
        k.host,
        k.port_text,
        k.netmask,
        k.number(0, 9999),
        k.word_of("tcp", "udp"),
        vpn.POLICY,
        vpn.address_range,
    ],
)
@given(value=st.text(alphabet=[*HARMLESS, *"\n\r\t\0 \"'\\{}#$`|&<>()[]*?%_=@+!~^\u2028\u0660\ud800"], max_size=12))
def test_kinds_let_nothing_break_out(kind: Kind, value: str) -> None:
    """N3: whatever passes holds harmless characters only."""
    try:
        kept = kind(value)
    except MismatchError:
        return
    assert set(str(kept)) <= HARMLESS


@given(value=st.text(max_size=20))
def test_text_holds_no_line_end(value: str) -> None:
    try:
        k.text(value)
    except MismatchError:
        return
    assert len(value.splitlines()) <= 1
    assert "\0" not in value


# Type, changed fields, path of the error: one row per rule of a schema.
WITH_PORT_LIST = {"type": "tcp", "cidr": "0.0.0.0/0", "allowed": True, "ports": ["22", "80:81"]}
"""B20: not all ports of TCP, as it would be if the unknown field were left alone."""

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("ips", {"ip_address": {}}, "ip_address"),
    ("ips", {"ip_address": [7]}, "ip_address[0]"),
    (
        "ips",
        {"ip_address": [{"public_ip": "192.0.2.1", "add": True, "netmask": "255.255.255.0"}]},
        "ip_address[0].vif_mac_address",
    ),
    ("guestnetwork", {"device": "ethNone"}, "device"),
    ("guestnetwork", {"dns": "203.0.113.53,x"}, "dns"),
    ("guestnetwork", {"domain_name": "a\nserver=1.2.3.4"}, "domain_name"),
    ("guestnetwork", {"mtu": 67}, "mtu"),
    ("networkacl", {"ingress_rules": [{**ACL_RULE, "first_port": 24}]}, "ingress_rules[0].last_port"),
    ("networkacl", {"ingress_rules": [{**ACL_RULE, "first_port": "22,80"}]}, "ingress_rules[0].first_port"),
    ("networkacl", {"ingress_rules": [WITH_PORT_LIST]}, "ingress_rules[0].first_port"),
    ("networkacl", {"ingress_rules": [{**ACL_RULE, "type": "protocol"}]}, "ingress_rules[0].protocol"),
    ("networkacl", {"ingress_rules": [{**ACL_RULE, "cidr": ""}]}, "ingress_rules[0].cidr"),
    (
        "networkacl",
        {"ingress_rules": [{"type": "tcp", "cidr": "::/0", "allowed": True, "last_port": 1}]},
        "ingress_rules[0].first_port",
    ),
    ("networkacl", {"egress_rules": [{**ACL_RULE, "allowed": "ACCEPT"}]}, "egress_rules[0].allowed"),
    ("networkacl", {"egress_rules": [{**ACL_RULE, "icmp_type": 256}]}, "egress_rules[0].icmp_type"),
    ("forwardrules", {"rules": [{**FORWARD, "destination_port_range": "80:80"}]}, "rules[0].destination_port_range"),
    ("forwardrules", {"rules": [{**FORWARD, "destination_port_range": "any"}]}, "rules[0].destination_port_range"),
    ("forwardrules", {"rules": [{**FORWARD, "source_port_range": "any"}]}, "rules[0].destination_port_range"),
    ("forwardrules", {"rules": [{**FORWARD, "protocol": "icmp"}]}, "rules[0].protocol"),
    ("forwardrules", {"rules": [{**FORWARD, "source_cidr_list": "0.0.0.0/02"}]}, "rules[0].source_cidr_list"),
    (
        "staticnatrules",
        {"rules": [{"revoke": False, "source_ip_address": "192.0.2.1"}]},
        "rules[0].destination_ip_address",
    ),
    ("loadbalancer", {"rules": [{}]}, "rules[0].configuration"),
    (
        "loadbalancer",
        {"rules": [{**BODIES["loadbalancer"]["rules"][0], "add_rules": ["a", "b"]}]},
        "rules[0].add_rules[0]",
    ),
    (
        "loadbalancer",
        {"rules": [{**BODIES["loadbalancer"]["rules"][0], "ssl_certs": [{"name": "../x", "cert": "", "key": ""}]}]},
        "rules[0].ssl_certs[0].name",
    ),
    ("dhcpentry", {"ipv4_address": ""}, "ipv4_address"),
    ("dhcpentry", {"host_name": "vm a"}, "host_name"),
    ("dhcpentry", {"lease_time": -1}, "lease_time"),
    ("dhcpentry", {"lease_time": 2**32}, "lease_time"),
    ("dhcpentry", {"lease_time": "3600"}, "lease_time"),
    ("dhcpentry", {"mac_address": "None"}, "mac_address"),
    ("vmdata", {"vm_metadata": [["metadata", "../../etc/passwd", ""]]}, "vm_metadata[0][1]"),
    ("vmdata", {"vm_metadata": [["a/b", "x", ""]]}, "vm_metadata[0][0]"),
    ("vmdata", {"vm_metadata": [["metadata", "x"]]}, "vm_metadata[0]"),
    ("vmdata", {"vm_metadata": [["userdata", "user-data", "{}"]]}, "vm_metadata[0][2]"),
    ("remoteaccessvpn", {"preshared_key": None}, "preshared_key"),
    ("remoteaccessvpn", {"ip_range": "10.1.2.8-10.1.2.2"}, "ip_range"),
    ("site2sitevpn", {"ipsec_psk": None}, "ipsec_psk"),
    ("site2sitevpn", {"ike_version": "ikev3"}, "ike_version"),
    ("site2sitevpn", {"peer_gateway_ip": 'x"\n'}, "peer_gateway_ip"),
    ("site2sitevpn", {"peer_guest_cidr_list": "10.41.0.0/33"}, "peer_guest_cidr_list"),
    ("site2sitevpn", {"peer_guest_cidr_list": " , "}, "peer_guest_cidr_list"),
    ("site2sitevpn", {"ike_policy": "aes128_sha1"}, "ike_policy"),
    ("site2sitevpn", {"ike_lifetime": 0}, "ike_lifetime"),
    ("site2sitevpn", {"esp_lifetime": "an hour"}, "esp_lifetime"),
    ("staticroutes", {"routes": [{**ROUTE, "gateway": "None"}]}, "routes[0].gateway"),
    ("staticroutes", {"routes": [{**ROUTE, "gateway": "2001:db8::1"}]}, "routes[0].gateway"),
    ("bgppeers", {"peers": [{**PEER, "peer_as_number": 2**32}]}, "peers[0].peer_as_number"),
    ("bgppeers", {"peers": [{**PEER, "details": {"EBGP_MultiHop": 3}}]}, "peers[0].details.EBGP_MultiHop"),
    ("monitorservice", {"health_checks_config": {"a": "b\nc"}}, "health_checks_config.a"),
    ("cmdline", {"cmd_line": {"name": "x"}}, "cmd_line.type"),
    ("cmdline", {"cmd_line": {"type": "null"}}, "cmd_line.type"),
    ("cmdline", {"cmd_line": {"type": "consoleproxy"}}, "cmd_line.type"),
    ("cmdline", {"cmd_line": {"type": "router", "eth0ip": "10.1.1.1"}}, "cmd_line.eth0mask"),
    ("cmdline", {"cmd_line": {"type": "router", "a b": "x"}}, "cmd_line.a b"),
    (
        "cmdline",
        {"cmd_line": {"type": "router", "logrotatefrequency": "*:00\nExecStart=x"}},
        "cmd_line.logrotatefrequency",
    ),
    ("cmdline", {"cmd_line": {"type": "router", "nic_macs": "02:00:45:6e:00:01|x"}}, "cmd_line.nic_macs"),
]


@pytest.mark.parametrize(("kind", "changes", "path"), REFUSED)
def test_schema_refuses(kind: str, changes: dict[str, Any], path: str) -> None:
    with pytest.raises(DropError) as caught:
        parse_drop("x", encode(kind, {**BODIES[kind], **changes}))
    assert caught.value.path == path


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("ips", {"ip_address": []}),
    ("networkacl", {"ingress_rules": [], "egress_rules": []}),
    ("networkacl", {"ingress_rules": [{**ACL_RULE, "first_port": 0, "last_port": 0}]}),
    (
        "forwardrules",
        {"rules": [{**FORWARD, "protocol": "any", "source_port_range": "any", "destination_port_range": "any"}]},
    ),
    ("loadbalancer", {"rules": [{**BODIES["loadbalancer"]["rules"][0], "stat_rules": [""]}]}),
    ("dhcpentry", {"ipv4_address": None, "ipv6_address": "2001:db8::13"}),
    ("dhcpentry", {"lease_time": 2**32 - 1}),
    ("dhcpentry", {"lease_time": None, "default_gateway": "null", "host_name": ""}),
    ("vmdata", {"vm_metadata": []}),
    ("vmdata", {"vm_ip_address": "2001:db8::1"}),
    ("remoteaccessvpn", {"create": False, "preshared_key": None, "ip_range": None, "local_ip": None}),
    ("site2sitevpn", {"peer_gateway_ip": "vpn.example.test"}),
    ("site2sitevpn", {**dict.fromkeys(SITE_TO_SITE), "create": False, "peer_gateway_ip": "203.0.113.9"}),
    ("staticroutes", {"routes": [{"revoke": True, "network": "10.0.0.0/8"}]}),
    ("bgppeers", {"peers": [{**PEER, "peer_id": None}]}),
    ("cmdline", {"cmd_line": {"type": "router", "publicMtu": "null", "domain": "null", "redundant_router": ""}}),
    ("cmdline", {"cmd_line": {"type": "vpcrouter", "nic_macs": "02:00:45:6e:00:01|0e:00:a9:fe:03:65|"}}),
]


@pytest.mark.parametrize(("kind", "changes"), ACCEPTED)
def test_schema_accepts(kind: str, changes: dict[str, Any]) -> None:
    drop(kind, **changes)


@pytest.mark.parametrize("number", [0, 1, 6, 17, 41, 47, 112, 255])
def test_acl_takes_every_protocol_number(number: int) -> None:
    rule = {"type": "protocol", "protocol": number, "cidr": "0.0.0.0/0", "allowed": True}
    assert drop("networkacl", ingress_rules=[rule]).body["ingress_rules"][0]["protocol"] == number


def test_words_are_kept_in_lower_case() -> None:
    assert drop("forwardrules", rules=[{**FORWARD, "protocol": "TCP"}]).body["rules"][0]["protocol"] == "tcp"
    assert drop("dhcpentry", mac_address="02:01:00:00:00:AB").body["mac_address"] == "02:01:00:00:00:ab"


def test_routes_lose_their_host_bits() -> None:
    found = drop("staticroutes", routes=[{**ROUTE, "network": "172.21.3.4/16"}]).body["routes"]
    assert found[0]["network"] == "172.21.0.0/16"


def test_every_known_boot_argument_is_checked() -> None:
    """A row per argument would only repeat the table; this keeps one that accepts anything out of it."""
    for name, kind in cmdline._KNOWN.items():
        with pytest.raises(MismatchError):
            kind("a\nb")
        with pytest.raises(MismatchError):
            kind('x" $(id); {')
        assert name.isidentifier()


def test_entry_without_name_has_none() -> None:
    assert "host_name" not in drop("dhcpentry", **{**ENTRY, "host_name": "null"}).body
