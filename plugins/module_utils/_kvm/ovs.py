# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Open vSwitch keeps in its database (ovs-vswitchd.conf.db(5)), and which part of it no network manager writes."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import Bond, Host

Row = dict[str, str]
VIF_DRIVER = "com.cloud.hypervisor.kvm.resource.OvsVifDriver"


def bond_config(bond: Bond) -> Row:
    """Return other_config of a bond's port."""
    found = {"bond-primary": bond.primary} if bond.primary else {}
    if bond.miimon:
        found |= {"bond-detect-mode": "miimon", "bond-miimon-interval": str(bond.miimon)}
    return found


def other_config(host: Host) -> Row:
    """Return other_config of the table Open_vSwitch: DPDK's settings (memory in MB, CPUs as masks)."""
    dpdk = host.dpdk
    if not dpdk.enabled:
        return {}
    found = {"dpdk-init": "true"}
    if dpdk.socket_mem:
        found["dpdk-socket-mem"] = ",".join(map(str, dpdk.socket_mem))
    if dpdk.lcore_cpus:
        found["dpdk-lcore-mask"] = dpdk.lcore_cpus
    if dpdk.pmd_cpus:
        found["pmd-cpu-mask"] = dpdk.pmd_cpus
    return found


def columns(host: Host, renderer: str) -> list[Row]:
    """Return columns that the network manager leaves alone and ovs-vsctl has to set.

    netplan knows no datapath, no STP and no delays of an OVS bond; nmstate no fake bridge and no LACP beside a mode.
    """
    if not host.openvswitch:
        return []
    if renderer == "nmstate":
        fakes = [bridge.name for bridge in host.bridges if bridge.vlan]
        lacp = [_row("Port", bond.name, "lacp", bond.lacp) for bond in host.bonds]
        return [*lacp, *(_row("Port", name, "fake_bridge", "true") for name in fakes)]
    found = []
    for bond in host.bonds:
        found.append(_row("Port", bond.name, "bond_updelay", str(bond.updelay)))
        found.append(_row("Port", bond.name, "bond_downdelay", str(bond.downdelay)))
    datapath = "netdev" if host.netdev else "system"
    for bridge in (item for item in host.bridges if not item.vlan):
        found.append(_row("Bridge", bridge.name, "datapath_type", datapath))
        found.append(_row("Bridge", bridge.name, "stp_enable", str(bridge.stp).lower()))
    return found


def reading(rows: list[Row]) -> list[str]:
    """Return the words after ovs-vsctl that print these columns, one a line."""
    return [word for row in rows for word in ("--", "--if-exists", "get", row["table"], row["record"], row["column"])]


def writing(rows: list[Row]) -> list[str]:
    """Return the words after ovs-vsctl that set these columns in one transaction."""
    words = (("--", "set", row["table"], row["record"], f"{row['column']}={row['value']}") for row in rows)
    return [word for group in words for word in group]


def ports(host: Host, renderer: str) -> list[Row]:
    """Return ports of NICs that DPDK drives, which netplan cannot add."""
    if renderer == "nmstate":
        return []
    return [{"name": port.name, "bridge": port.bridge, "device": port.device} for port in host.dpdk.ports]


def agent_properties(host: Host) -> dict[str, str]:
    """Return what agent.properties has to say; an empty value: the line is not to be there.

    The agent reads openvswitch.dpdk.enabled (AgentProperties.java); older documents call it "enable".
    """
    names = ("network.bridge.type", "libvirt.vif.driver", "openvswitch.dpdk.enabled", "openvswitch.dpdk.ovs.path")
    values = dict.fromkeys((*names, "openvswitch.dpdk.enable"), "")
    if host.openvswitch:
        values |= {"network.bridge.type": "openvswitch", "libvirt.vif.driver": VIF_DRIVER}
    if host.dpdk.enabled:
        values |= {"openvswitch.dpdk.enabled": "true", "openvswitch.dpdk.ovs.path": "/var/run/openvswitch/"}
    return values


def _row(table: str, record: str, column: str, value: str) -> Row:
    return {"table": table, "record": record, "column": column, "value": value}
