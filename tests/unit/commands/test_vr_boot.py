# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-boot."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router


LINE = (
    " template=domP name=r-1-VM type=router eth0ip=10.1.1.1 eth1ip=169.254.3.1 eth2ip6=fd00::1 authorized_key=YWI= \n"
)
INBOX = "/var/cache/cloud"


@pytest.fixture
def wired(router: Router) -> Router:
    """Return a router whose three NICs are there, and whose command line is old enough to be complete."""
    for name in ("eth0", "eth1", "eth2"):
        router.path(f"/sys/class/net/{name}").mkdir(parents=True)
    bring(router, LINE)
    return router


def bring(router: Router, line: str, age: float = 10.0) -> None:
    file = router.put(f"{INBOX}/cmdline", line)
    os.utime(file, (time.time() - age,) * 2)


def shorten(router: Router, constant: str, seconds: float) -> None:
    """Make a router less patient than a real one."""
    module = router.library("boot")
    text, count = re.subn(rf"^{constant} = .*$", f"{constant} = {seconds}", module.read_text(), flags=re.MULTILINE)
    assert count == 1
    module.write_text(text)


def done(router: Router) -> bool:
    return router.path(f"{INBOX}/boot_up_done").exists()


def test_the_command_line_becomes_the_drop_of_one_converge(wired: Router) -> None:
    wired.plan({"write": {"/copy": ""}})
    result = wired.run("vr-boot")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "boot: cmd_line.json: firewall (0.50 s)\n"
    (call,) = wired.calls()
    assert call["values"] == {"vr_drops": ["cmd_line.json"], "vr_keep": True}
    assert "cmd_line.json" in call["inbox"]
    assert done(wired)


def test_the_drop_holds_whole_values_and_only_root_reads_it(wired: Router) -> None:
    wired.plan({"record": None, "status": 1})
    assert wired.run("vr-boot").returncode == 1
    drop = wired.path(f"{INBOX}/cmd_line.json")
    content = json.loads(drop.read_text())
    assert content["type"] == "cmdline"
    assert content["cmd_line"]["authorized_key"] == "YWI="
    assert content["cmd_line"]["type"] == "router"
    assert drop.stat().st_mode & 0o777 == 0o600


def test_a_command_line_that_was_taken_is_gone_so_that_the_path_unit_rests(wired: Router) -> None:
    wired.run("vr-boot")
    assert not wired.path(f"{INBOX}/cmdline").exists()
    assert not wired.path(f"{INBOX}/cmd_line.json").exists()


def test_a_failed_converge_keeps_the_command_line_and_the_boot_is_not_done(wired: Router) -> None:
    wired.put(f"{INBOX}/boot_up_done")
    wired.plan({"record": {"rc": 1, "reason": "disk full"}})
    assert wired.fails("vr-boot") == "boot: disk full"
    assert wired.path(f"{INBOX}/cmdline").exists()
    assert not done(wired)
    assert wired.run("vr-boot").returncode == 0
    assert done(wired)


def test_boot_is_not_done_while_it_is_running(wired: Router) -> None:
    wired.put(f"{INBOX}/boot_up_done")
    wired.run("vr-boot")
    assert "boot_up_done" not in wired.calls()[0]["inbox"]


def test_a_reboot_converges_from_the_databags_alone(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.put("/etc/cloudstack/cmdline.json", json.dumps({"id": "cmdline", "config": {"eth0ip": "10.1.1.1"}}))
    assert wired.run("vr-boot").returncode == 0
    assert wired.calls()[0]["values"] == {"vr_drops": [], "vr_keep": True}
    assert done(wired)


def test_a_drop_that_somebody_else_left_is_taken_without_a_command_line(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.drop("cmd_line.json", '{"type":"cmdline","cmd_line":{"type":"router"}}')
    assert wired.run("vr-boot").returncode == 0
    assert wired.calls()[0]["values"]["vr_drops"] == ["cmd_line.json"]


def test_nothing_to_configure_is_no_failure_and_no_boot(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    assert wired.run("vr-boot").returncode == 0
    assert wired.calls() == []
    assert not done(wired)


def test_a_line_that_is_written_while_we_look_is_waited_for(wired: Router) -> None:
    bring(wired, "", age=0)
    running = wired.start("vr-boot")
    time.sleep(0.3)
    bring(wired, LINE, age=0)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    assert out.startswith("boot: cmd_line.json:")


def test_a_line_that_stays_empty_is_a_failure(wired: Router) -> None:
    bring(wired, " \n")
    shorten(wired, "WRITER_PATIENCE", 1)
    assert wired.fails("vr-boot") == "boot: cmdline: empty or still being written after 1 s"
    assert wired.calls() == []


def test_a_line_that_changes_during_the_converge_is_taken_too(wired: Router) -> None:
    wired.plan({"write": {f"{INBOX}/cmdline": LINE.replace("r-1-VM", "r-2-VM")}})
    assert wired.run("vr-boot").returncode == 0
    assert [call["values"]["vr_drops"] for call in wired.calls()] == [["cmd_line.json"]] * 2
    assert not wired.path(f"{INBOX}/cmdline").exists()


@pytest.mark.parametrize("line", ["template=domP name=r-1-VM", "\xff\xfe"])
def test_a_line_that_is_no_command_line_of_a_router_is_one_line(wired: Router, line: str) -> None:
    file = wired.put(f"{INBOX}/cmdline", line.encode("latin-1"))
    os.utime(file, (1, 1))
    assert wired.fails("vr-boot").startswith("boot: cmdline: ")
    assert wired.calls() == []


def test_a_failure_has_its_priority_in_the_journal(wired: Router) -> None:
    wired.plan({"record": {"rc": 1, "reason": "disk full"}})
    assert wired.run("vr-boot", env={"JOURNAL_STREAM": "8:1"}).stderr == "<3>boot: disk full\n"


def test_nics_of_the_command_line_are_waited_for(wired: Router) -> None:
    nic = wired.path("/sys/class/net/eth2")
    nic.rmdir()
    running = wired.start("vr-boot")
    time.sleep(0.5)
    assert wired.calls() == []
    nic.mkdir()
    assert running.wait(30) == 0
    assert len(wired.calls()) == 1
    running.communicate()


def test_a_nic_that_does_not_come_is_told_and_stops_nothing(wired: Router) -> None:
    wired.path("/sys/class/net/eth2").rmdir()
    shorten(wired, "NIC_PATIENCE", 1)
    result = wired.run("vr-boot")
    assert (result.returncode, result.stderr) == (0, "boot: not there after 1 s: eth2\n")
    assert done(wired)


def test_the_archive_of_scripts_is_signed_and_left_alone(wired: Router) -> None:
    archive = wired.put(f"{INBOX}/cloud-scripts.tgz", b"\x1f\x8b" * 100_000)
    wired.run("vr-boot")
    signature = wired.path(f"{INBOX}/cloud-scripts-signature")
    assert signature.read_text() == hashlib.sha512(archive.read_bytes()).hexdigest() + "\n"
    before = signature.stat().st_mtime_ns
    wired.put("/etc/cloudstack/cmdline.json", "{}")
    wired.run("vr-boot")
    assert signature.stat().st_mtime_ns == before


def test_the_archive_is_signed_even_before_there_is_a_command_line(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.put(f"{INBOX}/cloud-scripts.tgz", b"x")
    assert wired.run("vr-boot").returncode == 0
    assert wired.path(f"{INBOX}/cloud-scripts-signature").exists()


SIGNED = "/var/lib/cloudstack/scripts-signed"


@pytest.mark.parametrize(("contents", "before"), [((b"1",), None), ((b"1", b"2"), b"1"), ((b"1", b"2", b"2"), b"2")])
def test_the_digest_of_the_archive_before_is_kept_for_a_patch_that_is_refused(
    wired: Router, contents: tuple[bytes, ...], before: bytes | None
) -> None:
    for content in contents:
        wired.put(f"{INBOX}/cloud-scripts.tgz", content)
        wired.run("vr-boot")
        wired.run("vr-boot")
    assert wired.path(SIGNED).read_text() == signed(contents[-1])
    assert wired.path(f"{SIGNED}.before").read_text() == ("" if before is None else signed(before))


def signed(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest() + "\n"


RUN = "/run/cloudstack"
POWERED_OFF = "/var/lib/cloudstack/powered-off"


@pytest.fixture
def switched_on(wired: Router) -> Router:
    """Return a router that was powered off in good order, closed by vr-firewall, without boot arguments yet."""
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.put("/etc/cloudstack/cmdline.json", json.dumps({"id": "cmdline", "config": {"eth0ip": "10.1.1.1"}}))
    wired.put(POWERED_OFF)
    wired.put(f"{RUN}/closed")
    shorten(wired, "HOLD", 3)
    return wired


def mark(router: Router) -> str:
    """Return the mark of the boot arguments that a converge has failed to take."""
    found = json.loads(router.path(f"{INBOX}/cmd_line.json").read_text())
    assert found["type"] == "cmdline"
    return str(found["written"])


def test_a_router_that_was_powered_off_waits_for_arguments_before_it_serves_what_it_was(switched_on: Router) -> None:
    running = switched_on.start("vr-boot")
    time.sleep(1)
    assert switched_on.calls() == []
    assert switched_on.path(f"{RUN}/closed").exists()
    bring(switched_on, LINE)
    out, _err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "boot: it was powered off: waiting 3 s for boot arguments" in out
    assert [call["values"]["vr_drops"] for call in switched_on.calls()] == [["cmd_line.json"]]
    assert not switched_on.path(POWERED_OFF).exists()
    assert not switched_on.path(f"{RUN}/closed").exists()


def test_a_router_that_was_powered_off_and_gets_no_arguments_serves_what_it_was(switched_on: Router) -> None:
    """The hypervisor alone has switched it on (J1)."""
    started = time.monotonic()
    assert switched_on.run("vr-boot").returncode == 0
    assert time.monotonic() - started > 2.9
    assert [call["values"]["vr_drops"] for call in switched_on.calls()] == [[]]
    again = time.monotonic()
    assert switched_on.run("vr-boot").returncode == 0
    assert time.monotonic() - again < 2.5, "it waits once in a boot"
    assert not switched_on.path(POWERED_OFF).exists()


def test_a_converge_that_fails_does_not_end_the_wait_for_good(switched_on: Router) -> None:
    switched_on.plan({"record": {"rc": 1, "reason": "disk full"}})
    assert switched_on.run("vr-boot").returncode == 1
    assert switched_on.path(POWERED_OFF).exists(), "after a power cut now it must not open either"


def test_a_reboot_waits_for_nothing(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.put("/etc/cloudstack/cmdline.json", json.dumps({"id": "cmdline", "config": {}}))
    assert "waiting" not in wired.run("vr-boot").stdout


def test_each_writing_of_the_agent_has_a_mark_of_its_own(wired: Router) -> None:
    """The same bytes, written again, are another; the same writing, taken again, is not."""
    wired.plan(*[{"record": None, "status": 1}] * 3)
    wired.run("vr-boot")
    first = mark(wired)
    wired.run("vr-boot")
    assert mark(wired) == first
    bring(wired, LINE, age=20)
    wired.run("vr-boot")
    assert mark(wired) != first


def test_arguments_that_lie_there_at_the_boot_have_a_mark_too(wired: Router) -> None:
    wired.path(f"{INBOX}/cmdline").unlink()
    wired.drop("cmd_line.json", '{"type":"cmdline","cmd_line":{"type":"router"}}')
    wired.plan(*[{"record": None, "status": 1}] * 2)
    wired.run("vr-boot")
    first = mark(wired)
    wired.run("vr-boot")
    assert mark(wired) == first


def test_arguments_that_somebody_sends_to_a_configured_router_have_none(wired: Router) -> None:
    """They are changed by hand, and must not empty the databags."""
    wired.run("vr-boot")
    wired.drop("cmd_line.json", '{"type":"cmdline","cmd_line":{"type":"router"}}')
    wired.plan({"record": None, "status": 1})
    wired.run("vr-boot")
    assert "written" not in wired.path(f"{INBOX}/cmd_line.json").read_text()
