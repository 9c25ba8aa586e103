# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import metadata_tree as tree
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import metadata
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.metadata import PublishMetadata, Vm

A, B = "10.1.1.11", "2001:db8::b"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group")


def vm(address: str = A, key: str = "42") -> Vm:
    blob = base64.b64encode(b"\x00binary\xff").decode()
    items = [["userdata", "user-data", blob], ["metadata", "vm-id", key], ["metadata", "name", "x"]]
    return metadata.vms({address: items})[address]


def converge(root: Path, *wanted: Vm) -> int:
    """Plan and publish as the service does; return how many directories were written."""
    found = tree.links(str(root))
    vms = {one.address: one for one in wanted}
    steps = metadata.compare(vms, found, tree.damaged(vms.values(), found, str(root)))
    for step in steps:
        assert isinstance(step, PublishMetadata)
        tree.publish(step, str(root), reader="root")
    return sum(len(step.vms) for step in steps if isinstance(step, PublishMetadata))


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in root.rglob("*")}


def test_publish_makes_what_the_web_server_serves(tmp_path: Path) -> None:
    converge(tmp_path, vm(), vm(B))
    assert (tmp_path / A / ".user-data").read_bytes() == b"\x00binary\xff"
    assert (tmp_path / B / ".index").read_bytes() == b"name\nvm-id\n"
    assert (tmp_path / A / "vm-id").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / A).stat().st_mode & 0o777 == 0o750


def test_publish_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    """The commands of the management server run with 077."""
    before = os.umask(0o077)
    try:
        converge(tmp_path, vm())
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert (tmp_path / A / "vm-id").stat().st_mode & 0o777 == 0o640
    assert converge(tmp_path, vm()) == 0


def test_publish_again_touches_nothing(tmp_path: Path) -> None:
    converge(tmp_path, vm(), vm(B))
    before = snapshot(tmp_path)
    assert converge(tmp_path, vm(), vm(B)) == 0
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="no file systems in files here")
def test_publish_on_a_file_system_whose_times_end_in_2038(tmp_path: Path) -> None:
    """ext4 with inodes of 128 bytes, as machines have that were made long ago; it also counts in whole seconds."""
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    image.write_bytes(bytes(4 << 20))
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        (root / "lost+found").rmdir()
        machines = [vm(f"10.1.1.{n}", str(n)) for n in range(1, 41)]
        assert converge(root, *machines) == 40
        assert converge(root, *machines) == 0, "what was written is what is wanted"
    finally:
        subprocess.run(["umount", root], check=True)


def test_publish_changes_the_one_vm_that_changed(tmp_path: Path) -> None:
    converge(tmp_path, vm(), vm(B))
    untouched = snapshot(tmp_path / B)
    reader = os.open(tmp_path / A, os.O_RDONLY | os.O_DIRECTORY)
    assert converge(tmp_path, vm(key="43"), vm(B)) == 1
    os.close(reader)
    assert (tmp_path / A / "vm-id").read_text() == "43"
    assert snapshot(tmp_path / B) == untouched
    assert len(list((tmp_path / ".vms").iterdir())) == 2, "the old directory is gone"


def test_publish_withdraws_a_vm(tmp_path: Path) -> None:
    converge(tmp_path, vm(), vm(B))
    converge(tmp_path, vm(B))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".vms", B]
    assert [p.name.split(",")[0] for p in (tmp_path / ".vms").iterdir()] == [B]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "edited in place": lambda d: (d / "vm-id").write_text("99"),
    "same size, other content": lambda d: (d / "vm-id").write_text("24"),
    "cut short": lambda d: os.truncate(d / ".user-data", 0),
    "replaced by an editor": lambda d: ((d / "n").write_text("99"), (d / "n").rename(d / "vm-id")),
    "removed": lambda d: (d / "vm-id").unlink(),
    "added": lambda d: (d / "extra").write_text("1"),
    "made readable for all": lambda d: (d / ".user-data").chmod(0o644),
    "directory removed": lambda d: __import__("shutil").rmtree(d.resolve()),
    "link removed": lambda d: d.unlink(),
    "link replaced by a directory": lambda d: (d.unlink(), d.mkdir(), (d / "vm-id").write_text("99")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_repaired(tmp_path: Path, damage: str) -> None:
    converge(tmp_path, vm(), vm(B))
    DAMAGES[damage](tmp_path / A)
    assert converge(tmp_path, vm(), vm(B)) == 1
    assert (tmp_path / A / "vm-id").read_text() == "42"
    assert sorted(os.listdir(tmp_path / A)) == [".index", ".user-data", "name", "vm-id"]
    assert converge(tmp_path, vm(), vm(B)) == 0


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    """A kill between two steps leaves drafts, a directory without a link, or an old directory."""
    converge(tmp_path, vm())
    for name in (f"{vm(key='7').target}", f"{vm().target}.new", f"{vm().target}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vm-id").write_text("secret")
    (tmp_path / ".vms" / f"{A}.link").symlink_to("nowhere")
    (tmp_path / "stray").write_text("x")
    assert converge(tmp_path, vm()) == 0
    assert len(list((tmp_path / ".vms").iterdir())) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".vms", A]


def test_many_vms_are_looked_at_thoroughly_after_a_boot_and_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "run" / "mark"
    monkeypatch.setattr(tree, "MARK", str(mark))
    monkeypatch.setattr(tree, "FEW", 1)
    root = tmp_path / "www"
    converge(root, vm(), vm(B))
    assert converge(root, vm(), vm(B)) == 0
    (root / A / "vm-id").write_text("99")
    assert converge(root, vm(), vm(B)) == 0, "an edit in place waits for its turn"
    (root / B / "extra").write_text("1")
    assert converge(root, vm(), vm(B)) == 1, "an added file does not"
    os.utime(mark, (0, 0))
    assert converge(root, vm(), vm(B)) == 1
    assert (root / A / "vm-id").read_text() == "42"
