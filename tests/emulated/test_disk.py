# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is in the disk before anybody boots it, read by debugfs: nothing of whoever built it, and no secret."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from image.machine import disk, tree
from tests.emulated.machine import DISK
from tests.lab import debian
from tests.lab.process import run

RAW = DISK.with_suffix(".raw")
LOOKED_INTO = ("/etc", "/root", "/home", "/opt", "/srv", "/usr/local", "/usr/share/ansible", "/var")
PUBLIC = {"deb.debian.org", "security.debian.org", "pypi.org", "files.pythonhosted.org"}
"""Names that every machine with Debian or Python may say."""
# RFC 7468: the first line, and a body; programs that read keys have the line alone.
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=:, \r\n-]{100}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the parts of the disk where settings and secrets could lie."""
    target = tmp_path_factory.mktemp("disk")
    for place in LOOKED_INTO:
        (target / place.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        _debugfs(f"rdump {place} {(target / place.lstrip('/')).parent}")
    return target


def _debugfs(request: str) -> str:
    return run("debugfs", "-R", request, disk.root_of(RAW), timeout=120).stdout


def test_no_account_has_a_password(files: Path) -> None:
    lines = (files / "etc" / "shadow").read_text().splitlines()
    passwords = {line.split(":")[0]: line.split(":")[1] for line in lines}
    assert passwords["root"] in ("*", "!", "!*")
    assert {name for name, password in passwords.items() if password.strip("!*")} == set()
    # The day of a change would be that of the build.
    assert {line.split(":")[2] for line in lines} == {str(tree.source_date() // 86400)}


def test_nobody_may_log_in_and_no_private_key_is_there(files: Path) -> None:
    found = [path for path in _all(files) if path.name.startswith(("authorized_keys", "ssh_host_"))]
    found += [path for path in _all(files) if PRIVATE_KEY.search(path.read_bytes())]
    assert found == []


def test_what_makes_a_machine_itself_is_left_to_its_first_boot(files: Path) -> None:
    assert (files / "etc" / "machine-id").read_bytes() == b""
    absent = ("var/lib/systemd/random-seed", "var/lib/dbus/machine-id", "var/cache/cloud/cmdline")
    assert [name for name in absent if (files / name).exists()] == []
    assert list((files / "etc" / "cloudstack").glob("*.json")) == []
    assert list(_all(files / "var" / "log")) == []
    assert "/swapfile/" not in _debugfs("ls -p /")


def test_no_word_is_of_the_machine_that_built_it(files: Path) -> None:
    """Neither where its packages came from, nor where the checkout lay, in any byte of the disk."""
    words = {str(tree.ROOT), *_mirrors()}
    assert list((files / "etc/apt").glob("sources.list*/*")) == []
    assert not (files / "etc/apt/sources.list").exists()
    patterns = [word for each in sorted(words) for word in ("-e", each)]
    found = subprocess.run(
        ["grep", "--text", "--only-matching", "--fixed-strings", "--byte-offset", *patterns, str(RAW)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout[:2000]) == (1, "")


def _mirrors() -> set[str]:
    """Return the hosts that this machine's apt and pip ask, without those that everybody knows."""
    told = debian.debian_sources()
    told += "\n".join(line for line in run("apt-config", "dump").stdout.splitlines() if "::Proxy" in line)
    told += run(sys.executable, "-m", "pip", "config", "list").stdout
    hosts = {urlsplit(url).hostname or "" for url in re.findall(r"https?://[^\s\"';]+", told)}
    return {host for host in hosts if host and host not in PUBLIC}


def _all(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


def test_the_file_system_is_clean_and_says_the_time_of_the_source() -> None:
    run("e2fsck", "-f", "-n", disk.root_of(RAW), timeout=120)
    shown = run("dumpe2fs", "-h", disk.root_of(RAW)).stdout
    assert re.search(rf"^Filesystem UUID: +{disk.ROOT_UUID}$", shown, re.MULTILINE)
    when = tree.source_date()
    for name in ("/etc/passwd", "/etc/shadow", "/boot/grub/grub.cfg"):
        times = re.findall(r"(?:[acm]|cr)time: (0x[0-9a-f]+)", _debugfs(f"stat {name}"))
        assert len(times) == 4
        assert all(int(each, 16) <= when for each in times)
