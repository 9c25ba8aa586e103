# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that a KVM host is told about its network, from the variables of role kvm_host."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm import netplan, nmstate, ovs, read
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import Host, vlan_device

RENDERERS = {"netplan": netplan.render, "nmstate": nmstate.render}


def network(variables: Mapping[str, object], renderer: str) -> dict[str, object]:
    """Return the manager's document, what it leaves to others, and what is to be seen when all is in force.

    Raises HostError, whose message begins with the name of a variable.
    """
    host = read.host(variables)
    columns = ovs.columns(host, renderer)
    return {
        "network": RENDERERS[renderer](host),
        "columns": columns,
        "reading": ovs.reading(columns),
        "writing": ovs.writing(columns),
        "ports": ovs.ports(host, renderer),
        "other_config": ovs.other_config(host),
        "agent": ovs.agent_properties(host),
        "nics": list(host.nics),
        "links": _links(host),
        "bonds": [
            {"name": bond.name, "mode": bond.mode, "interfaces": sorted(bond.interfaces), "miimon": bond.miimon}
            for bond in host.bonds
        ],
        "bridges": [_seen(host, index) for index in range(len(host.bridges))],
    }


def _links(host: Host) -> list[str]:
    """List every link that a configuration of others must not name, too."""
    made = [*(bond.name for bond in host.bonds), *(bridge.name for bridge in host.bridges)]
    vlans = [vlan_device(bridge) for bridge in host.bridges if bridge.vlan]
    return [*host.nics, *made, *([] if host.openvswitch else vlans)]


def _seen(host: Host, index: int) -> dict[str, object]:
    """Return what `verify.yml` looks for on one bridge."""
    bridge = host.bridges[index]
    fake = host.openvswitch and bool(bridge.vlan)
    return {
        "name": bridge.name,
        "parent": host.trunk(bridge).name if fake else bridge.name,
        "port": vlan_device(bridge) if bridge.vlan and not host.openvswitch else bridge.uplink,
        "vlan": bridge.vlan,
        "addresses": [str(item) for item in bridge.addresses],
    }
