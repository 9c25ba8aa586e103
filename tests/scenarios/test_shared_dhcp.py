# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""DHCP and DNS of a shared network, asked by VMs; the rows F1 to F17 of what users ran into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import dhcp, dhcp_lease, dns_query
from tests.scenarios import clients, shared, spoofing
from tests.scenarios.shared import ALIAS, RESOLVERS, ROUTER, VMS, Shared
from tests.scenarios.spoofing import NOBODYS, Place

INFINITE = 2**32 - 1


@pytest.fixture(scope="module")
def net() -> Iterator[Shared]:
    with Lab("shared-dhcp") as lab:
        network = shared.network(lab)
        network.drop("ip_aliases", shared.alias())
        network.drop("dhcp", shared.ranges())
        for name in VMS:
            network.drop("vm_dhcp_entry", shared.entry(name))
        yield network


@pytest.mark.parametrize(("vm", "own"), [("first", ROUTER), ("second", ROUTER), ("third", ALIAS)])
def test_each_subnet_has_its_own_options(net: Shared, vm: str, own: str) -> None:
    """F6, F10: one NIC, two subnets; gateway, resolvers and server are those of the VM's own."""
    lease = dhcp_lease(net.vms[vm])
    assert lease is not None
    assert (lease["kind"], lease["address"], lease["server"], lease["mask"]) == (
        "ack",
        VMS[vm][0],
        [own],
        ["255.255.255.0"],
    )
    assert lease["routers"] == [f"{own.rpartition('.')[0]}.1"]
    assert lease["dns"] == [own, *RESOLVERS]
    assert (lease["domain"], lease["mtu"], lease["lease"]) == ("lab.internal", 1500, INFINITE)


@pytest.mark.parametrize("client", clients.CLIENTS)
@pytest.mark.parametrize(("vm", "own"), [("first", ROUTER), ("third", ALIAS)])
def test_real_clients_get_their_lease(net: Shared, vm: str, own: str, client: str, tmp_path: Path) -> None:
    expected = clients.Told(VMS[vm][0], f"{own.rpartition('.')[0]}.1", " ".join((own, *RESOLVERS)), "lab.internal")
    assert clients.lease(net.vms[vm], client, tmp_path) == expected


def test_an_unknown_mac_gets_nothing(net: Shared) -> None:
    """F16."""
    assert dhcp(net.vms["first"], "discover", mac="02:ff:00:00:00:01") == []


def test_a_secondary_nic_gets_no_router_dns_or_domain(net: Shared) -> None:
    """F7, and at once: options are effective after the reload."""
    mac = "02:01:00:00:0b:21"
    net.drop("vm_dhcp_entry", shared.entry("extra", mac=mac, address="10.30.0.21", default_entry=False))
    lease = dhcp_lease(net.vms["first"], mac=mac)
    assert lease is not None
    assert lease["address"] == "10.30.0.21"
    assert {"routers", "dns", "domain"} & set(lease) == set()
    net.drop("vm_dhcp_entry", shared.entry("extra", mac=mac, address="10.30.0.21"))
    lease = dhcp_lease(net.vms["first"], mac=mac)
    assert lease is not None
    assert lease["routers"] == ["10.30.0.1"]


def test_a_changed_address_leaves_no_trace_of_the_old(net: Shared) -> None:
    """F8: one record per MAC; F3: the address left is free at once."""
    mac = "02:01:00:00:0b:22"
    for address in ("10.30.0.22", "10.30.0.23"):
        net.drop("vm_dhcp_entry", shared.entry("mover", mac=mac, address=address))
        lease = dhcp_lease(net.vms["first"], mac=mac)
        assert lease is not None
        assert lease["address"] == address
    assert net.router.read("/etc/dnsmasq.cloudstack/dhcp-hosts").count(mac) == 1
    assert "10.30.0.22 " not in net.router.read("/var/lib/misc/dnsmasq.leases")


@pytest.mark.parametrize(("subnet", "number"), [("10.30.0", 31), ("10.30.1", 32)])
def test_an_expunged_vms_address_is_reusable_at_once(net: Shared, subnet: str, number: int) -> None:
    """F3 (also in the subnet of an alias), F4: same address, new MAC, and an offer."""
    address, old, new = f"{subnet}.{number}", f"02:01:00:00:0c:{number}", f"02:01:00:00:0d:{number}"
    net.drop("vm_dhcp_entry", shared.entry("old", mac=old, address=address))
    assert dhcp_lease(net.vms["first"], mac=old) is not None
    net.drop("vm_dhcp_entry", shared.entry("old", mac=old, address=address, remove=True))
    assert address not in net.router.read("/var/lib/misc/dnsmasq.leases")
    assert dhcp(net.vms["first"], "discover", mac=old) == []
    net.drop("vm_dhcp_entry", shared.entry("new", mac=new, address=address))
    lease = dhcp_lease(net.vms["first"], mac=new)
    assert lease is not None
    assert lease["address"] == address


def test_the_address_of_a_living_lease_goes_to_a_new_mac(net: Shared) -> None:
    """F4 without an expunge in between: the newer entry wins."""
    for mac in ("02:01:00:00:0e:01", "02:01:00:00:0e:02"):
        net.drop("vm_dhcp_entry", shared.entry("heir", mac=mac, address="10.30.0.41"))
        lease = dhcp_lease(net.vms["first"], mac=mac)
        assert lease is not None
        assert lease["address"] == "10.30.0.41"


def test_a_removal_touches_its_own_entry_only(net: Shared) -> None:
    """F9: removing what is not there must not remove the last one that is."""
    before = net.router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    net.drop("vm_dhcp_entry", shared.entry("ghost", mac="02:01:00:00:0f:01", address="10.30.0.99", remove=True))
    assert net.router.read("/etc/dnsmasq.cloudstack/dhcp-hosts") == before


def test_a_renewal_on_a_new_router_is_acknowledged(net: Shared) -> None:
    """F1: the leases of the router that was are not there; F2: those that are survive every apply."""
    net.router.shell("systemctl stop dnsmasq; rm /var/lib/misc/dnsmasq.leases")
    net.router.command("configure.py monitor_service.json")
    (answer,) = dhcp(net.vms["first"], "request", ciaddr=VMS["first"][0])
    assert (answer["kind"], answer["address"]) == ("ack", VMS["first"][0])
    pid = net.router.facts.unit("dnsmasq")["MainPID"]
    net.drop("vm_dhcp_entry", shared.entry("more", mac="02:01:00:00:0f:02", address="10.30.0.51"))
    assert VMS["first"][0] in net.router.read("/var/lib/misc/dnsmasq.leases")
    assert net.router.facts.unit("dnsmasq")["MainPID"] == pid, "a VM never restarts dnsmasq (A16)"


@pytest.mark.parametrize(
    ("vm", "server", "name", "kind", "answer"),
    [
        ("first", ROUTER, "data-server.lab.internal", "A", ROUTER),
        ("third", ALIAS, "data-server.lab.internal", "A", ALIAS),
        ("third", ALIAS, "data-server", "A", ALIAS),
        ("third", ALIAS, "first.lab.internal", "A", VMS["first"][0]),
        ("first", ROUTER, "r-301-VM.lab.internal", "A", ROUTER),
        ("first", ROUTER, "six.lab.internal", "AAAA", "2001:db8:30::14"),
        ("first", ROUTER, "only-six.lab.internal", "AAAA", "2001:db8:30::15"),
    ],
)
def test_names_are_answered(net: Shared, vm: str, server: str, name: str, kind: str, answer: str) -> None:
    """F12: data-server is where the asking network finds metadata."""
    if "six" in name:
        six = shared.entry("six", mac="02:01:00:00:0f:14", address="10.30.0.14", ipv6_address="2001:db8:30::14")
        only = shared.entry("only-six", mac="02:01:00:00:0f:15", address="10.30.0.15", ipv6_address="2001:db8:30::15")
        del only["ipv4_address"]
        net.drop("vm_dhcp_entry", six)
        net.drop("vm_dhcp_entry", only)
    found = dns_query(net.vms[vm], server, name, kind)
    assert [row[3] for row in found.extra["answers"]] == [answer]


def test_a_vm_called_like_the_metadata_server_is_asked_by_nobody(net: Shared) -> None:
    """Neither its entry nor the name that comes with its lease makes it known."""
    mac = "02:01:00:00:0f:16"
    net.drop("vm_dhcp_entry", shared.entry("data-server", mac=mac, address="10.30.0.16"))
    assert dhcp_lease(net.vms["first"], mac=mac, host_name="data-server")
    for name in ("data-server", "data-server.lab.internal"):
        found = dns_query(net.vms["second"], ROUTER, name)
        assert [row[3] for row in found.extra["answers"]] == [ROUTER]


def test_nothing_listens_but_on_guest_addresses(net: Shared) -> None:
    """F14, F15."""
    served = {(address, port) for _kind, address, port in net.router.facts.listeners() if port in (53, 80, 443, 8080)}
    assert {address for address, _port in served} == {ROUTER, ALIAS}


def test_no_source_gets_in_where_it_cannot_be(net: Shared) -> None:
    """One NIC, two subnets, and by their gateway the world; sshd is for the control network's neighbours."""
    sources = {
        **NOBODYS,
        "first": VMS["first"][0],
        "third": VMS["third"][0],
        "world": "203.0.113.9",
        "management": "169.254.0.1",
        "router": ROUTER,
        "alias": ALIAS,
        "broadcast": "10.30.1.255",
    }
    lab = net.router.lab
    control = lab.host("management", "control", "169.254.0.1/16")
    places = [
        Place("eth0", net.vms["second"], [(ROUTER, 53), (ALIAS, 53)]),
        Place("eth1", control, [("169.254.5.45", 3922)]),
    ]
    passed, taken = spoofing.believed(net.router, places, sources)
    assert passed == set()
    assert taken == spoofing.pairs({"eth0": ("first", "third"), "eth1": ("management", "world")})
