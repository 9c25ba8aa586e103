# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check a JSON value against a table of fields, and say where it is wrong.

A *kind* is a function that takes a value and either returns the value to keep or raises MismatchError. Kinds
of single values are in kinds.py; this file has the ones that hold others. Paths are put together on the way
out, so that a value that is well costs nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Kind = Callable[[Any], Any]
Shape = dict[str, Any]
"""A JSON Schema (draft 2020-12), for tools that are not ours; this router never asks it."""

# The management server writes Java's or Python's word for "nothing" into text fields (A5, F17).
NO_VALUE = frozenset({"None", "null", "ERROR", ""})

LONGEST_STEP = 80
"""Characters of a name in a path: a sender may use any, and what was expected stands behind it on the line."""


class MismatchError(Exception):
    """Carry what was expected and what came, while the path to it is collected."""

    def __init__(self, expected: str, got: object, *path: str) -> None:
        self.expected = expected
        self.got = got
        self.path = list(path)
        self.secret = False
        super().__init__(expected)

    def under(self, step: str) -> MismatchError:
        """Put one step in front of the path: a field name, cut after 80 characters, or an index in brackets."""
        if len(step) > LONGEST_STEP:
            step = step[:LONGEST_STEP] + "…"
        if self.path and not self.path[0].startswith("["):
            self.path.insert(0, ".")
        self.path.insert(0, step)
        return self

    def where(self) -> str:
        """Return the path as text; ``$`` is the whole document."""
        return "".join(self.path) or "$"


_SHAPES: dict[Kind, Callable[[], Shape]] = {}
AnyKind = TypeVar("AnyKind", bound=Kind)


def shaped(shape: Callable[[], Shape]) -> Callable[[AnyKind], AnyKind]:
    """Note which JSON Schema says the same as a kind; it is made only when somebody asks."""

    def note(kind: AnyKind) -> AnyKind:
        _SHAPES[kind] = shape
        return kind

    return note


def shape_of(kind: Kind) -> Shape:
    """Return the JSON Schema of a kind; a kind without one is a KeyError."""
    return _SHAPES[kind]()


def shape_of_field(field: Field) -> Shape:
    """Return the JSON Schema of a field's value, with what stands for "no value" where the field is optional."""
    shape = shape_of(field.kind)
    if not field.optional:
        return shape
    nothing = [None] if field.secret or field.blank else [None, *sorted(NO_VALUE)]
    return {"anyOf": [shape, {"enum": nothing}]}


class Absent:
    """Stand for a field that is not there, in messages."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


@dataclass(frozen=True)
class Field:
    """Describe one field of a record.

    ``optional`` fields may be missing, or hold one of the texts that mean "no value": then they are removed,
    unless ``blank`` says that an empty text has a meaning of its own. ``secret`` values are never shown.
    """

    kind: Kind
    optional: bool = False
    blank: bool = False
    secret: bool = False


def need(kind: Kind) -> Field:
    """Describe a field that must be there."""
    return Field(kind)


def may(kind: Kind) -> Field:
    """Describe a field that may be missing or empty."""
    return Field(kind, optional=True)


def check_field(record: dict[str, Any], name: str, field: Field) -> None:
    """Check one field in its record, and replace or remove it if its kind says so."""
    value = record.get(name, ABSENT)
    if field.optional and (value is ABSENT or value is None or _is_nothing(value, field)):
        record.pop(name, None)
        return
    try:
        kept = field.kind(value)
    except MismatchError as error:
        error.secret = error.secret or field.secret
        raise error.under(name) from None
    if kept is not value:
        record[name] = kept


def _is_nothing(value: object, field: Field) -> bool:
    return not field.secret and not field.blank and isinstance(value, str) and value in NO_VALUE


def record(fields: Mapping[str, Field], *rules: Callable[[dict[str, Any]], None]) -> Kind:
    """Make the kind of an object; unknown fields are left alone (newer servers), ``rules`` see the whole."""
    table = tuple(fields.items())

    def shape() -> Shape:
        return {
            "type": "object",
            "properties": {name: shape_of_field(field) for name, field in fields.items()},
            "required": [name for name, field in fields.items() if not field.optional],
        }

    @shaped(shape)
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MismatchError("an object", value)
        for name, field in table:
            check_field(value, name, field)
        for rule in rules:
            rule(value)
        return value

    return check


def list_of(kind: Kind) -> Kind:
    """Make the kind of a list whose every element is of one kind."""

    @shaped(lambda: {"type": "array", "items": shape_of(kind)})
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise MismatchError("a list", value)
        for index, element in enumerate(value):
            try:
                kept = kind(element)
            except MismatchError as error:
                raise error.under(f"[{index}]") from None
            if kept is not element:
                value[index] = kept
        return value

    return check


def map_of(key: Kind, kind: Kind) -> Kind:
    """Make the kind of an object with free names, all of whose values are of one kind."""

    @shaped(lambda: {"type": "object", "propertyNames": shape_of(key), "additionalProperties": shape_of(kind)})
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MismatchError("an object", value)
        for name, element in value.items():
            try:
                key(name)
                kind(element)
            except MismatchError as error:
                raise error.under(ascii(name)[1:-1]) from None
        return value

    return check
