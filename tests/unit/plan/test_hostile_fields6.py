# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every IPv6 field of every drop with values that are no address, or more than one: refused by name, or harmless.

No value may raise anything but the refusal that a drop is answered with, and none may end up in a configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from ipaddress import AddressValueError, IPv6Network
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop, parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    advertising,
    bgp,
    interfaces,
    redundancy,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import IpBatch
from tests.golden.cases import renderer
from tests.unit.model.bags import Record, address, cmdline, ips, nics

CANARY = "dead:beef"
"""What a value has of itself that no configuration may have."""
HOSTILE: tuple[Any, ...] = (
    "",
    " ",
    "::",
    "::/0",
    "::1",
    "ff02::1",
    "fe80::dead:beef",
    "fe80::dead:beef%eth0",
    "::ffff:10.0.0.1",
    "10.1.1.1",
    "2001:db8::dead:beef/129",
    "2001:db8::dead:beef/-1",
    "2001:db8::dead:beef/64",
    "2001:db8::dead:beef/064",
    "2001:db8::dead:beef ",
    "2001:db8::dead:beef;reboot",
    "2001:db8::dead:beef } ; accept {",
    "2001:db8::dead:beef\nrouter bgp 1",
    "2001:db8::dead:beef,ff02::1",
    "2001:db8::dead:beef\x00",
    "२००१:db8::dead:beef",
    "2001:db8:0:0:0:0:0:dead:beef",
    "dead:beef",
    "x" * 100_000,
    0,
    -1,
    True,
    None,
    [],
    {},
    1.5,
)
MAC2 = "02:00:00:00:00:02"
TIER: Record = {
    "type": "guestnetwork",
    "add": True,
    "mac_address": MAC2,
    "device": "eth2",
    "router_guest_ip": "10.2.1.1",
    "router_guest_netmask": "255.255.255.0",
    "router_guest_gateway": "10.2.1.1",
    "cidr": "24",
    "is_vr_guest_gateway": True,
    "network_id": 41,
    "mtu": 1500,
    "router_guest_ip6": "2001:db8:a:1::1",
    "router_guest_ip6_gateway": "2001:db8:a:1::1",
    "router_guest_ip6_cidr": "2001:db8:a:1::/64",
    "cidr6": "64",
    "router_ip6": "2001:db8:f::10",
    "router_ip6_gateway": "2001:db8:f::1",
    "router_ip6_cidr": "2001:db8:f::/64",
    "dns6": "2001:db8:53::1",
}
ACL_RULE: Record = {"type": "tcp", "cidr": "::/0", "allowed": True, "first_port": 22, "last_port": 22}
ACL: Record = {
    "type": "networkacl",
    "device": "eth2",
    "mac_address": MAC2,
    "private_gateway_acl": False,
    "nic_ip": "10.2.1.1",
    "nic_netmask": "24",
    "nic_ip6_cidr": "2001:db8:a:1::/64",
    "ingress_rules": [ACL_RULE],
    "egress_rules": [dict(ACL_RULE)],
}
RULE: Record = {
    "id": 701,
    "protocol": "tcp",
    "src_port_range": [22, 22],
    "revoked": False,
    "already_added": False,
    "source_cidr_list": ["2001:db8:99::/48"],
    "dest_cidr_list": ["2001:db8:a:1::11/128"],
    "purpose": "Ipv6Firewall",
    "traffic_type": "Ingress",
    "default_egress_policy": True,
    "guest_ip6_cidr": "2001:db8:a:1::/64",
}
PEER: Record = {
    "peer_id": 1,
    "network_id": 41,
    "peer_as_number": 64512,
    "network_as_number": 65010,
    "ip6_address": "2001:db8:f::2",
    "guest_ip4_cidr": "10.1.1.0/24",
    "guest_ip6_cidr": "2001:db8:a:1::/64",
    "details": {},
}
ENTRY: Record = {
    "type": "dhcpentry",
    "host_name": "vm1",
    "mac_address": "02:01:00:00:00:0b",
    "ipv4_address": "10.2.1.11",
    "ipv6_address": "2001:db8:a:1::11",
    "ipv6_duid": "00:03:00:01:02:01:00:00:00:0b",
    "dns_addresses": "10.2.1.1",
    "default_gateway": "10.2.1.1",
    "default_entry": True,
    "lease_time": 0,
    "remove": False,
}
FIELDS: tuple[tuple[str, Record, tuple[str | int, ...]], ...] = (
    *(("guest_network", TIER, (name,)) for name in TIER if "6" in name),
    ("network_acl", ACL, ("nic_ip6_cidr",)),
    ("network_acl", ACL, ("ingress_rules", 0, "cidr")),
    ("network_acl", ACL, ("egress_rules", 0, "cidr")),
    *(
        ("ipv6_firewall_rules", {"type": "ipv6firewallrules", "rules": [RULE]}, ("rules", 0, *path))
        for path in (("source_cidr_list", 0), ("dest_cidr_list", 0), ("guest_ip6_cidr",), ("icmp_type",))
    ),
    *(
        ("bgp_peers", {"type": "bgppeers", "peers": [PEER]}, ("peers", 0, name))
        for name in ("ip6_address", "guest_ip6_cidr")
    ),
    ("vm_dhcp_entry", ENTRY, ("ipv6_address",)),
    ("vm_dhcp_entry", ENTRY, ("ipv6_duid",)),
)
ARGUMENTS = {"eth0ip6": "2001:db8:a:1::1", "eth0ip6prelen": "64", "eth2ip6": "2001:db8:f::10", "eth2ip6prelen": "64"}
ARGUMENTS |= {"ip6gateway": "2001:db8:f::1", "ip6dns1": "2001:db8:53::1", "ip6dns2": "2001:db8:53::2"}
ARGUMENTS |= {"guestgw6": "2001:db8:a:1::1", "guestcidr6size": "64"}
NICS = nics(eth0="00", eth1="01", eth2="02")
PUBLIC = address("192.0.2.10", source_nat=True, gateway="192.0.2.1")
OUTER = ips(eth0=[address("169.254.1.1", "control")], eth1=[PUBLIC], eth2=[address("10.2.1.1", "guest")])


def parsed(name: str, data: bytes) -> tuple[Drop | None, str]:
    """Return a drop, or why it is refused."""
    try:
        return parse_drop(name, data), ""
    except DropError as error:
        return None, str(error)


def with_value(body: Record, path: tuple[str | int, ...], value: Any) -> Record:
    """Return the drop with another value in one place."""
    found = deepcopy(body)
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return found


def texts(bags: Record, seen: list[Router]) -> Iterator[str]:
    """Return all that the router of these databags is told; nothing of one that was seen, as many values are one."""
    router = build(bags, NICS)
    if router in seen:
        return
    seen.append(router)
    for wanted in (advertising.wanted(router, renderer()), bgp.wanted(router, renderer())):
        yield from (file.content for file in wanted.files)
    yield from (file.content for file in tables.wanted(router, renderer())[1].files)
    for step in interfaces.compare(router, interfaces.Network()):
        yield "\n".join(step.lines) if isinstance(step, IpBatch) else ""
    yield from (file.content for wanted in redundancy.wanted(router, renderer()) for file in wanted.files)


def legal(value: Any) -> bool:
    """Tell whether a value with the canary is a network or an address of it, and so may be used."""
    try:
        return isinstance(value, str) and IPv6Network(value, strict=False).is_global is not None
    except (AddressValueError, ValueError):
        return False


@pytest.mark.parametrize(
    ("name", "body", "path"), FIELDS, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else ""
)
def test_a_field_of_a_drop_is_refused_by_name_or_harmless(name: str, body: Record, path: tuple[str | int, ...]) -> None:
    refused = 0
    seen: list[Router] = []
    for value in HOSTILE:
        data = json.dumps(with_value(body, path, value)).encode()
        drop, said = parsed(f"{name}.json.1", data)
        if drop is None:
            assert str(path[0]) in said, (value, said[:200])
            assert len(said) < 1000
            refused += 1
            continue
        bags = {"cmdline": cmdline(type="vpcrouter", source_nat_ip="192.0.2.10", vpccidr="10.2.0.0/16"), "ips": OUTER}
        tier = parse_drop("guest_network.json.0", json.dumps(TIER).encode())
        bags |= merge(bags, tier)
        bags |= merge(bags, drop)
        for text in texts(bags, seen):
            assert legal(value) or CANARY not in text, (value, text)
    assert refused > 5


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_boot_argument_that_is_nothing_breaks_nothing(name: str) -> None:
    """There is nobody to refuse it to: the rest of the router works, and is told without it."""
    seen: list[Router] = []
    for value in HOSTILE:
        if isinstance(value, str):
            arguments = {**ARGUMENTS, name: value, "gateway": "192.0.2.1", "redundant_router": "1"}
            arguments |= {"guestgw": "10.1.1.1", "guestcidrsize": "24", "guestbrd": "10.1.1.255"}
            bags = {"cmdline": cmdline(**arguments)}
            bags["ips"] = ips(eth0=[address("10.1.1.81", "guest")], eth2=[PUBLIC])
            for text in texts(bags, seen):
                assert legal(value) or CANARY not in text, (value, text)
