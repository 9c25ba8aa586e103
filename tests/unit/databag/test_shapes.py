# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The JSON Schemas say what the kinds say, as far as JSON Schema can."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Kind,
    may,
    need,
    shape_of,
    shape_of_field,
)
from tests.checks import drop_schema
from tests.unit.databag.support import BODIES
from tests.unit.databag.test_schema import CASES

Validator = jsonschema.Draft202012Validator

# What needs arithmetic, a look into base64, or a count of bytes; 1.0 is an integer to JSON Schema.
BEYOND_JSON_SCHEMA: list[Any] = [
    1.0,
    "11",
    "10.0.0.0/8, ::/0",
    "0.0.0.0/02",
    "\ud800",
    [2, 1],
    "2:1",
    "0:65536",
    "ü" * 128,
    "Y",
    "/w==",
    "AAAA",
    "10.1.1.5:0:",
    "10.1.1.5:70000:",
    "aes;",
    "a b",
    "aes;x;y",
    "10.1.2.8-10.1.2.2",
]


def accepts(kind: Kind, value: Any) -> bool:
    validator = Validator(shape_of(kind), format_checker=Validator.FORMAT_CHECKER)
    return bool(validator.is_valid(value))


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, good, _bad in CASES for value in good])
def test_schema_accepts_what_the_kind_accepts(kind: Kind, value: Any) -> None:
    assert accepts(kind, value)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, _good, bad in CASES for value in bad])
def test_schema_refuses_what_it_can(kind: Kind, value: Any) -> None:
    # `$` of Python's patterns is before a last line end, too; that of ECMA-262, which JSON Schema means, is not.
    if isinstance(value, str) and value.endswith("\n"):
        return
    assert not accepts(kind, value) or value in BEYOND_JSON_SCHEMA


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_every_drop_of_the_tests_is_valid(kind: str) -> None:
    schema = drop_schema.schema()
    Validator.check_schema(schema)
    body = {"type": kind, **json.loads(json.dumps(BODIES[kind]))}
    assert [error.message for error in Validator(schema).iter_errors(body)] == []


def test_schema_tells_types_apart() -> None:
    errors = list(Validator(drop_schema.schema()).iter_errors({"type": "vmpassword", "ip_address": "10.1.1.256"}))
    assert {tuple(error.path) for error in errors} == {(), ("ip_address",)}


@pytest.mark.parametrize(("value", "optional"), [("null", True), ("", True), (None, True), ("x", False)])
def test_no_value_stands_for_an_optional_field_only(value: Any, optional: bool) -> None:
    assert Validator(shape_of_field(may(k.ipv4))).is_valid(value) is optional
    assert not Validator(shape_of_field(need(k.ipv4))).is_valid(value)
