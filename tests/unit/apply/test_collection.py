# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import fcntl
import io
import os
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import collection
from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.collection_archive import pack

TREE: collection.Tree = {"bin/run": (0o755, b"#!/bin/sh\n"), "README.md": (0o644, b"one\n")}


@pytest.fixture(name="dest")
def _dest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(collection, "QUEUE", str(tmp_path / "queue.lock"))
    return str(tmp_path / "parent" / "virtual_router")


def exchange(tree: collection.Tree, dest: str) -> None:
    collection.exchange(tree, dest, home(dest))


def home(dest: str) -> str:
    return str(Path(dest).parents[1] / "home")


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
    assert tree["libexec/vr-boot"][0] == 0o755
    assert {"lib/vrlib/command.py", "roles/system/files/etc/ansible/ansible.cfg"} <= tree.keys()
    assert not [name for name in tree if name.endswith(".pyc") or name.startswith(("tests", "build"))]
    old = os.umask(0o077)
    try:
        exchange(tree, dest)
    finally:
        os.umask(old)
    assert collection.installed(dest) == tree
    assert Path(dest, "bin").stat().st_mode & 0o777 == 0o755


def test_an_exchange_leaves_nothing_of_the_former_release_in_use(dest: str) -> None:
    exchange({**TREE, "roles/gone.yml": (0o644, b"")}, dest)
    exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert os.listdir(os.path.dirname(dest)) == ["virtual_router"]


def test_whoever_has_begun_with_a_release_goes_on_with_it_until_the_one_after_the_next(dest: str) -> None:
    trees = [{**TREE, "number": (0o644, str(number).encode())} for number in range(3)]
    exchange(trees[0], dest)
    first = os.path.realpath(dest)
    exchange(trees[1], dest)
    assert collection.installed(first) == trees[0]
    exchange(trees[2], dest)
    assert not os.path.exists(first)
    assert len(os.listdir(home(dest))) == 2


@pytest.mark.parametrize("option", [collection.RENAME_EXCHANGE, 0x4000], ids=["exchanges", "cannot: EINVAL"])
def test_a_directory_of_a_release_without_a_link_is_replaced(
    dest: str, monkeypatch: pytest.MonkeyPatch, option: int
) -> None:
    monkeypatch.setattr(collection, "RENAME_EXCHANGE", option)
    os.makedirs(f"{dest}/old")
    exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert os.listdir(os.path.dirname(dest)) == ["virtual_router"]
    assert [path.name for path in Path(home(dest)).glob("*/old")] == ["old"], "for whoever has begun with it"
    exchange(TREE, dest)
    exchange(TREE, dest)
    assert not list(Path(home(dest)).glob("*/old"))


def test_a_directory_on_another_file_system_than_the_releases_is_removed(
    dest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def within(source: str, target: str) -> None:
        if home(dest) in target:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        rename(source, target)

    monkeypatch.setattr(collection.os, "rename", within)
    os.makedirs(f"{dest}/old")
    exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert os.listdir(os.path.dirname(dest)) == ["virtual_router"]
    assert not list(Path(home(dest)).glob("*/old"))


def test_a_link_to_a_checkout_is_replaced_and_the_checkout_stays(dest: str, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/file").write_text("mine")
    os.mkdir(os.path.dirname(dest))
    os.symlink(tmp_path / "checkout", dest)
    exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert (tmp_path / "checkout/file").read_text() == "mine"


@pytest.mark.parametrize("left", ["a link", "a link to a directory", "a directory"])
def test_what_a_run_that_was_killed_has_left_does_not_matter(dest: str, left: str) -> None:
    os.makedirs(f"{home(dest)}/collection-half/bin")
    os.makedirs(os.path.dirname(dest))
    if left == "a directory":
        os.makedirs(f"{dest}.new/bin")
    else:
        os.symlink("/nowhere" if left == "a link" else home(dest), f"{dest}.new")
    exchange(TREE, dest)
    assert collection.installed(dest) == TREE
    assert len(os.listdir(home(dest))) == 1


def test_a_release_that_cannot_be_written_takes_no_space(dest: str) -> None:
    exchange(TREE, dest)
    before = os.listdir(home(dest))
    with pytest.raises(OSError, match="File name too long"):
        exchange({"first": (0o644, b"1"), "n" * 300: (0o644, b"")}, dest)
    assert os.listdir(home(dest)) == before
    assert collection.installed(dest) == TREE


def test_links_lead_to_the_release_in_use(dest: str, tmp_path: Path) -> None:
    links = {str(tmp_path / "opt/cloud/bin"): "bin"}
    exchange(TREE, dest)
    assert not collection.linked(links, dest)
    (tmp_path / "opt/cloud/bin/old").mkdir(parents=True)
    collection.link(links, dest)
    assert collection.linked(links, dest)
    exchange({"bin/run": (0o755, b"2")}, dest)
    assert (tmp_path / "opt/cloud/bin/run").read_bytes() == b"2"
    assert os.listdir(tmp_path / "opt/cloud") == ["bin"]


def test_a_program_that_has_moved_is_found_where_a_loaded_configuration_names_it(dest: str) -> None:
    """keepalived's file names bin/vr-transition until a converge writes it; reboots and upgrades may come first."""
    exchange({"bin/vr-transition": (0o755, b"#!/bin/sh\necho old\n"), "bin/vr-gone": (0o755, b"#!/bin/sh\n")}, dest)
    moved: collection.Tree = {**TREE, "libexec/vr-transition": (0o755, b'#!/bin/sh\necho "new $1"\n')}
    for number in (b"1", b"2"):
        exchange({**moved, "number": (0o644, number)}, dest)
        told = subprocess.run([f"{dest}/bin/vr-transition", "backup"], capture_output=True, check=True).stdout
        assert told == b"new backup\n"
        assert sorted(os.listdir(f"{dest}/bin")) == ["run", "vr-transition"]
        assert collection.installed(dest) == {**moved, "number": (0o644, number)}, "so the next run changes nothing"


def test_a_converge_that_runs_is_waited_for(dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange(TREE, dest)
    with open(collection.QUEUE, "w", encoding="ascii") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        monkeypatch.setattr(collection, "PATIENCE", 0.2)
        with pytest.raises(TimeoutError, match="a converge has not ended"):
            exchange({}, dest)
        assert collection.installed(dest) == TREE
        monkeypatch.setattr(collection, "PATIENCE", 60.0)
        waiting = threading.Thread(target=exchange, args=({"new": (0o644, b"")}, dest))
        waiting.start()
        time.sleep(0.2)
        assert collection.installed(dest) == TREE
    waiting.join()
    assert list(collection.installed(dest)) == ["new"]


PROGRAM = """#!/usr/bin/python3 -IS
import os, sys, time
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import a
time.sleep(0.02)
import b, c
print(a.RELEASE, b.RELEASE, c.RELEASE)
"""


def test_a_command_never_meets_a_half_new_set(dest: str, tmp_path: Path) -> None:
    """As the commands do it: by a link to a link, with modules that are imported while releases are exchanged."""
    releases = []
    for number in (b"1", b"2"):
        modules = {f"bin/{name}.py": (0o644, b"RELEASE = " + number) for name in "abc"}
        releases.append({"bin/run": (0o755, PROGRAM.encode()), **modules})
    exchange(releases[0], dest)
    collection.link({str(tmp_path / "commands"): "bin"}, dest)
    heard = set()
    for count in range(20):
        running = [subprocess.Popen([tmp_path / "commands/run"], stdout=subprocess.PIPE) for _number in range(4)]
        time.sleep(count / 500)
        exchange(releases[(count + 1) % 2], dest)
        heard |= {process.communicate()[0] for process in running}
    assert heard == {b"1 1 1\n", b"2 2 2\n"}


def test_bytecode_is_no_difference(dest: str) -> None:
    exchange(TREE, dest)
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
