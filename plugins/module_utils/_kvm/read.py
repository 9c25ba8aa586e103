# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the variables of role kvm_host; what no host can be is refused with the name of the variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm import check
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.fields import (
    DOMAIN,
    MASK,
    PCI,
    address,
    choice,
    complain,
    flag,
    interface,
    items,
    link,
    mapping,
    match,
    number,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import (
    LINUX,
    MTU,
    OPENVSWITCH,
    Bond,
    Bridge,
    Dpdk,
    DpdkPort,
    Host,
    HostError,
)

PREFIX = "kvm_host_"
BACKENDS = (LINUX, OPENVSWITCH)
MODES = {
    LINUX: ("active-backup", "802.3ad", "balance-xor"),
    OPENVSWITCH: ("active-backup", "balance-slb", "balance-tcp"),
}
"""Modes of a bond that can be below a bridge with VMs: those that rewrite ARP or repeat frames cannot."""
LACP = ("off", "active", "passive")
RATES = ("slow", "fast")
HASHES = ("layer2", "layer2+3", "layer3+4", "encap2+3", "encap3+4")
DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")
MILLISECONDS = 60_000


def host(variables: Mapping[str, object]) -> Host:
    """Read backend, bonds, bridges, dpdk and userland, each without the prefix of the role.

    Raises HostError: "kvm_host_bonds.bond0.miimon: expected a number from 0 to 60000, got 'fast'".
    """
    backend = choice(variables.get("backend", LINUX), f"{PREFIX}backend", BACKENDS)
    bonds = mapping(variables.get("bonds"), f"{PREFIX}bonds")
    bridges = mapping(variables.get("bridges"), f"{PREFIX}bridges")
    found = Host(
        backend,
        tuple(_bond(name, value, backend) for name, value in bonds.items()),
        tuple(_bridge(name, value) for name, value in bridges.items()),
        _dpdk(variables.get("dpdk")),
        flag(variables.get("userland", False), f"{PREFIX}userland"),
    )
    check.host(found)
    return found


def _words(cls: type) -> list[str]:
    """List the settings of a record: its fields, but for the name, which is the key."""
    return [item.name for item in fields(cls) if item.name != "name"]


def _default(cls: type, name: str) -> object:
    default = next(item.default for item in fields(cls) if item.name == name)
    return None if default is MISSING else default


def _bond(name: str, value: object, backend: str) -> Bond:
    path = f"{PREFIX}bonds.{name}"
    link(name, path)
    given = mapping(value, path, _words(Bond))
    get = {word: given.get(word, _default(Bond, word)) for word in _words(Bond)}
    nics = tuple(
        link(nic, f"{path}.interfaces[{index}]")
        for index, nic in enumerate(items(get["interfaces"], f"{path}.interfaces"))
    )
    if backend == OPENVSWITCH and (given.get("lacp_rate") or given.get("hash_policy")):
        word = "lacp_rate" if given.get("lacp_rate") else "hash_policy"
        raise HostError(f"{path}.{word}: is for kvm_host_backend linuxbridge only")
    if backend == LINUX and "lacp" in given:
        raise HostError(f"{path}.lacp: is for kvm_host_backend openvswitch only; here mode 802.3ad is LACP")
    return Bond(
        name,
        nics,
        choice(get["mode"], f"{path}.mode", MODES[backend]),
        miimon=number(get["miimon"], f"{path}.miimon", 0, MILLISECONDS),
        updelay=number(get["updelay"], f"{path}.updelay", 0, MILLISECONDS),
        downdelay=number(get["downdelay"], f"{path}.downdelay", 0, MILLISECONDS),
        primary=link(get["primary"], f"{path}.primary") if get["primary"] else "",
        lacp=choice(get["lacp"], f"{path}.lacp", LACP),
        lacp_rate=choice(get["lacp_rate"], f"{path}.lacp_rate", RATES) if get["lacp_rate"] else "",
        hash_policy=choice(get["hash_policy"], f"{path}.hash_policy", HASHES) if get["hash_policy"] else "",
        mtu=_mtu(get["mtu"], path),
    )


def _mtu(value: object, path: str) -> int:
    """Read an MTU: IPv6 wants 1280, and no NIC has more than 9216."""
    return number(value, f"{path}.mtu", 1280, 9216)


def _bridge(name: str, value: object) -> Bridge:
    path = f"{PREFIX}bridges.{name}"
    link(name, path)
    words = [*(word for word in _words(Bridge) if word != "gateways"), "gateway", "gateway6"]
    given = mapping(value, path, words)
    lists = {word: items(given.get(word), f"{path}.{word}") for word in ("addresses", "nameservers", "search")}

    def each(word: str) -> list[tuple[object, str]]:
        return [(item, f"{path}.{word}[{index}]") for index, item in enumerate(lists[word])]

    return Bridge(
        name,
        link(given["uplink"], f"{path}.uplink") if given.get("uplink") else "",
        number(given["vlan"], f"{path}.vlan", 1, 4094) if given.get("vlan") is not None else 0,
        tuple(interface(item, where) for item, where in each("addresses")),
        tuple(_gateway(given[word], f"{path}.{word}") for word in ("gateway", "gateway6") if given.get(word)),
        tuple(address(item, where) for item, where in each("nameservers")),
        tuple(match(item, where, DOMAIN, "a domain") for item, where in each("search")),
        flag(given.get("dhcp4", False), f"{path}.dhcp4"),
        flag(given.get("stp", False), f"{path}.stp"),
        _mtu(given.get("mtu", MTU), path),
    )


def _gateway(value: object, path: str) -> str:
    found = address(value, path)
    if (":" in found) != path.endswith("6"):
        raise complain(path, "an IPv6 address" if path.endswith("6") else "an IPv4 address", value)
    return found


def _dpdk(value: object) -> Dpdk:
    path = f"{PREFIX}dpdk"
    given = mapping(value, path, _words(Dpdk))
    memory = items(given.get("socket_mem"), f"{path}.socket_mem")
    ports = mapping(given.get("ports"), f"{path}.ports")
    wanted = "a mask such as 0x6, as a string"
    return Dpdk(
        flag(given.get("enabled", False), f"{path}.enabled"),
        tuple(number(item, f"{path}.socket_mem[{index}]", 0, 1 << 20) for index, item in enumerate(memory)),
        match(given["pmd_cpus"], f"{path}.pmd_cpus", MASK, wanted) if given.get("pmd_cpus") else "",
        match(given["lcore_cpus"], f"{path}.lcore_cpus", MASK, wanted) if given.get("lcore_cpus") else "",
        number(given.get("hugepages_2m", 0), f"{path}.hugepages_2m", 0, 1 << 24),
        number(given.get("hugepages_1g", 0), f"{path}.hugepages_1g", 0, 1 << 14),
        choice(given.get("driver", "vfio-pci"), f"{path}.driver", DRIVERS),
        tuple(_port(name, port) for name, port in ports.items()),
    )


def _port(name: str, value: object) -> DpdkPort:
    path = f"{PREFIX}dpdk.ports.{name}"
    link(name, path)
    given = mapping(value, path, _words(DpdkPort))
    return DpdkPort(
        name,
        link(given.get("bridge"), f"{path}.bridge"),
        match(given.get("device"), f"{path}.device", PCI, "a PCI address such as 0000:03:00.0"),
    )
