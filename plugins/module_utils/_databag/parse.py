# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turn the bytes of a drop into a checked Drop."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.drop_types import DROP_TYPES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DropError,
    hidden,
    one_line,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    ABSENT,
    MismatchError,
)

# The largest drop seen, 1,000 forwards, has 0.2 MB; 32 MiB is a hundred times 10,000 firewall rules' worth of
# room.
MAX_DROP_BYTES = 32 * 1024 * 1024

_NOT_BLANK = re.compile(rb"[^ \t\r\n]")


@dataclass(frozen=True)
class Drop:
    """Hold one checked drop: its file name, its ``type`` value and its fields.

    In ``body`` optional fields whose text means "no value" are gone, and words such as protocols are in lower
    case; everything else, unknown fields too, is as sent.
    """

    name: str
    type: str
    body: dict[str, Any]


def parse_drop(name: str, data: bytes) -> Drop:
    """Parse and check a drop; raise DropError naming file, JSON path, expected and got.

    The type is what the ``type`` field says; the name only serves messages (A2).
    """
    body = _object(name, data)
    kind = body.get("type", ABSENT)
    if not isinstance(kind, str) or kind not in DROP_TYPES:
        raise DropError.of_value(name, "type", "a known type of drop", kind)
    try:
        DROP_TYPES[kind].schema(body)
    except MismatchError as error:
        got = hidden(error.got) if error.secret and error.got is not ABSENT else one_line(error.got)
        raise DropError(name, error.where(), error.expected, got) from None
    return Drop(name, kind, body)


def _object(name: str, data: bytes) -> dict[str, Any]:
    """Decode JSON, refusing early and cheaply what cannot be an object.

    The messages hold positions and sizes only, since the content may be a secret.
    """
    if len(data) > MAX_DROP_BYTES:
        raise DropError(name, "$", f"at most {MAX_DROP_BYTES} bytes", f"{len(data)} bytes")
    first = _NOT_BLANK.search(data)
    if first is None:
        raise DropError(name, "$", "a JSON object", f"{len(data)} blank bytes" if data else "an empty file")
    if first.group() != b"{":
        raise DropError(name, "$", "a JSON object", f"{len(data)} bytes that do not start with {{")
    doubled: list[str] = []
    try:
        body = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=lambda pairs: _without_doubles(pairs, doubled),
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise DropError(name, "$", "UTF-8", f"another byte at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise DropError(name, "$", "JSON", f"{error.msg} at offset {error.pos} of {len(error.doc)}") from None
    except RecursionError:
        raise DropError(name, "$", "JSON", "lists or objects nested too deep") from None
    except ValueError as error:
        raise DropError(name, "$", "JSON", str(error)) from None
    # The original's script wrote every boot argument it met, repeated ones too; the last one counts
    # (boot_arguments.md).
    if doubled and body.get("type") != "cmdline":
        raise DropError.of_value(name, "$", "every field once", doubled[0])
    return body  # type: ignore[no-any-return]


def _without_doubles(pairs: list[tuple[str, Any]], doubled: list[str]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        doubled.extend(name for name in found if names.count(name) > 1)
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word}, which is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number that is too large")
    return value
