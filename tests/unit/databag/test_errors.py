# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    DropError,
    hidden,
    one_line,
)


def test_drop_error_names_file_path_expected_and_got() -> None:
    error = DropError.of_value("load_balancer.json.5f2e", "rules[0].add_rules[2]", '"ip:port:…"', "10.1.1.5")
    assert str(error) == 'load_balancer.json.5f2e: rules[0].add_rules[2]: expected "ip:port:…", got "10.1.1.5"'
    assert (error.file, error.path, error.got) == ("load_balancer.json.5f2e", "rules[0].add_rules[2]", '"10.1.1.5"')


def test_drop_error_of_a_hostile_file_name_is_one_line() -> None:
    assert "\n" not in str(DropError("a\nb\x1b[2J", "$", "x", "y"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", '"a\\nb"'),
        (70000, "70000"),
        (None, "null"),
        (True, "true"),
        ({"a": 1}, "an object with 1 fields"),
        ([1, 2], "a list of 2"),
        ("\u2028\x1b", '"\\u2028\\u001b"'),
    ],
)
def test_one_line(value: object, text: str) -> None:
    assert one_line(value) == text


def test_one_line_cuts_what_is_long() -> None:
    shown = one_line("x" * 1_000_000)
    assert len(shown) == 81
    assert shown.endswith("…")


def test_hidden_shows_nothing() -> None:
    assert hidden("s3cret") == "a secret value of 6 characters"
    assert "7" not in hidden(7)


def test_databag_error_names_file_and_reason() -> None:
    assert str(DatabagError("/etc/cloudstack/ips.json", "not JSON")) == (
        "/etc/cloudstack/ips.json: damaged databag: not JSON"
    )
