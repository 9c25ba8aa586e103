# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Variables that no host can be built from are refused, each with its name and what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.filter.kvm_network import kvm_network
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import HostError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.network import network
from tests.unit.kvm.cases import variables

BONDS, BRIDGES, DPDK = "kvm_host_bonds", "kvm_host_bridges", "kvm_host_dpdk"

WRONG = [
    # The articles' own mistakes: a netmask that is none, a gateway elsewhere, a device misnamed.
    ("bridges.cloudbr0.addresses", ["192.168.100.20/255.255.155.0"], f"{BRIDGES}.cloudbr0.addresses[0]: expected an"),
    ("bridges.cloudbr0.gateway", "192.168.101.1", f"{BRIDGES}.cloudbr0.gateway: 192.168.101.1 is in no network"),
    ("bridges.cloudbr100.uplink", "bond", f"{BRIDGES}.cloudbr100.vlan: Open vSwitch wants a bridge without a vlan"),
    ("backend", "ovs", "kvm_host_backend: expected one of linuxbridge, openvswitch, got 'ovs'"),
    ("bonds.bond0.miimon", "fast", f"{BONDS}.bond0.miimon: expected a number from 0 to 60000, got 'fast'"),
    ("bonds.bond0.miimon", True, f"{BONDS}.bond0.miimon: expected a number"),
    ("bonds.bond0.mode", "balance-alb", f"{BONDS}.bond0.mode: expected one of active-backup, balance-slb"),
    ("bonds.bond0.mode", "balance-tcp", f"{BONDS}.bond0.primary: only mode active-backup has one"),
    ("bonds.bond1", {"interfaces": ["a", "b"], "mode": "balance-tcp"}, f"{BONDS}.bond1.lacp: mode balance-tcp wants"),
    ("bonds.bond0.interfaces", ["eth0"], f"{BONDS}.bond0.interfaces: openvswitch wants at least 2, got 1"),
    ("bonds.bond0.interfaces", "eth0", f"{BONDS}.bond0.interfaces: expected a list, got 'eth0'"),
    ("bonds.bond0.interfaces", ["eth0", "eth0"], f"{BONDS}.bond0.interfaces: eth0 is in bond0 already"),
    ("bonds.bond1.interfaces", ["eth1", "eth2"], f"{BONDS}.bond1.interfaces: eth1 is in bond0 already"),
    ("bonds.bond0.interfaces", ["eth0", "-e x"], f"{BONDS}.bond0.interfaces[1]: expected the name of a link"),
    ("bonds.bond0.interfaces", ["eth0", "eth1\n"], f"{BONDS}.bond0.interfaces[1]: expected the name of a link"),
    ("bonds.bond0.primary", "eth2", f"{BONDS}.bond0.primary: eth2 is none of its interfaces"),
    ("bonds.bond0.slaves", ["eth0"], f"{BONDS}.bond0.slaves: no such setting; there are interfaces, mode"),
    ("bonds.bond0.hash_policy", "layer2", f"{BONDS}.bond0.hash_policy: is for kvm_host_backend linuxbridge only"),
    ("bonds.bond0.mtu", 100, f"{BONDS}.bond0.mtu: expected a number from 1280 to 9216, got 100"),
    ("bridges.cloudbr0.mtu", 9000, f"{BRIDGES}.cloudbr0.mtu: 9000 is more than the 1500 of bond0"),
    ("bridges.cloudbr0.uplink", "eth0", f"{BRIDGES}.cloudbr0.uplink: eth0 is in bond0"),
    ("bridges.cloudbr1.uplink", "bond0", f"{BRIDGES}.cloudbr1.uplink: cloudbr0 is on bond0 without a vlan already"),
    ("bridges.cloudbr1.uplink", None, f"{BRIDGES}.cloudbr1.uplink: expected a bond or a NIC"),
    ("bridges.cloudbr1.uplink", "eth9", f"{BONDS}.bond1: is no bridge's uplink"),
    ("bridges.cloudbr100.vlan", 4095, f"{BRIDGES}.cloudbr100.vlan: expected a number from 1 to 4094, got 4095"),
    ("bridges.cloudbr100.vlan", 0, f"{BRIDGES}.cloudbr100.vlan: expected a number from 1 to 4094, got 0"),
    ("bridges.cloudbr0.addresses", ["192.168.100.20"], f"{BRIDGES}.cloudbr0.addresses[0]: expected an address with"),
    ("bridges.cloudbr0.addresses", ["192.168.100.0/24"], f"{BRIDGES}.cloudbr0.addresses[0]: expected an address of a"),
    ("bridges.cloudbr100.addresses", ["192.168.0.1/16"], f"{BRIDGES}.cloudbr100.addresses: 192.168.0.1/16 overlaps"),
    ("bridges.cloudbr100.gateway", "10.0.100.1", f"{BRIDGES}.cloudbr100.gateway: cloudbr0 has one already"),
    ("bridges.cloudbr0.gateway", "192.168.100.20", f"{BRIDGES}.cloudbr0.gateway: 192.168.100.20 is the host itself"),
    ("bridges.cloudbr0.gateway6", "192.168.100.1", f"{BRIDGES}.cloudbr0.gateway6: expected an IPv6 address"),
    ("bridges.cloudbr0.dhcp4", True, f"{BRIDGES}.cloudbr0.dhcp4: and an IPv4 address exclude each other"),
    ("bridges.cloudbr0.dhcp4", "no", f"{BRIDGES}.cloudbr0.dhcp4: expected true or false, got 'no'"),
    ("bridges.cloudbr0.nameservers", ["ns.example.org"], f"{BRIDGES}.cloudbr0.nameservers[0]: expected an IP address"),
    ("bridges.cloudbr0.search", ["my cloud"], f"{BRIDGES}.cloudbr0.search[0]: expected a domain"),
    ("bridges.bond0", {"uplink": "eth9"}, f"{BRIDGES}.bond0: bond0 is the name of {BONDS}.bond0, too"),
    ("bridges.a-name-too-long0", {"uplink": "eth9"}, f"{BRIDGES}.a-name-too-long0: expected the name of a link"),
    ("dpdk.enabled", True, f"{DPDK}.hugepages_2m: DPDK wants hugepages"),
    ("dpdk", {"enabled": True, "hugepages_2m": 8, "socket_mem": [1024]}, f"{DPDK}.socket_mem: 1024 MB are more than"),
    ("dpdk.pmd_cpus", 6, f"{DPDK}.pmd_cpus: expected a mask such as 0x6, as a string, got 6"),
    ("dpdk.ports", {"dpdk0": {"bridge": "cloudbr0", "device": "0000:03:00.0"}}, f"{DPDK}.ports: want {DPDK}.enabled"),
    ("dpdk.ports", {"dpdk0": {"bridge": "cloudbr0", "device": "x,y"}}, f"{DPDK}.ports.dpdk0.device: expected a PCI"),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the articles' variables with one of them changed."""
    found = copy.deepcopy(variables("articles-openvswitch"))
    *parents, last = path.split(".")
    place = found
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return found


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_variable_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(HostError) as raised:
        network(changed(path, value), "netplan")
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("bonds.bond0.lacp", "active", f"{BONDS}.bond0.lacp: is for kvm_host_backend openvswitch only"),
        ("dpdk", {"enabled": True, "hugepages_2m": 8}, f"{DPDK}.enabled: wants kvm_host_backend openvswitch"),
        ("userland", True, "kvm_host_userland: wants kvm_host_backend openvswitch"),
        ("bonds", {"bond0123456789": {"interfaces": ["eth0"]}}, None),
    ],
)
def test_backend_of_the_kernel_has_limits_of_its_own(path: str, value: Any, message: str | None) -> None:
    found = {**variables("articles-linuxbridge"), path.split(".")[0]: value}
    if "." in path:
        found = {**variables("articles-linuxbridge"), "bonds": {"bond0": {"interfaces": ["eth0"], "lacp": value}}}
    if message is None:
        found["bridges"] = {"b": {"uplink": "bond0123456789", "vlan": 100}}
        message = f"{BRIDGES}.b.vlan: its device would be called bond0123456789.100"
    with pytest.raises(HostError) as raised:
        network(found, "netplan")
    assert str(raised.value).startswith(message)


def test_filter_tells_ansible_the_variable() -> None:
    with pytest.raises(AnsibleFilterError, match=r"kvm_host_bonds\.bond0\.miimon: expected a number"):
        kvm_network(changed("bonds.bond0.miimon", "fast"), "netplan")
    with pytest.raises(AnsibleFilterError, match="one of netplan, nmstate, got 'ifcfg'"):
        kvm_network({}, "ifcfg")
    assert kvm_network(changed("bonds.bond0.miimon", 0), "nmstate")["nics"] == ["eth0", "eth1", "eth2", "eth3"]


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["eth0", "10.0.0.1/8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([case[0] for case in WRONG] + ["bonds", "bridges", "dpdk.ports", "userland"]), ODD)
def test_whatever_is_given_is_built_or_refused_by_name(path: str, value: Any) -> None:
    """Nobody sees a traceback, and what is built can be written as YAML."""
    for renderer in ("netplan", "nmstate"):
        complaint = "kvm_host_"
        try:
            yaml.safe_dump(network(changed(path, value), renderer))
        except HostError as error:
            complaint = str(error)
        assert complaint.startswith("kvm_host_")
