# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The forms of the disk: each is whole, as large as the others, and says so rightly."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from image.machine import disk
from tests.emulated.machine import DISK
from tests.lab.process import run

HOME = DISK.parent
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
LIMIT = 350 << 20
"""Bytes of the qcow2, which is what most clouds download."""
FORMATS = {"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx"}


def _info(path: Path, kind: str) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(run("qemu-img", "info", "--output=json", "-f", kind, path).stdout)
    return parsed


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_form_has_the_size_of_the_disk(suffix: str) -> None:
    assert _info(DISK.with_suffix(f".{suffix}"), FORMATS[suffix])["virtual-size"] == disk.SIZE
    assert DISK.with_suffix(".raw").stat().st_size == disk.SIZE


def test_the_qcow2_is_whole_small_and_old_enough_for_every_host() -> None:
    run("qemu-img", "check", DISK)
    print(f"qcow2: {DISK.stat().st_size / 1e6:.0f} MB")
    assert DISK.stat().st_size <= LIMIT
    shown = _info(DISK, "qcow2")
    assert shown["format-specific"]["data"]["compat"] == "0.10"  # type: ignore[index]


def test_the_qcow2_has_the_bytes_of_the_raw_disk() -> None:
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", DISK.with_suffix(".raw"), DISK, timeout=120)


def test_the_ova_names_its_disk_with_size_capacity_and_digests(tmp_path: Path) -> None:
    with tarfile.open(DISK.with_suffix(".ova")) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    assert [Path(name).suffix for name in names] == [".ovf", ".mf", ".vmdk"]
    envelope = ElementTree.parse(tmp_path / names[0]).getroot()  # noqa: S314  # written by our own build
    file, shown = envelope.find(f".//{OVF}File"), envelope.find(f".//{OVF}Disk")
    assert file is not None
    assert shown is not None
    assert (file.get(f"{OVF}href"), file.get(f"{OVF}size")) == (names[2], str((tmp_path / names[2]).stat().st_size))
    assert (shown.get(f"{OVF}fileRef"), shown.get(f"{OVF}capacity")) == (file.get(f"{OVF}id"), str(disk.SIZE))
    digests = [(name, hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()) for name in (names[0], names[2])]
    assert (tmp_path / names[1]).read_text() == "".join(f"SHA256({name})= {digest}\n" for name, digest in digests)
    vmdk = _info(tmp_path / names[2], "vmdk")
    assert vmdk["virtual-size"] == disk.SIZE
    assert vmdk["format-specific"]["data"]["create-type"] == "streamOptimized"  # type: ignore[index]


def test_the_checksums_are_right() -> None:
    listed = (HOME / "SHA256SUMS").read_text().splitlines()
    assert {line.split()[1].split(".", 1)[1] for line in listed} == {
        *("raw", "qcow2", "ova", "vhd", "vhdx", "cdx.json", "packages")
    }
    run("sh", "-c", f"cd '{HOME}' && exec sha256sum --check --strict --quiet SHA256SUMS", timeout=120)


def test_the_bill_names_each_package_with_its_version() -> None:
    bill = json.loads((HOME / f"{DISK.stem}.cdx.json").read_text())
    names = {each["name"] for each in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX"
    assert {"linux-image-amd64", "qemu-guest-agent", "nftables", "ansible-core", "vici"} <= names
    assert all(each["version"] for each in bill["components"])
    lines = (HOME / f"{DISK.stem}.packages").read_text().splitlines()
    status = run("debugfs", "-R", "cat /var/lib/dpkg/status", disk.root_of(DISK.with_suffix(".raw"))).stdout
    assert len([line for line in lines if line.startswith("deb ")]) == status.count("\nStatus: install ok installed")
