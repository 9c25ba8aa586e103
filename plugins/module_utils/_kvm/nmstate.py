# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write a host's network for nmstate 2 (`network_state` of linux-system-roles.network), for EL 8 to 10."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import (
    MTU,
    Bond,
    Bridge,
    Host,
    Interface,
    vlan_device,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.ovs import bond_config, other_config

Tree = dict[str, object]


def render(host: Host) -> Tree:
    """Return the state; what it does not name is left as it is."""
    interfaces = [_link(nic, "ethernet", host.mtu(nic)) for nic in host.nics]
    if host.openvswitch:
        interfaces += [_ovs_bridge(bridge, host) for bridge in host.bridges if not bridge.vlan]
        interfaces += [_ovs_interface(bridge) for bridge in host.bridges]
        interfaces += [_dpdk_interface(port.name, port.device) for port in host.dpdk.ports]
    else:
        interfaces += [_bond(bond) for bond in host.bonds]
        interfaces += [_vlan(bridge) for bridge in host.bridges if bridge.vlan]
        interfaces += [_linux_bridge(bridge) for bridge in host.bridges]
    found: Tree = {"interfaces": interfaces}
    routes = [_route(gateway, bridge) for bridge in host.bridges for gateway in bridge.gateways]
    if routes:
        found["routes"] = {"config": routes}
    servers = _unique(name for bridge in host.bridges for name in bridge.nameservers)
    search = _unique(name for bridge in host.bridges for name in bridge.search)
    if servers or search:
        found["dns-resolver"] = {"config": {"server": servers, "search": search}}
    settings = other_config(host)
    if settings:
        found["ovs-db"] = {"other_config": settings}
    return found


def _unique(values: object) -> list[str]:
    return list(dict.fromkeys(values))  # type: ignore[call-overload]


def _link(name: str, kind: str, mtu: int = MTU) -> Tree:
    """Return a link that carries frames and no addresses."""
    found: Tree = {"name": name, "type": kind, "state": "up"}
    if mtu != MTU:
        found["mtu"] = mtu
    return {**found, "ipv4": {"enabled": False}, "ipv6": {"enabled": False}}


def _bond(bond: Bond) -> Tree:
    options: Tree = {}
    if bond.miimon:
        options = {"miimon": bond.miimon, "updelay": bond.updelay, "downdelay": bond.downdelay}
    optional = {"primary": bond.primary, "lacp_rate": bond.lacp_rate, "xmit_hash_policy": bond.hash_policy}
    options.update({name: value for name, value in optional.items() if value})
    aggregation: Tree = {"mode": bond.mode, "port": list(bond.interfaces), "options": options}
    return {**_link(bond.name, "bond", bond.mtu), "link-aggregation": aggregation}


def _vlan(bridge: Bridge) -> Tree:
    vlan: Tree = {"base-iface": bridge.uplink, "id": bridge.vlan}
    return {**_link(vlan_device(bridge), "vlan", bridge.mtu), "vlan": vlan}


def _linux_bridge(bridge: Bridge) -> Tree:
    below = vlan_device(bridge) if bridge.vlan else bridge.uplink
    settings: Tree = {"options": {"stp": {"enabled": bridge.stp}}, "port": [{"name": below}]}
    return {**_link(bridge.name, "linux-bridge", bridge.mtu), **_layer3(bridge), "bridge": settings}


def _ovs_bridge(bridge: Bridge, host: Host) -> Tree:
    """Return a bridge of Open vSwitch with its internal ports: its own, and one for each VLAN's bridge on it."""
    ports: list[Tree] = [{"name": bridge.name}]
    bond = next((item for item in host.bonds if item.name == bridge.uplink), None)
    if bond:
        ports.append({"name": bond.name, "link-aggregation": _ovs_bond(bond)})
    elif bridge.uplink:
        ports.append({"name": bridge.uplink})
    ports += [{"name": port.name} for port in host.dpdk.ports if port.bridge == bridge.name]
    for other in (item for item in host.bridges if item.vlan and item.uplink == bridge.uplink):
        ports.append({"name": other.name, "vlan": {"mode": "access", "tag": other.vlan}})
    options: Tree = {"stp": bridge.stp, "datapath": "netdev" if host.netdev else "system"}
    return {
        "name": bridge.name,
        "type": "ovs-bridge",
        "state": "up",
        "bridge": {"options": options, "port": ports},
    }


def _ovs_bond(bond: Bond) -> Tree:
    """Return a bond of Open vSwitch; whether it talks LACP is a column of its own (`ovs.columns`)."""
    found: Tree = {
        "mode": bond.mode,
        "bond-updelay": bond.updelay,
        "bond-downdelay": bond.downdelay,
        "port": [{"name": nic} for nic in bond.interfaces],
    }
    settings = bond_config(bond)
    return {**found, "ovs-db": {"other_config": settings}} if settings else found


def _ovs_interface(bridge: Bridge) -> Tree:
    return {**_link(bridge.name, "ovs-interface", bridge.mtu), **_layer3(bridge)}


def _dpdk_interface(name: str, device: str) -> Tree:
    return {"name": name, "type": "ovs-interface", "state": "up", "dpdk": {"devargs": device}}


def _layer3(bridge: Bridge) -> Tree:
    """Return the addresses; a family without one is off, so that no VM can give the host an address."""
    four = [_address(item) for item in bridge.addresses if item.version == 4]
    six = [_address(item) for item in bridge.addresses if item.version == 6]
    found: Tree = {"ipv4": {"enabled": False}, "ipv6": {"enabled": False}}
    if four or bridge.dhcp4:
        found["ipv4"] = {"enabled": True, "dhcp": bridge.dhcp4, **({"address": four} if four else {})}
    if six:
        found["ipv6"] = {"enabled": True, "dhcp": False, "autoconf": False, "address": six}
    return found


def _address(item: Interface) -> Tree:
    return {"ip": str(item.ip), "prefix-length": item.network.prefixlen}


def _route(gateway: str, bridge: Bridge) -> Tree:
    return {
        "destination": "::/0" if ":" in gateway else "0.0.0.0/0",
        "next-hop-address": gateway,
        "next-hop-interface": bridge.name,
    }
