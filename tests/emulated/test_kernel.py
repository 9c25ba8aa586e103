# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel of the disk has what routers need and containers on a foreign kernel do not: drivers and protocols."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulated.restored import Restored
from tests.lab.lab import Lab
from tests.lab.router import Router

PROTOCOLS = (
    *("esp4", "esp6", "xfrm_user", "xfrm_interface", "ppp_generic", "ppp_mppe", "l2tp_ppp", "wireguard"),
    *("8021q", "bonding", "openvswitch", "nf_flow_table", "nf_conntrack", "nf_nat_ftp", "nf_nat_tftp", "nf_nat_sip"),
    *("nf_nat_pptp", "nf_nat_h323", "macvlan", "tcp_diag", "ip_vti", "vrf", "dummy"),
)
"""Load on any machine."""
DRIVERS = (
    *("virtio_net", "virtio_blk", "virtio_scsi", "vmxnet3", "vmw_pvscsi", "mptspi", "e1000", "e1000e", "8139cp"),
    *("hv_netvsc", "hv_storvsc", "hv_utils", "xen-netfront", "xen-blkfront", "ahci", "nvme", "ata_piix"),
)
"""Are there with all they need; they load where their device is."""
DISKS = (
    *("virtio_blk", "virtio_scsi", "vmw_pvscsi", "mptspi", "hv_storvsc", "xen-blkfront", "ahci", "ata_piix", "nvme"),
    "ext4",
)
"""Are needed before the root is there."""
# What each protocol is tried by, in a network namespace of its own: the kernel takes it, or the line fails.
TRIED = {
    "VLAN": "ip link add base type dummy && ip link add link base name base.7 type vlan id 7",
    "bond": "ip link add bond7 type bond mode active-backup",
    "WireGuard": "ip link add wg7 type wireguard",
    "L2TP": "ip l2tp add tunnel tunnel_id 7 peer_tunnel_id 7 encap ip local 127.0.0.1 remote 127.0.0.1"
    " && ip l2tp add session tunnel_id 7 session_id 7 peer_session_id 7",
    "ESP": "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 7 mode tunnel"
    " aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128",
    "ESP, as old peers want it": "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 8 mode tunnel"
    " enc 'cbc(aes)' 0x0102030405060708090a0b0c0d0e0f10 auth 'hmac(sha1)' 0x0102030405060708090a0b0c0d0e0f1011121314",
    "flow table": "nft add table inet t && nft 'add flowtable inet t f { hook ingress priority 0; }'"
    " && nft 'add chain inet t c { type filter hook forward priority 0; }' && nft add rule inet t c meta l4proto tcp"
    " flow add @f",
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Router]:
    """Return a machine that nobody has configured."""
    with Lab("emulated-kernel", kind=Restored) as lab:
        yield lab.router("plain")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_protocol_loads(machine: Router, name: str) -> None:
    machine.exec("modprobe", name)


def test_each_driver_is_there_with_all_it_needs(machine: Router) -> None:
    failed = [name for name in DRIVERS if machine.exec("modprobe", "--dry-run", name, check=False).returncode]
    assert failed == []


def test_the_root_is_found_by_each_hypervisors_driver(machine: Router) -> None:
    # Not by the link in /, which zstd(1) does not follow.
    listed = machine.shell("lsinitramfs /boot/initrd.img-*").stdout
    assert [name for name in DISKS if f"/{name}.ko" not in listed] == []


@pytest.mark.parametrize("name", TRIED)
def test_the_kernel_takes_each_protocol(machine: Router, name: str) -> None:
    machine.exec("ip", "netns", "add", "tried")
    try:
        machine.exec("ip", "netns", "exec", "tried", "sh", "-c", f"set -e; ip link set lo up; {TRIED[name]}")
    finally:
        machine.exec("ip", "netns", "delete", "tried")


def test_ppp_has_its_device(machine: Router) -> None:
    machine.exec("modprobe", "ppp_generic")
    assert machine.exec("stat", "--format=%F", "/dev/ppp").stdout.strip() == "character special file"
