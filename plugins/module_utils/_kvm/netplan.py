# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write a host's network for netplan, version 2 of its format (netplan-yaml(5)), over systemd-networkd.

Nothing here takes router advertisements, and what has no IPv6 address has no link-local one either: VMs are on the
same segments.
"""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import (
    LINUX,
    MTU,
    Bond,
    Bridge,
    Host,
    vlan_device,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.ovs import bond_config, other_config

Tree = dict[str, object]


def render(host: Host) -> Tree:
    """Return the document; a section that nothing is in is left out."""
    sections: Tree = {
        "ethernets": {nic: _quiet(host.mtu(nic)) for nic in host.nics},
        "bonds": {bond.name: _bond(bond, host) for bond in host.bonds},
        "vlans": _vlans(host),
        "bridges": {bridge.name: _bridge(bridge, host) for bridge in host.bridges if not _is_fake(bridge, host)},
    }
    settings = other_config(host)
    if settings:
        sections["openvswitch"] = {"other-config": settings}
    network: Tree = {"version": 2, "renderer": "networkd"}
    network.update({name: section for name, section in sections.items() if section})
    return {"network": network}


def _is_fake(bridge: Bridge, host: Host) -> bool:
    """Tell whether a bridge is a part of another one: netplan makes a fake bridge of a VLAN on an OVS bridge."""
    return bool(bridge.vlan) and host.openvswitch


def _quiet(mtu: int) -> Tree:
    """Return what a link has that carries frames and no addresses."""
    found: Tree = {"dhcp4": False, "dhcp6": False, "accept-ra": False, "link-local": []}
    return found if mtu == MTU else {**found, "mtu": mtu}


def _bond(bond: Bond, host: Host) -> Tree:
    parameters: Tree = {"mode": bond.mode}
    found: Tree = {"interfaces": list(bond.interfaces), "parameters": parameters, **_quiet(bond.mtu)}
    if host.openvswitch:
        return {**found, "openvswitch": {"lacp": bond.lacp, "other-config": bond_config(bond)}}
    if bond.miimon:
        parameters["mii-monitor-interval"] = bond.miimon
        parameters["up-delay"], parameters["down-delay"] = bond.updelay, bond.downdelay
    optional = {"primary": bond.primary, "lacp-rate": bond.lacp_rate, "transmit-hash-policy": bond.hash_policy}
    parameters.update({name: value for name, value in optional.items() if value})
    return found


def _vlans(host: Host) -> Tree:
    """Return VLAN devices: below a bridge of their own, or, with OVS, the fake bridge itself."""
    found: Tree = {}
    for bridge in (item for item in host.bridges if item.vlan):
        if host.openvswitch:
            # The back end must be said: netplan takes a VLAN for the kernel's, whatever it lies on.
            fake: Tree = {"id": bridge.vlan, "link": host.trunk(bridge).name, **_layer3(bridge), "openvswitch": {}}
            found[bridge.name] = fake
        else:
            found[vlan_device(bridge)] = {"id": bridge.vlan, "link": bridge.uplink, **_quiet(bridge.mtu)}
    return found


def _bridge(bridge: Bridge, host: Host) -> Tree:
    below = vlan_device(bridge) if bridge.vlan else bridge.uplink
    found: Tree = {"interfaces": [below] if below else [], **_layer3(bridge)}
    if host.backend == LINUX:
        return {**found, "parameters": {"stp": bridge.stp, "forward-delay": 15 if bridge.stp else 0}}
    return {**found, "openvswitch": {}}


def _layer3(bridge: Bridge) -> Tree:
    found = _quiet(bridge.mtu)
    found["dhcp4"] = bridge.dhcp4
    if any(item.version == 6 for item in bridge.addresses):
        found["link-local"] = ["ipv6"]  # neighbour discovery, and gateways as routers announce them, live on it
    if bridge.addresses:
        found["addresses"] = [str(item) for item in bridge.addresses]
    if bridge.gateways:
        found["routes"] = [{"to": "::/0" if ":" in item else "0.0.0.0/0", "via": item} for item in bridge.gateways]
    names = {"addresses": list(bridge.nameservers), "search": list(bridge.search)}
    if bridge.nameservers or bridge.search:
        found["nameservers"] = {name: value for name, value in names.items() if value}
    return found
