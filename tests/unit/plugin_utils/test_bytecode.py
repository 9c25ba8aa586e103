# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils import bytecode
from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.bytecode import (
    MODULE_UTILS,
    KeptBytecode,
    keep,
)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Make a folder with a module and a package."""
    (tmp_path / "single.py").write_text("VALUE = 1\n")
    (tmp_path / "several").mkdir()
    (tmp_path / "several/__init__.py").write_text("")
    return tmp_path


def test_a_module_is_loaded_by_pythons_own_loader(folder: Path) -> None:
    """Which keeps bytecode and knows when it is out of date."""
    spec = KeptBytecode().find_spec(f"{MODULE_UTILS}single", [str(folder)])
    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    assert (spec.origin, spec.submodule_search_locations) == (str(folder / "single.py"), None)
    assert spec.cached is not None
    assert os.path.dirname(spec.cached) == str(folder / "__pycache__")


def test_a_package_knows_where_its_modules_are(folder: Path) -> None:
    spec = KeptBytecode().find_spec(f"{MODULE_UTILS}several", [str(folder)])
    assert spec is not None
    assert spec.submodule_search_locations == [str(folder / "several")]


@pytest.mark.parametrize(
    "name",
    [f"{MODULE_UTILS}absent", MODULE_UTILS.rstrip("."), "ansible_collections.other.one.plugins.single", "single"],
)
def test_what_is_not_ours_is_left_to_others(folder: Path, name: str) -> None:
    assert KeptBytecode().find_spec(name, [str(folder)]) is None


def test_a_name_without_a_package_is_left_to_others() -> None:
    assert KeptBytecode().find_spec(f"{MODULE_UTILS}single", None) is None


@pytest.fixture(name="finders")
def _finders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the test an import system of its own: something that must stay first, and Ansible's finder."""
    first, ansible = object(), object()
    monkeypatch.setattr(sys, "meta_path", [first, ansible])
    monkeypatch.setattr(bytecode, "AnsibleCollectionConfig", SimpleNamespace(collection_finder=ansible))
    return [first, ansible]


def test_keep_is_asked_before_ansible_and_once(finders: list[Any]) -> None:
    keep()
    keep()
    first, ours, ansible = sys.meta_path
    assert [first, ansible] == finders
    assert isinstance(ours, KeptBytecode)


def test_keep_does_nothing_where_ansible_finds_nothing(finders: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "AnsibleCollectionConfig", SimpleNamespace(collection_finder=None))
    keep()
    assert sys.meta_path == finders
