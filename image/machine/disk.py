# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write a disk that boots, into a file: no loop device, no mount, and nothing is installed onto a device.

A table of partitions by sfdisk, the root by ``mke2fs -d``, GRUB by hand: ``boot.img`` is what the BIOS loads and it
loads the sector after it, where ``core.img`` lies in the gap before the first partition (GRUB's manual, "BIOS
installation"). The same GRUB as an EFI program lies in a partition of its own, for machines that have no BIOS.

The same tree gives the same bytes. mke2fs 1.47.0 takes ctime and atime of each file from the tree it reads, and no
option says otherwise, so debugfs sets them afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.lab.process import LabError, run

ROOT_UUID = "b7a4dd0e-3c61-4f0b-9d4c-6a55c1f5a7e2"
"""Of the root file system; root/etc/fstab and root/boot/grub/grub.cfg name it."""
DISK_ID = "0x63737672"
EFI_SERIAL = "63737672"
SECTOR = 512
SIZE = 5000 * 1024 * 1024
"""Bytes of the disk, as many as that of the system VM it stands for: CloudStack gives a router the template's size."""
EFI_START, EFI_SECTORS = 2048, 6144
ROOT_START = 8192
BOOT_CODE = 440
GRUB = Path("/usr/lib/grub")
MODULES = (
    *("part_msdos", "part_gpt", "ext2", "fat", "normal", "configfile", "linux", "search", "search_fs_uuid"),
    *("serial", "terminal", "echo", "test", "ls", "gzio"),
)
EARLY = f"search.fs_uuid {ROOT_UUID} root\nset prefix=($root)/boot/grub\nnormal\n"


def write(tree: Path, disk: Path, seconds: int) -> None:
    """Write the disk of a tree; ``seconds`` since 1970 is the time that the file system says of itself."""
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(seconds), "SOURCE_DATE_EPOCH": str(seconds)}
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(SIZE)
    table = f"label: dos\nlabel-id: {DISK_ID}\nunit: sectors\n"
    table += f"start={EFI_START}, size={EFI_SECTORS}, type=ef\nstart={ROOT_START}, type=83, bootable\n"
    run("sfdisk", "--quiet", disk, stdin=table)
    _write_root(tree, disk, environment)
    _write_grub(disk, disk.parent / "grub", environment)


def root_of(disk: Path) -> str:
    """Return how the tools of e2fsprogs are told of the root file system in a disk."""
    return f"{disk}?offset={ROOT_START * SECTOR}"


def _write_root(tree: Path, disk: Path, environment: dict[str, str]) -> None:
    offset = ROOT_START * SECTOR
    extended = f"offset={offset},hash_seed={ROOT_UUID},lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
    # GRUB 2.06 reads neither of these two.
    features = "^orphan_file,^metadata_csum_seed"
    words = ("-q", "-F", "-t", "ext4", "-m", "1", "-U", ROOT_UUID, "-L", "router", "-O", features, "-E", extended)
    _run(["mke2fs", *words, "-d", str(tree), str(disk), f"{(SIZE - offset) // 1024}k"], environment)
    when = environment["E2FSPROGS_FAKE_TIME"]
    commands = "".join(
        f"set_inode_field <{inode}> {field} @{when}\n" for inode in _inodes(disk) for field in ("ctime", "atime")
    )
    _run(["debugfs", "-w", "-f", "-", root_of(disk)], environment, commands)
    _run(["e2fsck", "-f", "-n", root_of(disk)], environment)


def _inodes(disk: Path) -> list[int]:
    """List the inodes of the root file system that are in use."""
    # LC_ALL: the words are looked for.
    text = _run(["dumpe2fs", root_of(disk)], {**os.environ, "LC_ALL": "C"})
    count = re.search(r"^Inode count:\s+(\d+)$", text, re.MULTILINE)
    if count is None:
        raise LabError("dumpe2fs does not say how many inodes there are")
    free: set[int] = set()
    for line in re.findall(r"^  Free inodes: (.*)$", text, re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
            free.update(range(int(first), int(last or first) + 1))
    # The first ten are the file system's own, and the journal's has no name.
    return [2, *(inode for inode in range(11, int(count[1]) + 1) if inode not in free)]


def _write_grub(disk: Path, work: Path, environment: dict[str, str]) -> None:
    work.mkdir(exist_ok=True)
    early, core, program = work / "early.cfg", work / "core.img", work / "BOOTX64.EFI"
    early.write_text(EARLY, encoding="ascii")
    for kind, target, more in (("i386-pc", core, ("biosdisk",)), ("x86_64-efi", program, ())):
        words = ("--format", kind, "--output", str(target), "--config", str(early), "--prefix", "/boot/grub")
        _run(["grub-mkimage", *words, *MODULES, *more], environment)
    boot = (GRUB / "i386-pc" / "boot.img").read_bytes()
    image = core.read_bytes()
    if len(image) > (EFI_START - 1) * SECTOR:
        raise LabError(f"GRUB's core.img has {len(image)} bytes: the gap before the first partition is too small")
    with disk.open("r+b") as file:
        file.write(boot[:BOOT_CODE])
        file.seek(SECTOR)
        file.write(image)
    _write_efi(disk, program, environment)


def _write_efi(disk: Path, program: Path, environment: dict[str, str]) -> None:
    """Write the partition that an EFI looks for its program in."""
    place = f"{disk}@@{EFI_START * SECTOR}"
    size = ("-T", str(EFI_SECTORS), "-h", "2", "-s", "32", "-H", str(EFI_START))
    _run(["mformat", "-i", place, "-N", EFI_SERIAL, *size, "::"], environment)
    _run(["mmd", "-i", place, "::/EFI", "::/EFI/BOOT"], environment)
    os.utime(program, (int(environment["SOURCE_DATE_EPOCH"]),) * 2)
    _run(["mcopy", "-i", place, "-m", str(program), "::/EFI/BOOT/BOOTX64.EFI"], environment)


def _run(command: list[str], environment: dict[str, str], stdin: str = "") -> str:
    """Run a command with an environment; return what it prints."""
    done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{command[0]}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
