# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.drop_types import DROP_TYPES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import MAX_DROP_BYTES, parse_drop
from tests.unit.databag.support import ADDRESS, BODIES, FIREWALL_RULE, encode


def refused(data: bytes, name: str = "x.json") -> DropError:
    with pytest.raises(DropError) as caught:
        parse_drop(name, data)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400
    return caught.value


def test_every_type_has_a_schema_and_a_fixture() -> None:
    assert set(BODIES) == set(DROP_TYPES)
    assert len(DROP_TYPES) == 20


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_parse_drop_accepts_every_type_whatever_the_name(kind: str) -> None:
    """A2: the name tells nothing."""
    for name in ("x.json", "vm_dhcp_entry.json.5a0c", "anything"):
        found = parse_drop(name, encode(kind, BODIES[kind]))
        assert (found.name, found.type) == (name, kind)


@pytest.mark.parametrize("body", [{"cmd_line": {"x" * 65536: 5}}, {"cmd_line": {"name\n" * 9999: [1]}}])
def test_a_long_name_does_not_hide_what_was_expected(body: dict[str, Any]) -> None:
    assert "…: expected a " in str(refused(encode("cmdline", body)))


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_parse_drop_tolerates_unknown_fields(kind: str) -> None:
    body = parse_drop("x", encode(kind, {**BODIES[kind], "sent_by_a_newer_server": [1, {"a": None}]})).body
    assert body["sent_by_a_newer_server"] == [1, {"a": None}]


@pytest.mark.parametrize("kind", sorted(set(BODIES) - {"loadbalancer", "monitorservice"}))
def test_parse_drop_refuses_a_drop_without_its_fields(kind: str) -> None:
    error = refused(encode(kind, {}))
    assert error.got == "nothing"


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "an empty file"),
        (b" \n\t ", "4 blank bytes"),
        (b"junk", "4 bytes that do not start with {"),
        (b"[1]", "3 bytes that do not start with {"),
        (b'"text"', "6 bytes that do not start with {"),
        (b'{"type":"ips"', "Expecting ',' delimiter at offset 13 of 13"),
        (b'{"type":"ips"}}', "Extra data at offset 14 of 15"),
        (b'{"type":"ips\xff"}', "another byte at offset 12"),
        (b'{"type":NaN}', "NaN, which is no JSON number"),
        (b'{"type":-Infinity}', "-Infinity, which is no JSON number"),
        (b'{"type":1e999}', "a number that is too large"),
        (b'{"a":' * 100_000, "lists or objects nested too deep"),
        (b'{"type":"a\nb"}', "Invalid control character at at offset 10 of 14"),
    ],
)
def test_parse_drop_refuses_what_is_no_object(data: bytes, got: str) -> None:
    assert refused(data).got == got


def test_parse_drop_refuses_a_huge_number() -> None:
    assert refused(b'{"type":' + b"9" * 10_000 + b"}").expected == "JSON"


@pytest.mark.parametrize("data", [b"{}", b'{"type":7}', b'{"type":"iptables"}', b'{"type":null}'])
def test_parse_drop_refuses_an_unknown_type(data: bytes) -> None:
    error = refused(data)
    assert (error.path, error.expected) == ("type", "a known type of drop")


def test_parse_drop_refuses_a_field_twice() -> None:
    """What a second reader would make of it is anybody's guess."""
    error = refused(b'{"type":"vmpassword","ip_address":"10.1.1.1","ip_address":"10.1.1.2","password":"x"}')
    assert (error.expected, error.got) == ("every field once", '"ip_address"')


def test_parse_drop_takes_the_last_of_repeated_boot_arguments() -> None:
    data = b'{"type":"cmdline","cmd_line":{"type":"router","advert_int":"1","advert_int":"2"}}'
    assert parse_drop("cmd_line.json", data).body["cmd_line"]["advert_int"] == "2"


@pytest.mark.parametrize("first", [b"\0", b"{", b'{"a":', b"A"])
def test_parse_drop_refuses_50_mb_of_junk_at_once(first: bytes) -> None:
    junk = first + b"\0" * (50 * 1024 * 1024)
    start = time.process_time()
    error = refused(junk)
    assert time.process_time() - start < 1
    assert error.got == f"{len(junk)} bytes"


@pytest.mark.parametrize("junk", [b"\0", b"{", b" ", b'{"a":"', b"\xff"])
def test_parse_drop_refuses_the_largest_junk_in_bounded_memory(junk: bytes) -> None:
    data = junk.ljust(MAX_DROP_BYTES, junk[-1:])
    tracemalloc.start()
    refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MAX_DROP_BYTES


def rule_with(**changes: Any) -> bytes:
    return encode("firewallrules", {"rules": [FIREWALL_RULE, {**FIREWALL_RULE, **changes}]})


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def test_parse_drop_names_the_place() -> None:
    error = refused(rule_with(src_port_range=[22, 70000]), "firewall_rules.json.5f2e")
    assert str(error) == (
        "firewall_rules.json.5f2e: rules[1].src_port_range[1]: expected a port from 0 to 65535, got 70000"
    )


def test_parse_drop_refuses_a_rule_without_protocol() -> None:
    """N7: the original merges it, and every later drop fails."""
    error = refused(encode("firewallrules", {"rules": [without(FIREWALL_RULE, "protocol")]}))
    assert (error.path, error.got) == ("rules[0].protocol", "nothing")


def test_parse_drop_refuses_a_shell_command_as_protocol() -> None:
    """N3: the original runs it as root."""
    assert refused(rule_with(protocol="tcp; touch x")).path == "rules[1].protocol"


def test_parse_drop_refuses_a_prefix_length_with_a_leading_zero() -> None:
    """B15."""
    assert refused(rule_with(source_cidr_list=["10.0.0.0/8", "0.0.0.0/02"])).path == "rules[1].source_cidr_list[1]"


@pytest.mark.parametrize("word", ["None", "null", "ERROR", ""])
def test_parse_drop_takes_words_for_nothing_as_absence(word: str) -> None:
    """A5, F17: an optional field that holds one is not there."""
    body = parse_drop("x", encode("ips", {"ip_address": [{**ADDRESS, "gateway": word, "mtu": word}]})).body
    assert "gateway" not in body["ip_address"][0]
    assert "mtu" not in body["ip_address"][0]


@pytest.mark.parametrize("word", ["None", "null", "ERROR", ""])
def test_parse_drop_keeps_such_words_where_they_are_content(word: str) -> None:
    assert parse_drop("x", encode("vmpassword", {"ip_address": "10.1.1.1", "password": word})).body["password"] == word
    items = [["metadata", "cloud-name", word]]
    body = parse_drop("x", encode("vmdata", {"vm_ip_address": "10.1.1.1", "vm_metadata": items})).body
    assert body["vm_metadata"] == items


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("vmpassword", {"ip_address": "10.1.1.1", "password": "canary\n"}),
        ("vpnuserlist", {"vpn_users": [{"user": "a", "add": True, "password": "canary\t"}]}),
        ("remoteaccessvpn", {**BODIES["remoteaccessvpn"], "preshared_key": "canary\r"}),
        ("site2sitevpn", {**BODIES["site2sitevpn"], "ipsec_psk": "canary\0"}),
        ("bgppeers", {"peers": [{**BODIES["bgppeers"]["peers"][0], "peer_password": "canary\n"}]}),
        ("cmdline", {"cmd_line": {"type": "router", "vmpassword": "canary\n"}}),
        ("cmdline", {"cmd_line": {"type": "router", "authorized_key": "canary canary"}}),
        ("vmdata", {"vm_ip_address": "10.1.1.1", "vm_metadata": [["userdata", "user-data", "canary!"]]}),
        ("vmdata", {"vm_ip_address": "10.1.1.1", "vm_metadata": [["metadata", "x", "canary\ud800"]]}),
        ("loadbalancer", {"rules": [{**BODIES["loadbalancer"]["rules"][0], "configuration": ["canary\0"]}]}),
        (
            "loadbalancer",
            {
                "rules": [
                    {
                        **BODIES["loadbalancer"]["rules"][0],
                        "ssl_certs": [{"name": "a", "cert": "canary", "key": "canary\0"}],
                    }
                ]
            },
        ),
    ],
)
def test_parse_drop_shows_no_secret(kind: str, body: dict[str, Any]) -> None:
    """M2: not even of a secret that is refused."""
    error = refused(encode(kind, body))
    assert "canary" not in str(error)
    assert error.got.startswith("a secret value of ")


def test_parse_drop_of_10_000_rules_is_quick() -> None:
    """A bound far off: figures are the bench's."""
    data = encode("firewallrules", {"rules": [{**FIREWALL_RULE, "id": number} for number in range(10_000)]})
    best = min(_seconds(data) for _attempt in range(3))
    assert best < 1.5


def _seconds(data: bytes) -> float:
    start = time.process_time()
    parse_drop("x", data)
    return time.process_time() - start


def test_parse_drop_leaves_text_as_sent() -> None:
    password = "quo\"te'back\\slash $(id)`id`;|&<> pässwört€"
    data = json.dumps({"type": "vmpassword", "ip_address": "10.1.1.1", "password": password}, ensure_ascii=False)
    assert parse_drop("x", data.encode()).body["password"] == password
