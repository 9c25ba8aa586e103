# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the disk is asked for, and in which order: the kernel keeps promises only to those who ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk


def test_content_is_on_the_disk_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after a rename may find an empty file, or none. What need not be durable does not pay for it."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        assert Path(source).read_bytes() == b"all of it\n"
        done.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    Disk().replace(tmp_path / "ips.json", b"all of it\n")
    assert done == ["fsync .ips.json.tmp", "rename ips.json", f"fsync {tmp_path.name}"]
    done.clear()
    Disk().replace(tmp_path / "lock", b"all of it\n", durable=False)
    assert done == ["rename lock"]
