# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-boot, where the hypervisor leaves boot arguments to be read: Xen, VMware, Hyper-V, the kernel's line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Router

ARGUMENTS = "template=domP name=r-1-VM type=router eth0ip=10.1.1.1 vmpassword=s3cret"
INBOX = "/var/cache/cloud"
TAKEN = "/var/lib/cloudstack/channel-taken"
POWERED_OFF = "/var/lib/cloudstack/powered-off"
POOL = "/var/lib/hyperv/.kvp_pool_0"
HELD = {"config": {"type": "router", "eth0ip": "10.1.1.1"}}


def hypervisor(router: Router, name: str) -> None:
    router.put("/usr/bin/systemd-detect-virt", f"#!/bin/sh\necho {name}\n", 0o755)


def record(key: str, value: str) -> bytes:
    return key.encode().ljust(512, b"\0") + value.encode().ljust(2048, b"\0")


def by_kernel_line(router: Router, text: str) -> None:
    hypervisor(router, "none")
    router.put("/proc/cmdline", f"root=UUID=1 ro %{text.replace(' ', '%')} net.ifnames=0\n")


def by_store(router: Router, text: str) -> None:
    hypervisor(router, "xen")
    script = f'#!/bin/sh\n[ "$*" = vm-data/cloudstack/init ] && echo " {text}"\n'
    router.put("/usr/bin/xenstore-read", script, 0o755)


def by_machine_id(router: Router, text: str) -> None:
    hypervisor(router, "vmware")
    router.put("/usr/bin/vmtoolsd", f'#!/bin/sh\n[ "$*" = "--cmd machine.id.get" ] && echo "{text}"\n', 0o755)


def by_pool(router: Router, text: str) -> None:
    hypervisor(router, "microsoft")
    router.put(POOL, record("other", "type=nothing") + record("cloudstack-vm-userdata", text))


CHANNELS = [by_kernel_line, by_store, by_machine_id, by_pool]


@pytest.fixture
def bare(router: Router) -> Router:
    """Return a router that has booted for the first time, with its NIC and nothing else."""
    router.path("/sys/class/net/eth0").mkdir(parents=True)
    return router


def reboot(router: Router) -> None:
    """Do what a boot does to what is kept in memory; the databags are those of the arguments."""
    router.path("/run/cloudstack/configured").unlink()
    router.put("/etc/cloudstack/cmdline.json", json.dumps(HELD))


def taken(router: Router) -> list[list[str]]:
    """Return which drops each converge so far was asked to take."""
    return [call["values"]["vr_drops"] for call in router.calls()]


@pytest.mark.parametrize("channel", CHANNELS)
def test_arguments_of_each_channel_become_the_drop_of_one_converge(
    bare: Router, channel: Callable[[Router, str], None]
) -> None:
    channel(bare, ARGUMENTS)
    bare.plan({"record": None, "status": 1})
    assert bare.run("vr-boot").returncode == 1
    drop = json.loads(bare.path(f"{INBOX}/cmd_line.json").read_text())
    assert drop["cmd_line"] == dict(pair.split("=", 1) for pair in ARGUMENTS.split())
    assert bare.run("vr-boot").returncode == 0
    assert taken(bare)[-1] == ["cmd_line.json"]
    assert not bare.path(f"{INBOX}/cmdline").exists()


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_reboot_from_inside_finds_them_again_and_keeps_its_databags(
    bare: Router, channel: Callable[[Router, str], None]
) -> None:
    channel(bare, ARGUMENTS)
    bare.run("vr-boot")
    reboot(bare)
    assert bare.run("vr-boot").returncode == 0
    assert taken(bare) == [["cmd_line.json"], []]


def test_the_same_arguments_after_a_power_off_are_a_start(bare: Router) -> None:
    by_machine_id(bare, ARGUMENTS)
    bare.run("vr-boot")
    reboot(bare)
    bare.put(POWERED_OFF)
    bare.run("vr-boot")
    assert taken(bare) == [["cmd_line.json"]] * 2


def test_other_arguments_than_those_taken_are_a_start(bare: Router) -> None:
    by_store(bare, ARGUMENTS)
    bare.run("vr-boot")
    reboot(bare)
    by_store(bare, ARGUMENTS.replace("10.1.1.1", "10.1.1.2"))
    bare.run("vr-boot")
    assert taken(bare) == [["cmd_line.json"]] * 2


def test_arguments_that_no_converge_took_are_fetched_again(bare: Router) -> None:
    by_pool(bare, ARGUMENTS)
    bare.plan({"record": {"rc": 1, "reason": "disk full"}})
    assert bare.run("vr-boot").returncode == 1
    assert not bare.path(TAKEN).exists()
    assert bare.run("vr-boot").returncode == 0
    assert taken(bare)[-1] == ["cmd_line.json"]


def test_what_the_agent_has_written_comes_before_what_lies_in_a_channel(bare: Router) -> None:
    by_kernel_line(bare, ARGUMENTS)
    bare.put(f"{INBOX}/cmdline", ARGUMENTS.replace("r-1-VM", "r-2-VM"))
    bare.plan({"record": None, "status": 1})
    bare.run("vr-boot")
    assert json.loads(bare.path(f"{INBOX}/cmd_line.json").read_text())["cmd_line"]["name"] == "r-2-VM"


def test_what_was_taken_is_kept_as_a_digest_that_root_alone_reads(bare: Router) -> None:
    by_machine_id(bare, ARGUMENTS)
    bare.run("vr-boot")
    file = bare.path(TAKEN)
    assert "s3cret" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_without_a_router_says_nothing(bare: Router, channel: Callable[[Router, str], None]) -> None:
    channel(bare, "template=domP name=r-1-VM")
    assert bare.run("vr-boot").stdout == "boot: no boot arguments and no databags yet: nothing to configure\n"


@pytest.mark.parametrize("name", ["xen", "vmware", "microsoft", "podman"])
def test_a_hypervisor_that_was_told_nothing_is_no_failure(bare: Router, name: str) -> None:
    hypervisor(bare, name)
    for program in ("xenstore-read", "vmtoolsd"):
        bare.put(f"/usr/bin/{program}", "#!/bin/sh\nexit 1\n", 0o755)
    assert bare.run("vr-boot").returncode == 0
    assert bare.calls() == []


@pytest.mark.parametrize("content", [b"", b"x" * 3000, record("cloudstack-vm-userdata", "")[:-1]])
def test_a_damaged_pool_is_as_if_there_were_none(bare: Router, content: bytes) -> None:
    hypervisor(bare, "microsoft")
    bare.put(POOL, content)
    assert bare.run("vr-boot").returncode == 0
    assert bare.calls() == []
