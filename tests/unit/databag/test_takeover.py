# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DatabagError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import parse_bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.text import dump_bag
from tests.unit.databag.support import ACL_RULE, ADDRESS, BODIES, ENTRY, FIREWALL_RULE, MAC, TIER, drop, merged

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(bag=st.dictionaries(st.text(), VALUES, max_size=5))
def test_dump_bag_writes_what_the_original_writes(bag: dict[str, Any]) -> None:
    assert dump_bag(bag) == json.dumps(bag, indent=2, sort_keys=True).encode()


def taken(name: str, bag: dict[str, Any]) -> dict[str, Any]:
    return parse_bag(name, f"/etc/cloudstack/{name}.json", json.dumps(bag).encode())


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_parse_bag_reads_what_dump_bag_wrote(kind: str) -> None:
    bags = merged(drop("cmdline"), drop(kind))
    for name, bag in bags.items():
        data = dump_bag(bag)
        assert parse_bag(name, name, data) == bag
        assert dump_bag(parse_bag(name, name, data)) == data


@pytest.mark.parametrize("name", BAGS)
def test_parse_bag_takes_an_empty_one(name: str) -> None:
    """The original writes `{}` for BGP peers, and bags with nothing but their id."""
    assert taken(name, {}) == {"id": name}
    assert taken(name, {"id": name}) == {"id": name}


def stored(**changes: Any) -> dict[str, Any]:
    """Return an address as the original stores it."""
    made = {"device": "eth2", "broadcast": "192.0.2.255", "cidr": "192.0.2.10/24", "size": "24"}
    return {**ADDRESS, **made, "network": "192.0.2.0/24", "nw_type": "public", "mtu": "1500", **changes}


LEFTOVERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "ips",
        {
            "eth2": [stored(add=False), stored(public_ip="192.0.2.11", cidr="192.0.2.11/24")],
            "eth3": [],
            "eth4": [stored(add=False)],
            "ethNone": [stored(public_ip="192.0.2.9", gateway="None", device="ethNone")],
        },
        {
            "eth2": [stored(public_ip="192.0.2.11", cidr="192.0.2.11/24")],
            "ethNone": [stored(public_ip="192.0.2.9", cidr="192.0.2.9/24", gateway="", device="ethNone")],
        },
    ),
    ("guestnetwork", {"eth2": [], "eth3": [{**TIER, "add": False}], "eth4": [TIER]}, {"eth4": [TIER]}),
    ("firewallrules", {"101": FIREWALL_RULE, "102": {**FIREWALL_RULE, "revoked": True}}, {"101": FIREWALL_RULE}),
    ("forwardingrules", {"192.0.2.10": [], "192.0.2.11": []}, {}),
    ("dhcpentry", {"10.1.1.11": ENTRY, "10.1.1.12": {**ENTRY, "remove": True}}, {"10.1.1.11": ENTRY}),
    ("vmdata", {"10.1.1.11": []}, {}),
    ("vpnuserlist", {"bob": {"user": "bob", "password": "x", "add": False}}, {}),
    ("remoteaccessvpn", {"192.0.2.10": {**BODIES["remoteaccessvpn"], "create": False}}, {}),
    ("site2sitevpn", {"203.0.113.41": {**BODIES["site2sitevpn"], "create": False}}, {}),
    ("staticroutes", {"10.0.0.0/8": {"network": "10.0.0.0/8", "gateway": "10.1.1.1", "revoke": True}}, {}),
    (
        "cmdline",
        {"config": {"type": "router", "redundant_router": "false", "domain": "null", "redundant_state": "BACKUP"}},
        {"config": {"type": "router"}},
    ),
    (
        "cmdline",
        {"config": {"type": "router", "redundant_router": "true"}},
        {"config": {"type": "router", "redundant_router": "true"}},
    ),
    ("networkacl", {"eth2": BODIES["networkacl"]}, {"eth2": BODIES["networkacl"]}),
    ("vmpassword", {"10.1.1.11": "pw"}, {"10.1.1.11": "pw"}),
    ("monitorservice", {"config": "x"}, {"config": "x"}),
]


@pytest.mark.parametrize(("name", "bag", "clean"), LEFTOVERS)
def test_parse_bag_leaves_leftovers_of_the_original_behind(
    name: str, bag: dict[str, Any], clean: dict[str, Any]
) -> None:
    assert taken(name, {"id": name, **bag}) == {"id": name, **clean}


def test_parse_bag_knows_an_alias_of_the_original() -> None:
    own = stored(nw_type="guest", gateway="", public_ip="10.1.1.1", cidr="10.1.1.1/24")
    alias = {k: v for k, v in stored(nw_type="guest", public_ip="10.1.0.9").items() if k not in ("gateway", "mtu")}
    found = taken("ips", {"eth0": [alias, own]})["eth0"]
    assert [(record["public_ip"], record.get("alias", False)) for record in found] == [
        ("10.1.1.1", False),
        ("10.1.0.9", True),
    ]


def test_parse_bag_keeps_two_rules_of_one_port_the_newer_one_last() -> None:
    """The original puts the newer one last; either may be revoked yet (apache/cloudstack#8386)."""
    rule = {"type": "forward", "public_ip": "192.0.2.10", "public_ports": "22:22", "internal_ports": "22:22"}
    both = [{**rule, "protocol": "tcp", "internal_ip": f"10.1.1.{n}", "source_cidr_list": ""} for n in (11, 12)]
    found = taken("forwardingrules", {"192.0.2.10": both})["192.0.2.10"]
    assert [record["internal_ip"] for record in found] == ["10.1.1.11", "10.1.1.12"]
    again = taken("forwardingrules", {"192.0.2.10": [*both, both[0]]})["192.0.2.10"]
    assert [record["internal_ip"] for record in again] == ["10.1.1.12", "10.1.1.11"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON (Expecting value, 0 bytes)"),
        (b'{"id":', "not JSON (Expecting value, 6 bytes)"),
        (b"\xff\xfe\xfd", "not JSON (UnicodeDecodeError, 3 bytes)"),
        (b"[" * 100_000, "not JSON (RecursionError, 100000 bytes)"),
        (b"[]", "not a JSON object"),
    ],
)
def test_parse_bag_reports_a_damaged_file(data: bytes, reason: str) -> None:
    """The original replaces it by an empty one."""
    with pytest.raises(DatabagError) as caught:
        parse_bag("ips", "/etc/cloudstack/ips.json", data)
    assert str(caught.value) == f"/etc/cloudstack/ips.json: damaged databag: {reason}"


@pytest.mark.parametrize(
    ("name", "bag", "reason"),
    [
        ("firewallrules", {"7": {**FIREWALL_RULE, "protocol": "tcp; touch x"}}, "7.protocol: expected one of"),
        ("firewallrules", {"7": []}, "7: expected an object, got a list of 0"),
        ("ips", {"eth2": [stored(netmask="255.0.255.0")]}, "eth2[0].netmask: expected a netmask"),
        ("ips", {"lo": []}, "lo: expected a device such as eth2"),
        (
            "networkacl",
            {"eth2": {**BODIES["networkacl"], "ingress_rules": [{**ACL_RULE, "cidr": "x"}]}},
            "eth2.ingress",
        ),
        ("guestnetwork", {"eth2": {}}, "eth2: expected a list, got an object with 0 fields"),
        (
            "forwardingrules",
            {"192.0.2.1": [{"type": "forward", "public_ip": "192.0.2.1", "internal_ip": "10.1.1.1"}]},
            "public_ports: expected a value, as this is a forward, got nothing",
        ),
        ("vmpassword", {"10.1.1.1": "canary\n"}, "10.1.1.1: expected a text without control characters, got a secret"),
        ("vmpassword", {"../x": "canary"}, "../x: expected an IP address"),
        ("vmdata", {"10.1.1.1": [["metadata", "../x", ""]]}, "10.1.1.1[0][1]: expected a file name"),
        ("cmdline", {"config": {"name": "x"}}, "config.type: expected one of"),
    ],
)
def test_parse_bag_checks_what_the_original_never_did(name: str, bag: dict[str, Any], reason: str) -> None:
    """N3, N7: what is stored was not necessarily ever checked."""
    with pytest.raises(DatabagError) as caught:
        taken(name, bag)
    assert reason in str(caught.value)
    assert "canary" not in str(caught.value)


def test_mac_of_the_fixture_is_lower_case() -> None:
    assert MAC.lower() == MAC
