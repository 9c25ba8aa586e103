# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import collection
from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.collection_archive import pack

TREE: collection.Tree = {"bin/run": (0o755, b"#!/bin/sh\n"), "README.md": (0o644, b"one\n")}


@pytest.fixture(name="dest")
def _dest(tmp_path: Path) -> str:
    return str(tmp_path / "parent" / "virtual_router")


def archive(tmp_path: Path, names: dict[str, bytes]) -> str:
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return str(path)


def test_what_is_packed_here_is_what_a_router_has(tmp_path: Path, dest: str) -> None:
    path = tmp_path / "packed"
    path.write_bytes(pack())
    tree = collection.read(str(path))
    assert tree["bin/update_config.py"][0] == 0o755
    assert "roles/system/files/etc/ansible/ansible.cfg" in tree
    assert not [name for name in tree if name.endswith(".pyc") or name.startswith(("tests", "build"))]
    old = os.umask(0o077)
    try:
        collection.exchange(tree, dest)
    finally:
        os.umask(old)
    assert collection.installed(dest) == tree
    assert Path(dest, "bin").stat().st_mode & 0o777 == 0o755


def test_an_exchange_leaves_nothing_of_the_former_release(dest: str) -> None:
    collection.exchange({**TREE, "roles/gone.yml": (0o644, b"")}, dest)
    before = os.stat(dest).st_ino
    collection.exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert os.stat(dest).st_ino != before, "exchanged, not written over"
    assert os.listdir(os.path.dirname(dest)) == ["virtual_router"]


def test_a_file_system_that_cannot_exchange_gets_the_release_too(dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collection.exchange({"old": (0o644, b"")}, dest)
    monkeypatch.setattr(collection, "RENAME_EXCHANGE", 0x4000)  # EINVAL
    collection.exchange(TREE, dest)
    assert collection.installed(dest) == TREE


def test_a_link_to_a_checkout_is_replaced_and_the_checkout_stays(dest: str, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/file").write_text("mine")
    os.mkdir(os.path.dirname(dest))
    os.symlink(tmp_path / "checkout", dest)
    collection.exchange(TREE, dest)
    assert not os.path.islink(dest)
    assert (tmp_path / "checkout/file").read_text() == "mine"


def test_what_a_run_that_was_killed_has_left_does_not_matter(dest: str) -> None:
    os.makedirs(f"{dest}.new/half")
    collection.exchange(TREE, dest)
    assert collection.installed(dest) == TREE


def test_bytecode_is_no_difference(dest: str) -> None:
    collection.exchange(TREE, dest)
    Path(dest, "bin/__pycache__").mkdir()
    Path(dest, "bin/__pycache__/run.pyc").write_bytes(b"")
    assert collection.installed(dest) == TREE


def test_differences_are_told_by_name() -> None:
    after = {"README.md": (0o644, b"two\n"), "new": (0o644, b"")}
    assert collection.differences(TREE, after) == ["! README.md", "- bin/run", "+ new"]


@pytest.mark.parametrize("name", ["/etc/shadow", "../outside", "bin/../../outside"])
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected files below the collection"):
        collection.read(archive(tmp_path, {name: b""}))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = Path(archive(tmp_path, {"file": b"x" * 100000}))
    whole.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(ValueError, match="archive"):
        collection.read(str(whole))
