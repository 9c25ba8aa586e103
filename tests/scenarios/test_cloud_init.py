# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian's cloud-init with its CloudStack datasource: VMs boot from what the router tells them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import guest
from tests.lab.guest import Guest
from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.lab.topologies import ISOLATED_CMDLINE, ISOLATED_NICS
from tests.scenarios import drops, shared, states

ROUTER = "10.1.1.1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExhYg someone@example.test"
USER_DATA = b"""#cloud-config
write_files:
  - {path: /root/blob, encoding: b64, content: AAECgP8=}
runcmd: [[touch, /root/ran]]
"""
LOGIN = """
import crypt, spwd, sys
known = spwd.getspnam("debian").sp_pwdp
print(crypt.crypt(sys.argv[1], known) == known)
"""
# How cloud-init finds the router: what is done between DHCP and its start, and what it says then (I4).
WAYS = {
    "by-name": ("", "Found metadata server '10.1.1.1' via data-server DNS entry"),
    "by-lease": ("echo 'nameserver 127.0.0.1' >/etc/resolv.conf", "Found DHCP identifier 10.1.1.1"),
    "by-gateway": (
        "echo 'nameserver 127.0.0.1' >/etc/resolv.conf; pkill dhclient; rm /var/lib/dhcp/*.leases",
        "Found default route, gateway is 10.1.1.1",
    ),
}
VMS = {way: (f"10.1.1.{21 + at}", f"02:01:00:00:00:{21 + at}") for at, way in enumerate(WAYS)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a router with three VMs that were never switched on."""
    with Lab("cloud-init") as made, ThreadPoolExecutor() as pool:
        image = pool.submit(guest.image)
        for _nic, (segment, _mac) in ISOLATED_NICS.items():
            made.segment(segment)
        router = made.router("r1", ISOLATED_CMDLINE, ISOLATED_NICS)
        for name, (_address, mac) in VMS.items():
            made.host(name, "guest", mac=mac)
        router.wait_boot()
        image.result()
        states.change(router, *(drop for name in VMS for drop in told(name)))
        yield made


def told(name: str) -> list[drops.Drop]:
    """Return what the management server says about a VM before it starts it."""
    address, mac = VMS[name]
    keys = {"instance_id": f"i-{name}", "vm_id": f"i-{name}", "local_hostname": name, "public_keys": KEY}
    data = shared.data(address, USER_DATA, availability_zone="zone-1", **keys)
    entry = {**drops.vm(name, mac, address), "dns_addresses": ROUTER, "default_gateway": ROUTER}
    return [entry, data, shared.password(address, f"s3cret of {name}")]


@pytest.mark.parametrize("way", WAYS)
def test_a_vm_boots_with_its_name_key_user_data_and_password(lab: Lab, way: str) -> None:
    """I3, I4: the datasource asks for paths with and without a slash, at the address that it finds by itself."""
    between, finding = WAYS[way]
    with Guest(lab.hosts[way]) as vm:
        vm.boot(between)
        log = vm.read("/var/log/cloud-init.log")
        assert finding in log
        assert not [line for line in log.splitlines() if "url_helper.py[WARNING]" in line], "every request succeeds"
        status = json.loads(vm.read("/run/cloud-init/instance-data.json"))
        assert status["v1"]["platform"] == status["v1"]["cloud_name"] == "cloudstack"
        assert (status["v1"]["instance_id"], status["v1"]["availability_zone"]) == (f"i-{way}", "zone-1")
        assert vm.read("/etc/hostname") == f"{way}\n"
        assert KEY in vm.read("/home/debian/.ssh/authorized_keys")
        assert vm.run("od", "-An", "-tx1", "/root/blob").split() == ["00", "01", "02", "80", "ff"]
        vm.run("test", "-e", "/root/ran")
        assert takes(vm, f"s3cret of {way}")
    assert_consumed(lab.routers["r1"], VMS[way][0])


def takes(vm: Guest, password: str) -> bool:
    """Tell whether the user of a VM can log in with a password."""
    return vm.run("python3", "-W", "ignore", "-c", LOGIN, password) == "True\n"


def assert_consumed(router: Router, address: str) -> None:
    """Fail unless the router has been told that the password arrived."""
    folders = ("waiting", "consumed")
    found = {name: router.shell(f"ls /var/lib/cloudstack-passwords/{name}").stdout for name in folders}
    assert [address in found[name] for name in folders] == [False, True]
