# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checks.documents import (
    ROOT,
    anchors,
    check_bin,
    check_claims,
    check_links,
    check_unbuilt,
    check_units,
    make_targets,
    unbuilt,
    units,
)


def test_anchors() -> None:
    """Anchors are made as GitHub makes them, and lines in code blocks are no headings."""
    text = "# A `b`, c!\n## [Link](x.md) here\n```\n# no heading\n```\n# Same\n# Same\n"
    assert anchors(text) == {"a-b-c", "link-here", "same", "same-1"}


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("[x](galaxy.yml)", None),
        ("[x](https://example.org/nothing)", None),
        ("`[x](code.md)`", "code.md"),
        ("[x](absent.md)", "absent.md"),
        ("![x](absent.png)", "absent.png"),
    ],
)
def test_check_links(link: str, words: str | None) -> None:
    """Links to files that exist are fine, all others are found with their line."""
    problems = [str(problem) for problem in check_links("README.md", f"# Top\n\n{link}\n")]
    assert problems == ([] if words is None else [f"README.md:3: link to {words}, which does not exist"])


def test_check_links_to_a_heading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors are looked up in the file linked to."""
    text = "# Top\n[x](#top) [x](#bottom) [x](README.md#top) [x](README.md#side)\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr("tests.checks.documents.ROOT", tmp_path)
    texts = [problem.text for problem in check_links("README.md", text)]
    assert [text.split(",")[0] for text in texts] == ["link to #bottom", "link to #side"]


def test_make_targets() -> None:
    """Targets are told from variables."""
    assert make_targets("A := b\na b: c\nd: ## help\n\t@e: f\n.PHONY: g\n") == {"a", "b", "d"}


COMMANDS = {"bin/update_config.py", "libexec/vr-boot"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("`make test`", None),
        ("```sh\nmake test\nsudo make test demo  # all\n```\n", None),
        ("we make things in plain words", None),
        ("`make tests`", "make tests: no such target"),
        ("```\ncd x && make rest\n```\n", "make rest: no such target"),
        ("run `/opt/cloud/bin/update_config.py x`", None),
        ("run `/opt/cloud/bin/nothing.sh`", "bin/nothing.sh: no such file"),
        ("run `/opt/cloudstack/libexec/vr-boot`, `/opt/cloud/bin/vr-boot`", "bin/vr-boot: no such file"),
    ],
)
def test_check_claims(text: str, words: str | None) -> None:
    """Commands in code are looked up, words in sentences are not."""
    found = [problem.text for problem in check_claims("x.md", text, {"test", "demo"}, COMMANDS)]
    assert found == ([] if words is None else [words])


def test_what_units_start_is_not_in_bin() -> None:
    paths = ["bin/update_config.py", "bin/vr-unlock", "bin/vr-boot", "bin/config.py", "libexec/vr-boot", "README.md"]
    found = check_bin("| update_config.py | for each drop |", paths)
    assert [problem.path for problem in found] == ["bin/vr-boot", "bin/config.py"]


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_what_is_not_built() -> None:
    rows, absent = unbuilt()
    assert rows
    assert list(check_unbuilt("README.md", README, rows, absent, {"update_config.py"})) == []


@pytest.mark.parametrize(
    ("text", "commands", "words"),
    [
        (README.replace("| baremetal |", "| bgppeer |"), set(), ["and not in the table: baremetal", "bgppeer:"]),
        (README.replace("| userdata |", "| userdata | in vain |\n| userdata |"), set(), ["userdata: in vain"]),
        ("# No such section\n", set(), ["not built, and not in the table"]),
    ],
)
def test_readme_that_differs_from_the_list(text: str, commands: set[str], words: list[str]) -> None:
    found = [problem.text for problem in check_unbuilt("README.md", text, *unbuilt(), commands)]
    for word in words:
        assert any(word in text for text in found), word


def test_a_command_that_is_there_is_not_listed_as_absent() -> None:
    rows, absent = unbuilt()
    (found,) = check_unbuilt("README.md", README, rows, {*absent, "update_config.py"}, {"update_config.py"})
    assert found.text == "update_config.py is in bin/, and in the list of commands that are not"


def test_readme_shows_an_error_as_it_is_printed() -> None:
    """The sample is of a drop with a port that no protocol has."""
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop

    rule = {
        "revoke": False,
        "protocol": "tcp",
        "source_ip_address": "192.0.2.10",
        "destination_ip_address": "10.1.1.11",
        "destination_port_range": "22:22",
    }
    rules = [{**rule, "source_port_range": ports} for ports in ("22:22", "70000:70000")]
    drop = json.dumps({"type": "forwardrules", "rules": rules}).encode()
    with pytest.raises(DropError) as refused:
        parse_drop("forwarding_rules.json.5f2e", drop)
    assert str(refused.value).replace(".5f2e", ".5f2e…", 1) in README


UNITS = {"one.service": "system", "two@.service": "dhcp_dns"}
TWO = "| `two@.service` | x | `templates/two` | dhcp_dns | |\n"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("| `one.service` | x | `bin/one` | system | `a.log` |\n" + TWO, []),
        (TWO, ["one.service of the role system has no row"]),
        ("| `one.service` | x | | redundancy | |\n" + TWO, ["one.service: no unit of the role redundancy"]),
        ("| `one.service` | x | `bin/gone` | system | |\n" + TWO, ["one.service: bin/gone is not there"]),
    ],
)
def test_the_table_of_units_is_that_of_the_roles(rows: str, said: list[str]) -> None:
    found = check_units("docs/router.md", rows, UNITS, {"bin/one", "templates/two/two.conf.j2"})
    assert [problem.text for problem in found] == said


def test_units_are_those_that_roles_install_or_add_to() -> None:
    paths = (
        "roles/system/files/systemd/one.service",
        "roles/x/files/etc/systemd/system/haproxy.service.d/60-cloudstack.conf",
        "roles/system/files/etc/systemd/journald.conf.d/60-cloudstack.conf",
    )
    assert units(paths) == {"one.service": "system", "haproxy.service": "x"}
