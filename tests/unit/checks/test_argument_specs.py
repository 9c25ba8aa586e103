# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checks.argument_specs import check_role, check_shape


def found(defaults: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Check a role named `dns` with one entry point."""
    specs = {"main": {"short_description": "Serve names", "options": options}}
    return [problem.text for problem in check_role("dns", defaults, specs)]


def option(**more: Any) -> dict[str, Any]:
    """Return a documented integer."""
    return {"type": "int", "description": "How many.", **more}


@pytest.mark.parametrize(
    ("defaults", "options"),
    [
        ({}, {}),
        ({"dns_size": 1}, {"dns_size": option(default=1)}),
        ({}, {"dns_size": option(required=True)}),
        ({}, {"dns_size": option()}),
        ({"dns_size": None}, {"dns_size": option(default=None)}),
    ],
)
def test_check_role_accepts(defaults: dict[str, Any], options: dict[str, Any]) -> None:
    """Nothing is found where both say the same."""
    assert found(defaults, options) == []


@pytest.mark.parametrize(
    ("defaults", "options", "words"),
    [
        ({"dns_size": 1}, {}, "not documented"),
        ({}, {"dns_size": option(default=1)}, "does not have"),
        ({"dns_size": 2}, {"dns_size": option(default=1)}, "defaults/main.yml has 2"),
        ({"dns_size": 2}, {"dns_size": option()}, "does not document its default 2"),
        ({"dns_size": 1}, {"dns_size": option(required=True)}, "is required"),
        ({"size": 1}, {"size": option(default=1)}, "does not start with dns_"),
        ({}, {"dns_size": {"type": "int"}}, "no description"),
        ({}, {"dns_size": {"description": "How many."}}, "no type"),
    ],
)
def test_check_role_finds(defaults: dict[str, Any], options: dict[str, Any], words: str) -> None:
    """Each difference is found, once, and named."""
    texts = found(defaults, options)
    assert len(texts) == 1
    assert words in texts[0]


def test_check_role_wants_specs() -> None:
    """A role without argument_specs is found."""
    assert [problem.text for problem in check_role("dns", {}, {})] == ["missing or empty"]


def test_check_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role has its README and its defaults, and tasks for each entry point it documents."""
    monkeypatch.setattr("tests.checks.argument_specs.ROOT", tmp_path)
    (tmp_path / "roles" / "dns" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "dns" / "tasks" / "provision.yml").touch()
    (tmp_path / "roles" / "dns" / "README.md").touch()
    missing = [problem.path for problem in check_shape("dns", {"main": {}, "provision": {}})]
    assert missing == ["roles/dns/defaults/main.yml", "roles/dns/tasks/main.yml"]
