# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of the disk of a machine can be judged without building one: its partitions, its boot loader, its OVA."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from image.machine import disk, formats, tree
from tests.lab.process import run

SECONDS = 1_700_000_000
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the disks of two equal trees, whose files were made in another order."""
    made = []
    for names in (("one", "two"), ("two", "one")):
        home = tmp_path_factory.mktemp("machine")
        for name in names:
            (home / "tree" / "etc").mkdir(parents=True, exist_ok=True)
            (home / "tree" / "etc" / name).write_text(name)
        tree._date(home / "tree", SECONDS)
        disk.write(home / "tree", home / "disk.raw", SECONDS)
        made.append(home / "disk.raw")
    return made[0], made[1]


def test_two_disks_of_equal_trees_have_the_same_bytes(small: tuple[Path, Path]) -> None:
    assert formats.sha256(small[0]) == formats.sha256(small[1])


def test_the_root_is_the_last_partition_and_active(small: tuple[Path, Path]) -> None:
    table = json.loads(run("sfdisk", "--json", small[0]).stdout)["partitiontable"]
    assert [each["type"] for each in table["partitions"]] == ["ef", "83"]
    assert (table["partitions"][1]["start"], table["partitions"][1]["bootable"]) == (disk.ROOT_START, True)


def test_a_bios_and_an_efi_find_grub(small: tuple[Path, Path]) -> None:
    with small[0].open("rb") as file:
        first = file.read(2 * disk.SECTOR)
    assert first[:2] == b"\xeb\x63"  # a jump over the parameters of the BIOS
    assert first[510:512] == b"\x55\xaa"
    assert any(first[disk.SECTOR :])
    place = f"{small[0]}@@{disk.EFI_START * disk.SECTOR}"
    assert "BOOTX64" in run("mdir", "-i", place, "::/EFI/BOOT").stdout


def test_the_settings_of_the_boot_name_the_root_that_is_made() -> None:
    for name in ("etc/fstab", "boot/grub/grub.cfg"):
        assert disk.ROOT_UUID in (tree.HERE / "root" / name).read_text(encoding="utf-8")


def test_an_ova_has_its_ovf_first_and_names_the_disk_rightly(tmp_path: Path) -> None:
    vmdk = tmp_path / "router.vmdk"
    vmdk.write_bytes(b"disk" * 1000)
    formats.pack(vmdk, 5 << 30)
    with tarfile.open(tmp_path / "router.ova") as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "out", filter="data")
    assert names == ["router.ovf", "router.mf", "router.vmdk"]
    envelope = ElementTree.parse(tmp_path / "out" / "router.ovf").getroot()  # noqa: S314  # written a moment ago
    file, shown = envelope.find(f".//{OVF}File"), envelope.find(f".//{OVF}Disk")
    assert file is not None
    assert shown is not None
    assert (file.get(f"{OVF}href"), file.get(f"{OVF}size")) == ("router.vmdk", "4000")
    assert (shown.get(f"{OVF}fileRef"), shown.get(f"{OVF}capacity")) == (file.get(f"{OVF}id"), str(5 << 30))
    expected = [
        f"SHA256({name})= {hashlib.sha256((tmp_path / 'out' / name).read_bytes()).hexdigest()}" for name in names
    ]
    assert (tmp_path / "out" / "router.mf").read_text().splitlines() == [expected[0], expected[2]]


def test_a_kernel_that_changes_asks_for_the_machine_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("install.sh", "debian-packages.txt"):
        (tmp_path / name).write_text("one")
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(tree, "HERE", tmp_path)
    before = tree.machine_digest("provisioned")
    assert tree.machine_digest("provisioned") == before
    assert tree.machine_digest("other") != before
    (tmp_path / "root" / "added").write_text("")
    assert tree.machine_digest("provisioned") != before


def test_comments_are_no_packages() -> None:
    assert "linux-image-amd64" in tree.packages()
    assert not [name for name in tree.packages() if " " in name or name.startswith("#")]
