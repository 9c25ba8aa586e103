# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two KVM hosts by role kvm_host: real systemd, netplan and Open vSwitch in userland, whose NICs are veth pairs.

Not a part of `make test`, for the image that it makes: `make kvm-hosts`. Kernels of the lab have no bonding, no VLANs
and no Open vSwitch, so it is the userland datapath that forwards.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.checks.tree import ROOT, link_collection
from tests.lab import debian
from tests.lab.access import private_key, public_key
from tests.lab.lab import Lab
from tests.lab.podman import INIT, TAG
from tests.lab.probes import PingStream, icmp_ping
from tests.lab.process import run, wait_for
from tests.lab.router import Router

IMAGE = f"localhost/cloudstack-kvm-host:{TAG}"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "iproute2", "iputils-ping"),
    *("kmod", "procps", "udev", "netplan.io", "openvswitch-switch"),
)
# There is no udev in a container. systemd-networkd takes a read-only /sys for the sign of that.
NO_UDEV = r'mkdir -p "$1"/etc/systemd/system/systemd-networkd.service.d; printf "[Service]\nReadOnlyPaths=/sys\n" > '
NO_UDEV += '"$1"/etc/systemd/system/systemd-networkd.service.d/lab.conf'
PEER = "192.168.100.1"
HOSTS = {"kvm1": 21, "kvm2": 22}
PLAY = [{"hosts": "all", "gather_facts": False, "roles": ["cloudstack.virtual_router.kvm_host"]}]
BACK_AFTER = 60
TIMER = "cloudstack-kvm-back.timer"
FILE = "/etc/netplan/60-cloudstack-kvm.yaml"
INSTALLED = "/etc/netplan/50-installer.yaml"
INSTALLER = "network: {{version: 2, ethernets: {{eth0: {{addresses: [{address}/24]}}}}}}\n"
RECAP = re.compile(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", re.MULTILINE)


def variables(name: str, nics: Sequence[str]) -> dict[str, Any]:
    """Return what the role is told: an untagged bridge and VLAN 100 on a bond."""
    number = HOSTS[name]
    return {
        "kvm_host_backend": "openvswitch",
        "kvm_host_userland": True,
        "kvm_host_bonds": {"bond0": {"interfaces": list(nics), "primary": nics[0]}},
        "kvm_host_bridges": {
            "cloudbr0": {"uplink": "bond0", "addresses": [f"192.168.100.{number}/24"]},
            "cloudbr100": {"uplink": "bond0", "vlan": 100, "addresses": [f"10.0.100.{number}/24"]},
        },
        "kvm_host_probe": [PEER],
        "kvm_host_rollback_seconds": BACK_AFTER,
    }


def make_image() -> None:
    """Make the image of a host as an installer leaves it, with what the role would install; kept between runs."""
    if run("podman", "image", "exists", IMAGE, check=False).returncode == 0:
        return
    tar = ROOT / "build" / "image" / "kvm-host.tar"
    tar.parent.mkdir(parents=True, exist_ok=True)
    hooks = ('rm -f "$1"/etc/ssh/ssh_host_*', ': > "$1"/etc/machine-id', NO_UDEV)
    debian.make_root(tar, PACKAGES, hooks)
    change = ("--change", f"CMD {INIT}", "--change", "STOPSIGNAL SIGRTMIN+3")
    run("podman", "import", "--quiet", *change, tar, IMAGE, timeout=300)
    tar.unlink()


class Cloud:
    """Two hosts as an installer leaves them, and a peer beside them, from where Ansible comes by ssh."""

    def __init__(self, lab: Lab, place: Path) -> None:
        """Wire them: two NICs in one segment, and two that lead nowhere."""
        self.lab, self.place = lab, place
        for segment in ("trunk", "nowhere"):
            lab.segment(segment)
        nics = {"eth0": "trunk", "eth1": "trunk", "eth2": "nowhere", "eth3": "nowhere"}
        for name in HOSTS:
            lab.router(name, None, {nic: (segment, lab.mac(name + nic)) for nic, segment in nics.items()})
        self.peer = lab.host("peer", "trunk", f"{PEER}/24")
        # A veth pair leaves sums of TCP to a NIC that is not there, and the userland datapath takes them as they are.
        self.peer.run("ethtool", "-K", "eth0", "tx", "off")

    def __getitem__(self, name: str) -> Router:
        """Return a host."""
        return self.lab.routers[name]

    def answers(self, name: str) -> bool:
        """Tell whether a host answers the peer."""
        return bool(icmp_ping(self.peer, address(name)))

    def install(self, name: str) -> None:
        """Leave a host as an installer does: an address on the first NIC, and sshd with its own keys."""
        host = self[name]
        host.wait_systemd()
        host.put(INSTALLED, INSTALLER.format(address=address(name)).encode(), 0o600)
        host.put("/root/.ssh/authorized_keys", public_key(self.lab.name), 0o600)
        host.shell("ssh-keygen -A && systemctl reset-failed && systemctl restart ssh && netplan apply")
        wait_for(lambda: self.answers(name), 20, f"the installer's address on {name}")

    def start(
        self, *options: str, nics: Sequence[str] = ("eth0", "eth1"), only: str = "kvm1:kvm2"
    ) -> subprocess.Popen[str]:
        """Begin a run of the role from the peer's network."""
        common = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        way = {"ansible_user": "root", "ansible_ssh_common_args": f"{common} -o ConnectTimeout=5"}
        way |= {"ansible_ssh_private_key_file": str(private_key(self.lab.name))}
        way |= {"ansible_python_interpreter": "/usr/bin/python3"}
        hosts = {name: {"ansible_host": address(name), **way, **variables(name, nics)} for name in HOSTS}
        (self.place / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        (self.place / "play.yml").write_text(json.dumps(PLAY), encoding="utf-8")
        program = Path(sys.executable).with_name("ansible-playbook")
        words: list[str | Path] = [
            program,
            "-i",
            self.place / "inventory.json",
            "--limit",
            only,
            *options,
            self.place / "play.yml",
        ]
        here = ["ip", "netns", "exec", self.peer.namespace]
        # Connections are kept below the place of this run: another lab's hosts have the same addresses.
        settings = {"COLLECTIONS_PATH": link_collection(), "PIPELINING": "true", "SSH_CONTROL_PATH_DIR": self.place}
        told = [f"ANSIBLE_{name}={value}" for name, value in settings.items()]
        return subprocess.Popen(
            [*here, "env", *told, *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def build(
        self, *options: str, nics: Sequence[str] = ("eth0", "eth1"), only: str = "kvm1:kvm2"
    ) -> tuple[int, str, dict[str, int]]:
        """Run the role; return its exit status, what it printed, and the count of changes by host."""
        with self.start(*options, nics=nics, only=only) as running:
            try:
                printed, _errors = running.communicate(timeout=400)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                raise
        changes = {name: int(count) for name, count, failed in RECAP.findall(printed) if failed == "0"}
        return running.returncode, printed, changes


def address(name: str) -> str:
    """Return the address by which Ansible comes to a host."""
    return f"192.168.100.{HOSTS[name]}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Return two machines of which an installer has configured the first NIC."""
    make_image()
    with Lab("kvm-hosts", image=IMAGE) as lab:
        found = Cloud(lab, tmp_path_factory.mktemp("kvm"))
        for name in HOSTS:
            found.install(name)
        yield found


def test_check_mode_shows_and_changes_nothing(cloud: Cloud) -> None:
    status, printed, _changes = cloud.build("--check", "--diff")
    assert status == 0, printed
    assert "+      - 192.168.100.21/24" in printed
    for name in HOSTS:
        assert is_as_installed(cloud[name])


def test_address_on_two_links_is_refused(cloud: Cloud) -> None:
    status, printed, _changes = cloud.build(nics=("eth2", "eth3"), only="kvm2")
    assert status != 0
    assert "192.168.100.22 is on eth0, which no bond and no bridge has" in printed
    assert is_as_installed(cloud["kvm2"])


def test_losing_the_way_in_is_refused(cloud: Cloud) -> None:
    elsewhere = {"cloudbr0": {"uplink": "bond0", "addresses": ["192.168.100.99/24"]}}
    status, printed, _changes = cloud.build("-e", json.dumps({"kvm_host_bridges": elsewhere}), only="kvm2")
    assert status != 0
    assert "comes by 192.168.100.22, and no bridge would have that address" in printed
    assert is_as_installed(cloud["kvm2"])


def test_wrong_uplink_comes_back_by_itself(cloud: Cloud) -> None:
    """The bond sends by a NIC that leads nowhere: nobody gets in, and the run says what became of it."""
    status, printed, _changes = cloud.build(nics=("eth2", "eth0"), only="kvm2")
    assert status != 0
    assert "the host has put its old configuration back" in printed or "unreachable=1" in printed, printed
    wait_for(lambda: cloud.answers("kvm2"), BACK_AFTER + 60, "the old configuration")
    wait_for(lambda: is_as_installed(cloud["kvm2"]), 20, "nothing but the old configuration")


def test_power_cut_does_not_keep_a_wrong_uplink(cloud: Cloud) -> None:
    """Ansible is killed, and the host loses its power, before anybody has got in again."""
    host = cloud["kvm2"]
    with cloud.start(nics=("eth2", "eth0"), only="kvm2") as running:
        wait_for(lambda: is_pending(host) and not cloud.answers("kvm2"), 300, "the wrong uplink")
        os.killpg(running.pid, signal.SIGKILL)
    host.power_off()
    host.start()
    wait_for(lambda: is_pending(host), BACK_AFTER, "the timer of the way back")
    assert host.exists(FILE)
    wait_for(lambda: cloud.answers("kvm2"), BACK_AFTER + 60, "the old configuration")
    wait_for(lambda: is_as_installed(host), 20, "nothing but the old configuration")


def is_pending(host: Router) -> bool:
    """Tell whether the old configuration is about to come back."""
    return host.exec("systemctl", "is-active", TIMER, check=False).stdout.strip() == "active"


def is_as_installed(host: Router) -> bool:
    """Tell whether nothing is left of the role's network, and nothing is about to change it."""
    files, bridges = host.shell("ls /etc/netplan").stdout.split(), host.exec("ovs-vsctl", "list-br").stdout
    armed = host.exec("systemctl", "is-enabled", TIMER, check=False).stdout.strip() == "enabled"
    return files == [Path(INSTALLED).name] and not bridges and not armed and not is_pending(host)


def test_hosts_reach_each_other_untagged_and_by_vlan(cloud: Cloud) -> None:
    status, printed, _changes = cloud.build()
    assert status == 0, printed
    assert cloud.answers("kvm1")
    for target in ("192.168.100.22", "10.0.100.22", PEER):
        assert icmp_ping(cloud["kvm1"], target)
    # What is tagged stays so: the peer, which is untagged, has no way to VLAN 100.
    cloud.peer.add_address("10.0.100.1/24")
    assert not icmp_ping(cloud.peer, "10.0.100.21")


def test_what_is_shown_is_what_the_articles_show(cloud: Cloud) -> None:
    host = cloud["kvm1"]
    assert host.exec("ovs-vsctl", "list-br").stdout.split() == ["cloudbr0", "cloudbr100"]
    assert host.exec("ovs-vsctl", "br-to-vlan", "cloudbr100").stdout.strip() == "100"
    shown = host.exec("ovs-appctl", "bond/show", "bond0").stdout
    assert "bond_mode: active-backup" in shown
    assert re.search(r"^(slave|member) eth0: enabled\n +active", shown, re.MULTILINE), shown
    assert "dhcp4: false" in host.read(FILE)
    assert not is_pending(host)
    assert host.exec("systemctl", "is-enabled", TIMER, check=False).stdout.strip() == "disabled"


def test_second_run_changes_nothing(cloud: Cloud) -> None:
    status, printed, changes = cloud.build()
    assert (status, changes) == (0, dict.fromkeys(HOSTS, 0)), printed


def test_bond_loses_a_second_at_most(cloud: Cloud) -> None:
    wire = f"{cloud.lab.port_number('kvm1', 'eth0')}.eth0"
    with PingStream(cloud.peer, "192.168.100.21") as stream:
        run("ip", "-n", cloud.lab.bridges, "link", "set", wire, "down")
        wait_for(lambda: "eth1: enabled\n  active" in bond(cloud), 10, "the other NIC at work")
        wait_for(lambda: cloud.answers("kvm1"), 10, "an answer")
    run("ip", "-n", cloud.lab.bridges, "link", "set", wire, "up")
    assert stream.longest_gap <= 1.0


def bond(cloud: Cloud) -> str:
    """Return what Open vSwitch says of the bond."""
    return cloud["kvm1"].exec("ovs-appctl", "bond/show", "bond0").stdout


def test_another_uplink_is_refused(cloud: Cloud) -> None:
    before = cloud["kvm1"].read(FILE)
    status, printed, _changes = cloud.build(nics=("eth1", "eth2"), only="kvm1")
    assert status != 0
    assert "kvm_host_bonds.bond0: netplan would leave eth0 on it" in printed
    status, printed, _changes = cloud.build(nics=("eth0", "eth9"), only="kvm1")
    assert status != 0
    assert "no NIC eth9 here" in printed
    assert cloud["kvm1"].read(FILE) == before


def test_run_ends_with_a_look_at_what_is_there(cloud: Cloud) -> None:
    cloud["kvm2"].exec("ip", "address", "delete", "10.0.100.22/24", "dev", "cloudbr100")
    status, printed, _changes = cloud.build(only="kvm2")
    assert status != 0
    assert "cloudbr100 has no address, and not 10.0.100.22/24" in printed


def test_network_is_there_after_a_reboot(cloud: Cloud) -> None:
    cloud["kvm1"].power_off()
    cloud["kvm1"].start()
    wait_for(lambda: cloud.answers("kvm1"), 60, "the network of before")
    cloud["kvm1"].wait_systemd(60)
    assert icmp_ping(cloud["kvm1"], "192.168.100.22")
    assert not is_pending(cloud["kvm1"])
