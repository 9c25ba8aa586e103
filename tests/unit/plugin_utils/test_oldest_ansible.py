# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible-core 2.16 wants otherwise than the one that is installed here."""

from __future__ import annotations

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.parsing import dataloader

ROOT = Path(__file__).resolve().parents[3]


def test_nobody_asks_for_the_plan_before_it_is_made() -> None:
    """Before 2.19 the module defaults of all actions were resolved for every task, also for the one that plans."""
    (play,) = yaml.safe_load((ROOT / "playbooks/converge.yml").read_text(encoding="utf-8"))
    tasks = play.pop("tasks")
    planned = next(number for number, task in enumerate(tasks) if task.get("register") == "vr_plan")
    for early in (play, *tasks[:planned]):
        assert "vr_plan." not in json.dumps(early)
    assert "vr_plan." in json.dumps(tasks[planned + 1 :])


def resident_parent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return libexec/vr-converged as a module; its dataclasses look it up by its name."""
    loader = SourceFileLoader("vr_converged", str(ROOT / "libexec/vr-converged"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    return module


def test_the_resident_parent_reads_yaml_without_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusted templates came with 2.19; before, every text was one and there was no option to say so."""
    read = []

    class Older(dataloader.DataLoader):  # type: ignore[misc]
        def load_from_file(self, file_name: str) -> Any:
            read.append(file_name)

    monkeypatch.setattr(dataloader, "DataLoader", Older)
    parent = resident_parent(monkeypatch)
    parent.sources()
    assert read[0] == str(parent.PLAYBOOK)
