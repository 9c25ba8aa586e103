# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The networks that scenarios start from; addresses are those of the kept drops (documentation prefixes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.lab.lab import Lab
from tests.scenarios import pair, pair_vpc, vpcs

# What the management server sends as boot arguments of an isolated network's router, as one line.
ISOLATED_CMDLINE = (
    "template=domP name=r-101-VM"
    " authorized_key=c3NoLXJzYSBBQUFBQjNOemFDMXljMkVBQUFBREFRQUJBQUFCQVFETGFiTWFuYWdlbWVudFNlcnZlcktleUxhYk1hbmFnZW1l"
    "bnRTZXJ2ZXJLZXkgY2xvdWRAbWdtdDE="
    " eth2ip=192.0.2.10 eth2mask=255.255.255.0 gateway=192.0.2.1 publicMtu=1500"
    " eth0ip=10.1.1.1 eth0mask=255.255.255.0 privateMtu=1500 domain=cs2cloud.internal cidrsize=24 dhcprange=10.1.1.1"
    " eth1ip=169.254.3.101 eth1mask=255.255.0.0 type=router disable_rp_filter=true"
    " dns1=203.0.113.53 dns2=203.0.113.54 logrotatefrequency=*:00:00"
)
ISOLATED_NICS = {
    "eth0": ("guest", "02:00:2e:00:00:0a"),
    "eth1": ("control", "0e:00:a9:fe:03:65"),
    "eth2": ("public", "1e:00:2d:00:00:0a"),
}
# The NIC of the second public network; plugged when an address of it is associated.
SECOND_PUBLIC_NIC = ("eth3", "public2", "06:00:2f:00:00:0a")


def outside(lab: Lab) -> None:
    """Make the public networks, their gateway, and the internet behind it.

    ``internet`` has several addresses, in networks that rules tell apart; it reaches the public networks through
    ``gateway``, which is the first address of each of them. ``management`` is on the control network.
    """
    for segment in ("public", "public2", "internet", "control"):
        lab.segment(segment)
    gateway = lab.host("gateway", "public", "192.0.2.1/24")
    gateway.add_nic("eth1", "public2", lab.mac("gateway.public2"), ["198.51.100.1/24"])
    gateway.add_nic("eth2", "internet", lab.mac("gateway.internet"), ["203.0.113.1/24", "198.18.0.1/15"])
    gateway.forward()
    addresses = ("203.0.113.9/24", "203.0.113.53/24", "203.0.113.54/24", "203.0.113.99/24", "203.0.113.130/24")
    lab.host("internet", "internet", (*addresses, "198.18.0.9/15"), gateway="203.0.113.1")
    lab.host("management", "control", "169.254.0.1/16")


def isolated(lab: Lab, cmdline: Mapping[str, Any] | str = ISOLATED_CMDLINE) -> None:
    """Make an isolated network: two VMs behind router ``r1``, and the outside. The router is booting on return."""
    outside(lab)
    lab.segment("guest")
    lab.host("vm1", "guest", "10.1.1.11/24", gateway="10.1.1.1", mac="02:01:00:00:00:0b")
    lab.host("vm2", "guest", "10.1.1.12/24", gateway="10.1.1.1", mac="02:01:00:00:00:0c")
    lab.router("r1", cmdline, ISOLATED_NICS)


def vpc(lab: Lab) -> None:
    """Make the VPC of tests/fixtures/vpc, without its drops."""
    vpcs.vpc(lab)


def redundant_isolated(lab: Lab) -> None:
    """Make an isolated network with a pair of routers, which are booting on return."""
    pair.make(lab)


def redundant_vpc(lab: Lab) -> None:
    """Make a VPC with a pair of routers that have the NICs of two tiers, and are booting on return."""
    for name, router in pair_vpc.make(lab).routers.items():
        for tier in (1, 2):
            router.plug(pair_vpc.TIERS[tier], f"tier{tier}", pair_vpc.mac(name, tier))


TOPOLOGIES: dict[str, Callable[[Lab], None]] = {
    "outside": outside,
    "isolated": isolated,
    "vpc": vpc,
    "redundant_isolated": redundant_isolated,
    "redundant_vpc": redundant_vpc,
}
DROPS: dict[str, Callable[[str], Iterator[tuple[str, dict[str, Any]]]]] = {
    "redundant_isolated": pair.drops,
    "redundant_vpc": pair_vpc.drops,
}
"""What the management server sends to the routers of a topology, by the router's name: file names and contents."""
