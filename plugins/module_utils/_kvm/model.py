# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a KVM host's network consists of; made by `read.host`, which checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from typing import Union

Interface = Union[IPv4Interface, IPv6Interface]  # noqa: UP007
LINUX, OPENVSWITCH = "linuxbridge", "openvswitch"
MTU = 1500
"""Of Ethernet, when nothing is said."""


class HostError(ValueError):
    """A variable that cannot be meant: the message begins with its name."""


@dataclass(frozen=True)
class Bond:
    """Several NICs as one uplink; times in milliseconds, None: the manager's default."""

    name: str
    interfaces: tuple[str, ...]
    mode: str = "active-backup"
    miimon: int = 100
    updelay: int = 0
    downdelay: int = 0
    primary: str = ""
    lacp: str = "off"
    lacp_rate: str = ""
    hash_policy: str = ""
    mtu: int = MTU


@dataclass(frozen=True)
class Bridge:
    """One bridge; `vlan` 0: its frames are untagged, and the tags of guests pass."""

    name: str
    uplink: str = ""
    vlan: int = 0
    addresses: tuple[Interface, ...] = ()
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    dhcp4: bool = False
    stp: bool = False
    mtu: int = MTU


@dataclass(frozen=True)
class DpdkPort:
    """A NIC that DPDK drives: its port on a bridge and its PCI address."""

    name: str
    bridge: str
    device: str


@dataclass(frozen=True)
class Dpdk:
    """Open vSwitch in userland; memory in MB for each NUMA node, CPUs as a mask."""

    enabled: bool = False
    socket_mem: tuple[int, ...] = ()
    pmd_cpus: str = ""
    lcore_cpus: str = ""
    hugepages_2m: int = 0
    hugepages_1g: int = 0
    driver: str = "vfio-pci"
    ports: tuple[DpdkPort, ...] = ()


@dataclass(frozen=True)
class Host:
    """All of it."""

    backend: str = LINUX
    bonds: tuple[Bond, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    dpdk: Dpdk = field(default_factory=Dpdk)
    userland: bool = False

    @property
    def openvswitch(self) -> bool:
        """Tell whether the bridges are Open vSwitch's."""
        return self.backend == OPENVSWITCH

    @property
    def nics(self) -> tuple[str, ...]:
        """Return the NICs that have to be there, in the order of the variables."""
        bonded = {bond.name for bond in self.bonds}
        found = [nic for bond in self.bonds for nic in bond.interfaces]
        found += [bridge.uplink for bridge in self.bridges if bridge.uplink and bridge.uplink not in bonded]
        return tuple(dict.fromkeys(found))

    @property
    def netdev(self) -> bool:
        """Tell whether Open vSwitch forwards in userland, as DPDK wants."""
        return self.dpdk.enabled or self.userland

    def mtu(self, link: str) -> int:
        """Return the MTU of a NIC or bond: a bond says it, a lone NIC has that of its largest bridge."""
        for bond in self.bonds:
            if link == bond.name or link in bond.interfaces:
                return bond.mtu
        return max((bridge.mtu for bridge in self.bridges if bridge.uplink == link), default=MTU)

    def trunk(self, bridge: Bridge) -> Bridge:
        """Return the untagged bridge on the same uplink, which Open vSwitch makes a VLAN's bridge a part of."""
        return next(other for other in self.bridges if other.uplink == bridge.uplink and not other.vlan)


def vlan_device(bridge: Bridge) -> str:
    """Name the VLAN device below a bridge as the agent names those of guests: bond0.100."""
    return f"{bridge.uplink}.{bridge.vlan}"
