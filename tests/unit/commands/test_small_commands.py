# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands that need no converge."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from .conftest import CHECKOUT, COLLECTION

if TYPE_CHECKING:
    from .conftest import Router

RELEASE = "Cloudstack Release 4.23.0 Wed Oct  1 10:00:00 UTC 2025"
INBOX = "/var/cache/cloud"


def booted(router: Router) -> None:
    router.put("/etc/cloudstack-release", RELEASE + "\n")
    router.put(f"{INBOX}/boot_up_done")


def test_get_template_version_prints_release_and_checksum(router: Router) -> None:
    booted(router)
    router.put(f"{INBOX}/cloud-scripts-signature", "0123456789abcdef0123456789abcdef\n")
    done = router.run("get_template_version.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{RELEASE}&0123456789abcdef0123456789abcdef\n"
    # How the management server reads it: two parts, and the version is the third word of the first.
    assert len(done.stdout.split("&")) == 2
    assert done.stdout.split("&")[0].split(" ")[2] == "4.23.0"


def test_get_template_version_without_a_checksum_still_has_two_parts(router: Router) -> None:
    booted(router)
    assert router.run("get_template_version.sh").stdout == f"{RELEASE}&\n"


def test_get_template_version_waits_for_the_boot(router: Router) -> None:
    booted(router)
    router.path(f"{INBOX}/boot_up_done").unlink()
    running = router.start("get_template_version.sh")
    time.sleep(0.5)
    assert running.poll() is None
    router.put(f"{INBOX}/boot_up_done")
    assert running.communicate(timeout=30)[0] == f"{RELEASE}&\n"


def test_get_template_version_of_a_router_that_does_not_boot_fails_after_240_s(router: Router) -> None:
    slept = router.path("/slept.txt")
    router.tool("sleep", f"echo $1 >>{slept}")
    assert "the boot is not done after 240 s" in router.fails("get_template_version.sh")
    seconds = sum(float(line) for line in slept.read_text().split())
    assert seconds == pytest.approx(240, abs=1)


@pytest.mark.parametrize("release", [None, ""])
def test_get_template_version_without_a_release_fails(router: Router, release: str | None) -> None:
    router.put(f"{INBOX}/boot_up_done")
    if release is not None:
        router.put("/etc/cloudstack-release", release)
    assert router.fails("get_template_version.sh") == "/etc/cloudstack-release: missing or empty"


def test_checkrouter_of_a_single_router_is_primary(router: Router) -> None:
    done = router.run("checkrouter.sh")
    assert (done.returncode, done.stdout) == (0, "Status: PRIMARY\n")


def test_bumpup_priority_of_a_single_router_is_nothing_to_do(router: Router) -> None:
    router.put("/etc/cloudstack/cmdline.json", '{\n  "config": {\n    "type": "router"\n  }\n}\n')
    for args in ((), ("null",)):
        done = router.run("bumpup_priority.sh", *args)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_patched_lists_the_files_that_are_there(router: Router) -> None:
    files = [str(router.put(f"/opt/cloud/bin/keystore-{name}")) for name in ("setup", "cert-import")]
    done = router.run("patched.sh", *files)
    assert done.returncode == 0
    assert all(file in done.stdout for file in files)


@pytest.mark.parametrize("args", [(), ("/opt/cloud/bin/keystore*",), ("/etc/passwd", "/nowhere")])
def test_patched_fails_unless_all_are_there(router: Router, args: tuple[str, ...]) -> None:
    router.fails("patched.sh", *args)


CLEAN = [
    "/root/diagnostics_files_20251001-101010.zip",
    "/tmp/a.txt",
    "/var/tmp/a",
    "/var/cache/cloud/diagnostics/a.log",
]


@pytest.mark.parametrize("path", CLEAN)
def test_cleanup_deletes_a_file(router: Router, path: str) -> None:
    file = router.put(path)
    done = router.run("cleanup.sh", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Deleting diagnostics zip file {path}\n", "")
    assert not file.exists()
    assert router.run("cleanup.sh", path).returncode == 0


DIRTY = ["/root/.ssh/authorized_keys", "/root/.bashrc", "/root/notes.txt", "/etc/passwd", "/tmp/../etc/passwd", "/tmp"]
DIRTY += [
    "/tmp/",
    "/",
    "",
    "a.zip",
    "./a.zip",
    "/tmp/x/y",
    "/tmp/*",
    "/tmp/a b",
    "/tmp/.x",
    "/root/a.zip/..",
    "/tmp/a\nb",
]
DIRTY += ["/etc/cloudstack/ips.json", "/var/cache/cloud/cmdline", "-rf"]


@pytest.mark.parametrize("path", DIRTY)
def test_cleanup_refuses_everything_else(router: Router, path: str) -> None:
    for precious in (
        "/etc/passwd",
        "/root/.ssh/authorized_keys",
        "/root/notes.txt",
        "/tmp/x/y",
        "/etc/cloudstack/ips.json",
    ):
        router.put(precious)
    before = sorted(str(file) for file in router.root.rglob("*"))
    done = router.run("cleanup.sh", path)
    assert done.returncode == 1
    assert sorted(str(file) for file in router.root.rglob("*")) == before


def test_cleanup_follows_no_link_and_deletes_no_directory(router: Router) -> None:
    target = router.put("/etc/passwd")
    link = router.put("/tmp/link")
    link.unlink()
    link.symlink_to(target)
    router.path("/tmp/folder").mkdir()
    assert router.fails("cleanup.sh", "/tmp/link").endswith("expected a regular file")
    assert router.fails("cleanup.sh", "/tmp/folder").endswith("expected a regular file")
    assert target.exists()
    assert link.is_symlink()


def test_cleanup_takes_one_path(router: Router) -> None:
    files = [router.put(path) for path in ("/tmp/a", "/tmp/b")]
    router.fails("cleanup.sh", "/tmp/a", "/tmp/b")
    router.fails("cleanup.sh")
    assert all(file.exists() for file in files)


def test_filesystem_check_writes_everywhere_and_leaves_nothing(router: Router) -> None:
    before = sorted(str(file) for file in router.root.rglob("*"))
    done = router.run("filesystem_writable_check.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "file system is writable\n", "")
    assert [
        file for file in sorted(str(file) for file in router.root.rglob("*")) if "__pycache__" not in file
    ] == before


@pytest.mark.parametrize("folder", ["/etc/cloudstack", "/var/cache/cloud", "/var/lib/cloudstack", "/root"])
def test_filesystem_check_tells_a_read_only_one(router: Router, namespaces: list[str], folder: str) -> None:
    check = router.path("/opt/cloud/bin/filesystem_writable_check.py")
    script = f"mount -t tmpfs -o ro none {router.path(folder)} && {check}"
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, f"Read-only file system: {folder}\n")


def test_filesystem_check_tells_a_full_one(router: Router, namespaces: list[str]) -> None:
    folder = router.path("/var/log/cloudstack")
    fill = f"mount -t tmpfs -o size=4k none {folder} && printf x >{folder}/x"
    script = f"{fill} && {router.path('/opt/cloud/bin')}/filesystem_writable_check.py"
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "No space left on device: /var/log/cloudstack\n")


def test_filesystem_check_tells_a_directory_that_is_not_there(router: Router) -> None:
    router.path("/etc/cloudstack").rmdir()
    done = router.run("filesystem_writable_check.py")
    assert (done.returncode, done.stdout) == (1, "No such file or directory: /etc/cloudstack\n")


def managing(router: Router) -> None:
    router.tool("systemctl", f'echo "$@" >>{router.path("/asked.txt")}')


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        ("restart haproxy", "--no-pager restart haproxy.service"),
        ("reload apache2.service", "--no-pager reload nginx.service"),
        ("restart sshd", "--no-pager restart ssh.service"),
        ("restart dnsmasq", "--no-pager restart dnsmasq@tier_10_1_1_0.service dnsmasq@tier_10_1_2_0.service"),
        ("start cloud-password-server", "--no-pager start cloudstack-passwords.service"),
    ],
)
def test_manage_service_acts(router: Router, args: str, asked: str) -> None:
    managing(router)
    for tier in ("tier_10_1_2_0", "tier_10_1_1_0"):
        router.path(f"/etc/dnsmasq.cloudstack/{tier}").mkdir(parents=True)
    done = router.run("manage_service.sh", *args.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert router.path("/asked.txt").read_text() == f"{asked}\n"


@pytest.mark.parametrize(
    "args", ["restart x", "stop keepalived;id", "stop sshd", "mask haproxy", "restart", "a b c", ""]
)
def test_manage_service_refuses_in_the_words_of_systemctl(router: Router, args: str) -> None:
    managing(router)
    done = router.run("manage_service.sh", *args.split())
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Failed to ")
    assert done.stdout.endswith(".service not found.\n")
    assert not router.path("/asked.txt").exists()
    if args == "restart x":
        assert done.stdout == "Failed to restart x.service: Unit x.service not found.\n"


def test_manage_service_has_a_primary_give_way_before_keepalived_is_stopped(router: Router) -> None:
    """It goes on as soon as it is no primary any more: in this copy its patience would outlast the test."""
    library = router.library("manage")
    library.write_text(library.read_text().replace("GIVING_WAY = 5.0", "GIVING_WAY = 600.0"))
    run = "/run/cloudstack/redundancy"
    router.put(f"{run}/state", "PRIMARY\n")
    mark = router.put(f"{run}/give_way", "0\n")
    router.tool("systemctl", f"cat {mark} >{router.path('/mark.txt')}")
    running = router.start("manage_service.sh", "stop", "keepalived")
    end = time.monotonic() + 30
    while mark.read_text() != "1\n" and time.monotonic() < end:
        time.sleep(0.01)
    assert running.poll() is None
    router.put(f"{run}/state", "BACKUP\n")
    assert running.wait(30) == 0
    assert router.path("/mark.txt").read_text() == "1\n"
    assert mark.read_text() == "0\n"


def test_cks_iso_without_a_drive_says_so(router: Router) -> None:
    library = router.library("cks_iso")
    library.write_text(library.read_text().replace("PATIENCE = 10.0", "PATIENCE = 0.1"))
    assert "no drive" in router.fails("cks_iso.sh", "true")
    assert router.run("cks_iso.sh", "false").returncode == 0
    assert "usage" in router.fails("cks_iso.sh", "maybe")


def test_cks_iso_follows_no_link_out_of_the_medium(router: Router) -> None:
    router.put("/dev/cdrom")
    router.tool("mount", f'echo "$@" >{router.path("/mount.txt")}')
    router.tool("systemctl", "exit 3")
    assert router.run("cks_iso.sh", "true").returncode == 0
    options = router.path("/mount.txt").read_text().split()[3].split(",")
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= set(options)
    config = router.path("/run/cloudstack/nginx/cks-iso.conf").read_text()
    assert "disable_symlinks   on from=/var/www/cks-iso;" in config


def test_monitor_results_of_a_fresh_router(router: Router) -> None:
    for args in ((), ("null",), ("false",)):
        done = router.run("getRouterMonitorResults.sh", *args)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == 'FAILING CHECKS:\nMONITOR RESULTS:\n{"basic":{},"advanced":{}}\n'
    assert "expected true or false" in router.fails("getRouterMonitorResults.sh", "maybe")


GOES_ON = """
import os, sys
place, other, root = sys.argv[1:]
sys.path.insert(0, os.path.realpath(f"{place}/lib"))
from vrlib import command
command.ROOT = root
command.use_collection()
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import errors
before = os.path.dirname(os.path.realpath(errors.__file__))
os.unlink(place)
os.symlink(other, place)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import phases
print(before == os.path.dirname(os.path.realpath(phases.__file__)))
"""


def test_a_command_goes_on_with_the_release_that_it_began_with(router: Router) -> None:
    """An upgrade changes the link that the collection is behind, at any moment."""
    place = router.path(f"/{COLLECTION}")
    first, second = place.with_name("first"), place.with_name("second")
    place.rename(first)
    shutil.copytree(first, second, symlinks=True)
    (second / "plugins").unlink()
    shutil.copytree(CHECKOUT / "plugins", second / "plugins")
    place.symlink_to(first)
    words = ["/usr/bin/python3", "-I", "-c", GOES_ON, place, second, router.root]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "True\n"
