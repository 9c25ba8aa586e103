# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The image is built from the machine's own Debian sources, and from what the roles name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from image import stages
from tests.lab import debian

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = """\
Types: deb
# a comment between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
THIRD_PARTIES = (
    "Types: deb\nURIs: https://js.example\nSuites: nodistro\nComponents: main\nSigned-By: /usr/share/keyrings/js.gpg",
    "Types: deb\nURIs: https://pg.example\nSuites: bookworm-pgdg\nComponents: main",
    "Types: deb\nURIs: https://containers.example\nSuites: bookworm\nComponents: stable",
    "Types: deb\nURIs: https://pg.example\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/pg.gpg",
    DEBIAN + "Enabled: no",
)


def test_debian_stanzas_are_kept_and_third_parties_are_not() -> None:
    kept = debian.deb822_stanzas("\n\n".join((THIRD_PARTIES[0], DEBIAN, *THIRD_PARTIES[1:])))
    assert [stanza.splitlines()[1] for stanza in kept] == ["URIs: http://mirror.example/debian"]


def test_one_line_sources_become_stanzas() -> None:
    text = """
# deb http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main
deb [signed-by=/etc/apt/keyrings/cloud.gpg] https://cloud.example/apt cloud-sdk main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/security bookworm-security main contrib
"""
    assert debian.one_line_sources(text) == [
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
        "Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main contrib",
    ]


def test_a_plugin_does_not_ask_for_provisioning_again_but_a_unit_does(tmp_path: Path) -> None:
    plugin, unit = tmp_path / "plugins" / "a.py", tmp_path / "roles" / "system" / "files" / "systemd" / "a.service"
    for path in (plugin, unit):
        path.parent.mkdir(parents=True)
        path.write_text("one")
    before = stages.provisioning_digest(tmp_path, "base")
    plugin.write_text("two")
    assert stages.provisioning_digest(tmp_path, "base") == before
    unit.write_text("two")
    assert stages.provisioning_digest(tmp_path, "base") != before


def test_a_source_of_one_release_of_debian_serves_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "SUITE", "trixie")
    assert "Suites: trixie trixie-updates\n" in debian.of_suite(DEBIAN)
    assert "mirror.example" in debian.of_suite(DEBIAN)
    assert debian.of_suite(DEBIAN.replace("bookworm ", "trixie-security ")).count("trixie") == 2


def test_the_image_has_its_ansible_where_the_role_looks_for_it() -> None:
    """Role system names an environment after what is in it; one of another name would be made anew, from an index."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    defaults = stages.role_defaults()
    variables = yaml.safe_load((ROOT / "roles/system/vars/main.yml").read_text(encoding="utf-8"))
    known = {name: trust_as_template(value) for name, value in variables.items() if isinstance(value, str)}
    templar = Templar(DataLoader(), {**defaults, **known, "system_python": {"stdout": debian.PYTHON}})
    assert templar.template(trust_as_template("{{ system_venv_home }}")) == stages.venv_home(defaults)
