# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, StaticRoute
from tests.unit.model.bags import address, cmdline, egress, firewall, ingress, ips, nics

NICS = nics(eth0="00", eth1="01", eth2="02", eth4="04", eth5="05")
BAGS: dict[str, Any] = {
    "cmdline": cmdline(type="vpcrouter"),
    "ips": ips(
        eth0=[address("169.254.4.1", "control")],
        eth1=[address("192.0.2.50", source_nat=True, gateway="192.0.2.1")],
        eth2=[address("10.2.1.1", "guest")],
        eth4=[address("172.20.0.2", is_private_gateway=True)],
    ),
}


def routes(**given: str) -> dict[str, Any]:
    """Return the databag of static routes, network to gateway."""
    records = {
        n.replace("_", "/"): {"network": n.replace("_", "/"), "gateway": g, "revoke": False} for n, g in given.items()
    }
    return {"staticroutes": {"id": "staticroutes", **records}}


def test_build_places_static_routes_by_their_gateway() -> None:
    router = build({**BAGS, **routes(**{"10.50.0.0_16": "172.20.0.1", "10.60.0.0_16": "10.2.1.99"})}, NICS)
    assert router.routes == (
        StaticRoute(IPv4Network("10.50.0.0/16"), IPv4Address("172.20.0.1"), "eth4"),
        StaticRoute(IPv4Network("10.60.0.0/16"), IPv4Address("10.2.1.99"), "eth2"),
    )
    assert not router.warnings


@pytest.mark.parametrize(
    ("network", "gateway", "words"),
    [
        ("10.50.0.0/16", "172.21.0.1", "gateway 172.21.0.1 is in no connected network"),
        ("10.50.0.0/16", "169.254.0.9", "is in no connected network"),
        ("2001:db8::/32", "2001:db8::1", "is in no connected network"),
        ("172.20.0.0/24", "172.20.0.1", "has a route to this network of its own"),
        ("0.0.0.0/0", "172.20.0.1", "has a route to this network of its own"),
    ],
)
def test_build_reports_a_bad_static_route_alone(network: str, gateway: str, words: str) -> None:
    """The others are set (E5, E8); the control network is no next hop."""
    router = build({**BAGS, **routes(**{"10.50.1.0_24": "172.20.0.1", network.replace("/", "_"): gateway})}, NICS)
    assert [str(route.network) for route in router.routes] == ["10.50.1.0/24"]
    assert len(router.warnings) == 1
    assert words in router.warnings[0]
    assert f"static route {network}" in router.warnings[0]


def test_build_leaves_out_revoked_static_routes() -> None:
    bag = routes(**{"10.50.0.0_16": "172.20.0.1"})
    bag["staticroutes"]["10.50.0.0/16"]["revoke"] = True
    router = build({**BAGS, **bag}, NICS)
    assert (router.routes, router.warnings) == ((), ())


def test_build_serves_vms_on_the_device_of_their_network() -> None:
    """A VM outside every guest network has no device (F16)."""
    entries = {
        "10.2.1.11": {
            "mac_address": "02:01:00:00:00:AA",
            "ipv4_address": "10.2.1.11",
            "host_name": "vm1",
            "default_entry": False,
        },
        "10.9.9.9": {"mac_address": "02:01:00:00:00:bb", "ipv4_address": "10.9.9.9", "host_name": "vm2"},
        "2001:db8::9": {"mac_address": "02:01:00:00:00:cc", "ipv6_address": "2001:db8::9"},
    }
    router = build({**BAGS, "dhcpentry": {"id": "dhcpentry", **entries}}, NICS)
    assert [(h.mac, h.name, h.device, h.lease_time, h.default_nic) for h in router.hosts] == [
        ("02:01:00:00:00:aa", "vm1", "eth2", 0, False)
    ]


def test_build_of_nothing_is_a_router_without_devices() -> None:
    router = build({}, NICS)
    assert (router.devices, router.hosts, router.forwards, router.pending) == ((), (), (), ())
    assert [nic.name for nic in router.nics] == ["eth0", "eth1", "eth2", "eth4", "eth5"]


def test_build_finds_the_primary_public_device_by_source_nat_address_or_gateway() -> None:
    bag = ips(
        eth1=[address("198.51.100.9", source_nat=True, gateway="198.51.100.1")],
        eth2=[address("192.0.2.50", source_nat=True, gateway="192.0.2.1")],
    )
    for arguments in ({"source_nat_ip": "192.0.2.50"}, {"gateway": "192.0.2.1"}):
        primary = build({"ips": bag, "cmdline": cmdline(**arguments)}, NICS).primary_public
        assert primary is not None
        assert (primary.name, primary.role) == ("eth2", Role.PUBLIC)


def test_build_tells_what_waits_for_its_address() -> None:
    """The server sends addresses first in every flow that was read; what comes earlier is kept and told."""
    nat = {"type": "staticnat", "public_ip": "192.0.2.8", "internal_ip": "10.2.1.11"}
    bags: dict[str, Any] = {
        **BAGS,
        "forwardingrules": {
            "id": "forwardingrules",
            "192.0.2.8": [nat, {**nat, "type": "forward", "protocol": "tcp", "public_ports": "1:1"}],
            "192.0.2.50": [{**nat, "public_ip": "192.0.2.50"}],
        },
        "firewallrules": firewall(ingress("192.0.2.8"), ingress("192.0.2.50"), ingress("198.51.100.7"), egress(True)),
        "loadbalancer": {
            "id": "loadbalancer",
            "config": [{"configuration": [], "add_rules": ["192.0.2.50:80:", "192.0.2.9:80:"], "stat_rules": [""]}],
        },
    }
    assert build(bags, NICS).pending == (
        "192.0.2.8: port forwarding, static NAT, firewall rules: no such address yet",
        "192.0.2.9: load balancer on port 80: no such address yet",
        "198.51.100.7: firewall rules: no such address yet",
    )
    unplugged = ips(eth9=[address(f"192.0.2.{n}", vif_mac_address="02:00:00:00:00:99") for n in (8, 9, 50)])
    told = build({**bags, "ips": unplugged}, NICS).pending
    assert [line for line in told if "no such address" in line] == [
        "198.51.100.7: firewall rules: no such address yet"
    ], "of an address whose NIC is not there the address is told"


def test_build_takes_the_source_nat_address_of_the_arguments_before_that_of_a_drop() -> None:
    """Drops call the first address of every VLAN that; a VPC that gets another is started again, with new arguments."""
    bag = ips(
        eth1=[address("192.0.2.50", gateway="192.0.2.1")],
        eth2=[address("198.51.100.9", source_nat=True, gateway="198.51.100.1")],
    )
    arguments = cmdline(type="vpcrouter", source_nat_ip="192.0.2.50")
    named = build({"ips": bag, "cmdline": arguments}, NICS).primary_public
    assert named is not None
    assert named.name == "eth1"
    gone = build({"ips": ips(eth2=bag["eth2"]), "cmdline": arguments}, NICS).primary_public
    assert gone is not None
    assert gone.name == "eth2", "while the one of the arguments is not there"
