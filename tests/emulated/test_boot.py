# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The disk boots as the router of an isolated network, as a host of CloudStack starts it; nothing is restored here.

Its boot arguments come by the guest agent, and all that follows by ssh to port 3922, from the control network.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.emulated.machine import DISK, Machine
from tests.emulated.ssh import Ssh
from tests.emulated.test_patch import archive, bring, digest, version
from tests.lab.access import public_key
from tests.lab.lab import Lab
from tests.lab.probes import ask, tcp
from tests.lab.process import wait_for
from tests.scenarios import networks, states
from tests.scenarios.networks import ELSEWHERE, FIXTURES, INTERNET, Isolated

CONTROL = "169.254.7.7"
LIMIT = 360.0
"""Seconds of a processor from power to `boot_up_done`: what the two of a machine do in three minutes of emulation.

Not seconds of a clock: those grow with whatever else the machine does, for no fault of the router.
"""
GROWN = 6 << 30
FED = ("ip_associations", "firewall_rules", "forwarding_rules")
"""The types of the drops of the fixtures that this router is sent: the least with which a packet enters."""


@dataclass
class Larger(Machine):
    """A machine whose disk is larger than the image, as that of another offering."""

    disk_bytes: int = GROWN


@dataclass(frozen=True)
class Booted:
    """The network of a router that has booted, what that took, and the way into it."""

    network: Isolated
    machine: Machine
    ssh: Ssh
    seconds: float
    processor_seconds: float


@pytest.fixture(scope="module")
def booted() -> Iterator[Booted]:
    with Lab("emulated-boot", kind=Larger) as lab:
        key = base64.b64encode(public_key(lab.name)).decode()
        started = time.monotonic()
        network = networks.fixture_network(lab, f" authorized_key={key}")
        machine = network.router
        assert isinstance(machine, Machine)
        machine.wait_boot()
        seconds = time.monotonic() - started
        yield Booted(network, machine, Ssh(network.management, CONTROL), seconds, machine.processor_seconds)


def test_it_boots_in_time_and_no_unit_fails(booted: Booted) -> None:
    print(f"booted after {booted.seconds:.0f} s, {booted.processor_seconds:.0f} s of a processor")
    state = booted.machine.wait_systemd()
    failed = booted.machine.exec("systemctl", "--failed", "--no-legend", "--plain").stdout
    assert (state, failed) == ("running", "")
    assert booted.processor_seconds <= LIMIT


def test_at_most_100_megabytes_of_memory_are_in_use(booted: Booted) -> None:
    text = booted.machine.read("/proc/meminfo")
    fields = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}
    used = (fields["MemTotal"] - fields["MemAvailable"]) / 1024
    print(f"{used:.0f} MB of {fields['MemTotal'] / 1024:.0f} are in use")
    assert used <= 100


def test_the_root_has_grown_to_the_end_of_its_disk(booted: Booted) -> None:
    size = int(booted.machine.exec("df", "--output=size", "--block-size=1", "/").stdout.split()[1])
    # What the file system needs for itself.
    assert size > 0.95 * GROWN
    assert booted.machine.exec("swapon", "--show=NAME", "--noheadings").stdout.strip() == "/swapfile"


def test_names_and_keys_are_its_own(booted: Booted) -> None:
    """What the first boot makes is not in the image: test_disk.py looks there."""
    assert re.fullmatch(r"[0-9a-f]{32}\n", booted.machine.read("/etc/machine-id"))
    keys = booted.machine.shell("ls /etc/ssh/ssh_host_*_key").stdout.split()
    assert "/etc/ssh/ssh_host_ed25519_key" in keys
    made = booted.machine.exec("stat", "--format=%W", *keys).stdout.split()
    assert all(int(each) > DISK.stat().st_mtime for each in made), "host keys older than the image"


def test_sshd_takes_the_given_key_only_and_only_on_the_control_network(booted: Booted) -> None:
    assert booted.ssh.run("cat /etc/hostname").stdout.strip() == "r-7-VM"
    for options in (("-o", "PubkeyAuthentication=no"), ("-o", "IdentityFile=/dev/null")):
        refused = booted.ssh.run("true", *options, check=False)
        assert refused.returncode == 255
        assert "Permission denied (publickey)" in refused.stderr
    assert not ask(booted.network.vms["web"], tcp("10.7.0.1", 3922))
    assert not ask(booted.network.internet[INTERNET], tcp("192.0.2.20", 3922))


def test_a_drop_over_ssh_lets_a_packet_in(booted: Booted) -> None:
    internet = booted.network.internet[INTERNET]
    assert not ask(internet, tcp("192.0.2.20", 2222))
    directory = FIXTURES / "isolated"
    names = [name for name in states.ordered(directory) if name.split("-", 1)[1].startswith(FED)]
    bodies = [(name.split("-", 1)[1], (directory / name).read_bytes()) for name in names]
    booted.ssh.copy(states.aggregate(bodies), "/var/cache/cloud/VR-boot.cfg")
    booted.ssh.run("/opt/cloud/bin/vr_cfg.sh -c /var/cache/cloud/VR-boot.cfg")
    assert _enters(booted)


def _enters(booted: Booted) -> bool:
    """Tell whether the forward of the fixtures leads to VM web."""
    results = [ask(booted.network.internet[each], tcp("192.0.2.20", 2222)) for each in (INTERNET, ELSEWHERE)]
    return [(each.server, each.port) for each in results] == [("web", 22)] * 2


def test_the_version_line_names_the_archive_that_the_host_has_sent(booted: Booted) -> None:
    content = archive("sent")
    bring(booted.ssh, content)
    wait_for(lambda: version(booted.ssh).endswith(f"&{digest(content)}"), 60, "the digest of the archive")
    assert version(booted.ssh).startswith("Cloudstack Release 4.")


def test_off_and_on_again_keeps_the_router(booted: Booted) -> None:
    """The power button, and a start without a management server: closed while it waits for arguments, then open."""
    keys = booted.machine.read("/etc/ssh/ssh_host_ed25519_key.pub")
    booted.machine.stop()
    booted.machine.start()
    booted.machine.wait_boot()
    assert _enters(booted)
    assert booted.machine.read("/etc/ssh/ssh_host_ed25519_key.pub") == keys
