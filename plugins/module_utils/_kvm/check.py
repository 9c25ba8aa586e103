# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check what single values cannot show: who shares what with whom. Each message begins with a variable's name."""

from __future__ import annotations

from ipaddress import ip_address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import (
    Bond,
    Bridge,
    Host,
    HostError,
    vlan_device,
)

NAME = 15


def host(found: Host) -> None:
    """Raise HostError at the first thing that cannot be built."""
    for bond in found.bonds:
        _bond(bond, found)
    _links(found)
    for bridge in found.bridges:
        _bridge(bridge, found)
    _addresses(found)
    _dpdk(found)
    for bond in found.bonds:
        if found.openvswitch and not any(bridge.uplink == bond.name for bridge in found.bridges):
            raise HostError(
                f"kvm_host_bonds.{bond.name}: is no bridge's uplink; a bond of Open vSwitch is a port of one"
            )


def _bond(bond: Bond, found: Host) -> None:
    path = f"kvm_host_bonds.{bond.name}"
    least = 2 if found.openvswitch else 1
    if len(bond.interfaces) < least:
        raise HostError(f"{path}.interfaces: {found.backend} wants at least {least}, got {len(bond.interfaces)}")
    if bond.primary and bond.primary not in bond.interfaces:
        raise HostError(f"{path}.primary: {bond.primary} is none of its interfaces")
    if bond.primary and bond.mode != "active-backup":
        raise HostError(f"{path}.primary: only mode active-backup has one")
    if bond.mode == "balance-tcp" and bond.lacp == "off":
        raise HostError(f"{path}.lacp: mode balance-tcp wants active or passive")
    if not bond.miimon and (bond.updelay or bond.downdelay):
        raise HostError(f"{path}.miimon: without it updelay and downdelay mean nothing")
    if bond.lacp_rate and bond.mode != "802.3ad":
        raise HostError(f"{path}.lacp_rate: only mode 802.3ad has one")


def _links(found: Host) -> None:
    """Every name is one link, and every NIC has one master."""
    masters: dict[str, str] = {}
    for bond in found.bonds:
        for nic in bond.interfaces:
            if nic in masters:
                raise HostError(f"kvm_host_bonds.{bond.name}.interfaces: {nic} is in {masters[nic]} already")
            masters[nic] = bond.name
    for bridge in found.bridges:
        if bridge.uplink in masters:
            raise HostError(f"kvm_host_bridges.{bridge.name}.uplink: {bridge.uplink} is in {masters[bridge.uplink]}")
    taken = dict.fromkeys(found.nics, "a NIC")
    made = [(bond.name, f"kvm_host_bonds.{bond.name}") for bond in found.bonds]
    made += [(bridge.name, f"kvm_host_bridges.{bridge.name}") for bridge in found.bridges]
    made += [(port.name, f"kvm_host_dpdk.ports.{port.name}") for port in found.dpdk.ports]
    if not found.openvswitch:
        made += [(vlan_device(item), f"kvm_host_bridges.{item.name}.vlan") for item in found.bridges if item.vlan]
    for name, path in made:
        if len(name) > NAME:
            raise HostError(f"{path}: its device would be called {name}, which has more than {NAME} characters")
        if name in taken:
            raise HostError(f"{path}: {name} is the name of {taken[name]}, too")
        taken[name] = path


def _bridge(bridge: Bridge, found: Host) -> None:
    path = f"kvm_host_bridges.{bridge.name}"
    twins = [other for other in found.bridges if other.uplink == bridge.uplink and other.vlan == bridge.vlan]
    if not bridge.uplink:
        if bridge.vlan:
            raise HostError(f"{path}.vlan: wants an uplink")
        if not any(port.bridge == bridge.name for port in found.dpdk.ports):
            raise HostError(f"{path}.uplink: expected a bond or a NIC")
    elif twins[0] is not bridge:
        tag = f"VLAN {bridge.vlan}" if bridge.vlan else "without a vlan"
        raise HostError(f"{path}.uplink: {twins[0].name} is on {bridge.uplink} {tag} already")
    elif bridge.mtu > found.mtu(bridge.uplink):
        raise HostError(f"{path}.mtu: {bridge.mtu} is more than the {found.mtu(bridge.uplink)} of {bridge.uplink}")
    if bridge.vlan and found.openvswitch:
        trunks = [other for other in found.bridges if other.uplink == bridge.uplink and not other.vlan]
        if not trunks:
            raise HostError(f"{path}.vlan: Open vSwitch wants a bridge without a vlan on {bridge.uplink}, too")
        if bridge.stp:
            raise HostError(f"{path}.stp: is that of {trunks[0].name}, of which this is a part")
    if bridge.dhcp4 and any(item.version == 4 for item in bridge.addresses):
        raise HostError(f"{path}.dhcp4: and an IPv4 address exclude each other")


def _addresses(found: Host) -> None:
    """No network is on two bridges, and each family has one way out."""
    networks: list[tuple[object, str]] = []
    routers: dict[int, str] = {}
    for bridge in found.bridges:
        path = f"kvm_host_bridges.{bridge.name}"
        for item in bridge.addresses:
            for other, name in networks:
                if name != bridge.name and item.network.overlaps(other):  # type: ignore[arg-type]
                    raise HostError(f"{path}.addresses: {item} overlaps {other} of {name}")
            networks.append((item.network, bridge.name))
        for gateway in map(ip_address, bridge.gateways):
            word = "gateway6" if gateway.version == 6 else "gateway"
            known = [item for item in bridge.addresses if item.version == gateway.version]
            if gateway in [item.ip for item in known]:
                raise HostError(f"{path}.{word}: {gateway} is the host itself")
            if not any(gateway in item.network for item in known) and not gateway.is_link_local:
                raise HostError(f"{path}.{word}: {gateway} is in no network of its addresses")
            if gateway.version in routers:
                raise HostError(f"{path}.{word}: {routers[gateway.version]} has one already")
            routers[gateway.version] = bridge.name


def _dpdk(found: Host) -> None:
    dpdk, path = found.dpdk, "kvm_host_dpdk"
    if (dpdk.enabled or found.userland) and not found.openvswitch:
        raise HostError(
            f"{path + '.enabled' if dpdk.enabled else 'kvm_host_userland'}: wants kvm_host_backend openvswitch"
        )
    if not dpdk.enabled:
        if dpdk.ports:
            raise HostError(f"{path}.ports: want {path}.enabled")
        return
    if not dpdk.hugepages_2m and not dpdk.hugepages_1g:
        raise HostError(f"{path}.hugepages_2m: DPDK wants hugepages; say how many, here or in hugepages_1g")
    memory = dpdk.hugepages_2m * 2 + dpdk.hugepages_1g * 1024
    if sum(dpdk.socket_mem) > memory:
        raise HostError(f"{path}.socket_mem: {sum(dpdk.socket_mem)} MB are more than the {memory} MB of the hugepages")
    devices: set[str] = set()
    for port in dpdk.ports:
        bridge = next((item for item in found.bridges if item.name == port.bridge), None)
        if bridge is None or bridge.vlan:
            raise HostError(
                f"{path}.ports.{port.name}.bridge: {port.bridge} is no bridge of kvm_host_bridges without a vlan"
            )
        if port.device in devices:
            raise HostError(f"{path}.ports.{port.name}.device: {port.device} is another port's, too")
        devices.add(port.device)
