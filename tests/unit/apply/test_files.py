# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import LiveFile
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File


def test_replace_makes_directories_and_sets_the_mode(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    files.replace(File(str(target), "text\n", 0o600))
    assert files.read(str(target)) == LiveFile("text\n", 0o600)
    assert os.listdir(target.parent) == ["file"], "the candidate is gone"


def test_replace_puts_a_new_file_in_place_of_the_old(tmp_path: Path) -> None:
    """Who reads meanwhile has the old file or the new one, never half of it."""
    target = tmp_path / "file"
    target.write_text("old")
    with target.open() as reader:
        files.replace(File(str(target), "new"))
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_replace_takes_a_link_away_and_leaves_what_it_points_to(tmp_path: Path) -> None:
    other, target = tmp_path / "other", tmp_path / "link"
    other.write_text("other")
    target.symlink_to(other)
    files.replace(File(str(target), "new"))
    assert not target.is_symlink()
    assert (other.read_text(), target.read_text()) == ("other", "new")


def test_candidate_does_not_follow_a_link(tmp_path: Path) -> None:
    """A link in the candidate's place could lead a secret elsewhere."""
    (tmp_path / "file.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        files.candidate(File(str(tmp_path / "file"), "secret", 0o600))
    assert not (tmp_path / "elsewhere").exists()


def test_candidate_is_not_readable_for_others_before_it_has_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made with the tightest mode, and gets the wanted one when it is written."""
    modes: list[int] = []
    opened = os.open

    def spy(path: str, flags: int, mode: int) -> int:
        modes.append(mode)
        return opened(path, flags, mode)

    monkeypatch.setattr(files.os, "open", spy)
    path = files.candidate(File(str(tmp_path / "file"), "text", 0o644))
    assert modes == [0o600]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def busy(_source: str, _target: str) -> None:
    """Refuse as the kernel does for a mount point."""
    raise OSError(errno.EBUSY, "Device or resource busy")


def test_replace_writes_a_mount_point_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's resolv.conf cannot be renamed over."""
    target = tmp_path / "resolv.conf"
    target.write_text("a longer text than the new one")
    inode = target.stat().st_ino
    monkeypatch.setattr(files.os, "rename", busy)
    files.replace(File(str(target), "new", 0o640))
    assert files.read(str(target)) == LiveFile("new", 0o640)
    assert target.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["resolv.conf"]


def test_replace_reports_every_other_failure(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.replace(File(str(tmp_path / "file"), "new"))
    assert os.listdir(tmp_path) == ["file"], "no candidate is left behind"


def test_read_all_leaves_missing_files_out(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"caf\xe9")
    found = files.read_all(str(tmp_path / name) for name in ("there", "not"))
    assert list(found) == [str(tmp_path / "there")]
    assert files.read(str(tmp_path / "not")) is None


def test_knobs_are_read_and_set(tmp_path: Path) -> None:
    path = str(tmp_path / "rp_filter")
    files.set_knob(path, "1")
    assert files.read_knobs([path, str(tmp_path / "absent")]) == {path: "1"}


def test_what_guards_the_boot_is_on_the_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after a rename may find an empty file, or none: the content first, then the name."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(source: str, target: str) -> None:
        assert Path(source).read_text() == "all of it\n"
        done.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    folder = tmp_path / "nftables"
    files.replace(File(str(folder / "ruleset.nft"), "all of it\n", durable=True))
    assert done == ["fsync ruleset.nft.new", "rename ruleset.nft", "fsync nftables"]
    done.clear()
    files.replace(File(str(folder / "other"), "all of it\n"))
    assert done == ["rename other"], "nothing else pays for it"


@pytest.mark.parametrize("thing", ["a link", "a directory", "a pipe", "too long"])
def test_what_is_no_file_is_absent_and_a_file_that_guards_the_boot_takes_its_place(tmp_path: Path, thing: str) -> None:
    path = tmp_path / "ruleset.nft"
    if thing == "a directory":
        path.mkdir()
        (path / "inside").touch()
    elif thing == "a pipe":
        os.mkfifo(path)
    elif thing == "too long":
        path.touch()
        os.truncate(path, files.MAX_BYTES + 1)
    else:
        (tmp_path / "other").write_text("other")
        path.symlink_to(tmp_path / "other")
    assert files.read(str(path)) is None
    files.replace(File(str(path), "ours\n", durable=True))
    assert files.read(str(path)) == LiveFile("ours\n", 0o644)
    if thing == "a directory":
        (aside,) = tmp_path.glob("ruleset.nft.aside-*")
        assert (aside / "inside").exists()


def test_half_a_file_does_not_stay_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _mode: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(File(str(tmp_path / "a"), "content"))
    assert list(tmp_path.iterdir()) == []
