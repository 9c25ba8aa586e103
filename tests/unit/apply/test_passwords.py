# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import passwords
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.passwords import compare, file_name

A = "10.1.1.11"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def converge(state: Path, wanted: dict[str, str]) -> int:
    here = str(state)
    steps = compare(wanted, passwords.names("waiting", here), passwords.names("consumed", here))
    for step in steps:
        passwords.store(step, here, user="nobody")  # type: ignore[arg-type]
    return len(steps)


def test_store_writes_for_the_daemon_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert converge(state, {A: "pässwört €"}) == 1
    (file,) = (state / "waiting").iterdir()
    assert file.read_text(encoding="utf-8") == "pässwört €"
    assert (file.stat().st_mode & 0o777, file.owner(), (state / "waiting").owner()) == (0o600, "nobody", "nobody")
    assert [p.name for p in state.iterdir() if p.is_file()] == []
    assert converge(state, {A: "pässwört €"}) == 0


def test_store_replaces_and_forgets(tmp_path: Path) -> None:
    converge(tmp_path, {A: "one"})
    converge(tmp_path, {A: "two"})
    assert passwords.names("waiting", str(tmp_path)) == [file_name(A, "two")]
    converge(tmp_path, {})
    assert passwords.names("waiting", str(tmp_path)) == []


def test_store_bears_that_the_daemon_was_quicker(tmp_path: Path) -> None:
    converge(tmp_path, {A: "one"})
    (step,) = compare({}, [file_name(A, "one")], [])
    (tmp_path / "waiting" / file_name(A, "one")).rename(tmp_path / "consumed" / file_name(A, "one"))
    passwords.store(step, str(tmp_path), user="nobody")  # type: ignore[arg-type]
    assert converge(tmp_path, {A: "one"}) == 0


def test_a_power_cut_loses_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is on the disk before its name, and its name before the old password goes."""
    converge(tmp_path, {A: "one"})
    done: list[tuple[str, str]] = []

    def watched(name: str, real: Any) -> Any:
        def act(*paths: Any) -> None:
            about = os.readlink(f"/proc/self/fd/{paths[0]}") if name == "fsync" else str(paths[-1])
            done.append((name, os.path.relpath(about, tmp_path)))
            real(*paths)

        return act

    for name in ("fsync", "rename", "unlink"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    converge(tmp_path, {A: "two"})
    old, new = (file_name(A, text) for text in ("one", "two"))
    assert done == [
        ("fsync", f"{new}.new"),
        ("rename", f"waiting/{new}"),
        ("fsync", "waiting"),
        ("unlink", f"waiting/{old}"),
    ]
