# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Name the ways in which a drop or a stored databag can be wrong."""

from __future__ import annotations

import json

_SHOWN = 80


def one_line(value: object) -> str:
    """Show a value as JSON on one line, cut after 80 characters.

    Whatever a sender put into a field, the text holds no newline and no other control character,
    because it ends up as one line on standard error and in a log.
    """
    if isinstance(value, (str, int, float, bool, type(None))):
        text = json.dumps(value[: _SHOWN + 1] if isinstance(value, str) else value, ensure_ascii=True)
    elif isinstance(value, dict):
        text = f"an object with {len(value)} fields"
    elif isinstance(value, list):
        text = f"a list of {len(value)}"
    else:
        text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def hidden(value: object) -> str:
    """Describe a secret value without showing any of it."""
    if isinstance(value, str):
        return f"a secret value of {len(value)} characters"
    return f"a secret value of type {type(value).__name__}"


class DropError(Exception):
    """Report a drop that the sender got wrong: file, JSON path, what was expected, what came.

    ``got`` is text that is safe to print. Use ``of_value`` to make it from a value.
    """

    def __init__(self, file: str, path: str, expected: str, got: str) -> None:
        self.file = one_line(file)[1:-1] if not file.isprintable() else file
        self.path = path
        self.expected = expected
        self.got = got
        super().__init__(file, path, expected, got)

    @classmethod
    def of_value(cls, file: str, path: str, expected: str, value: object, *, secret: bool = False) -> DropError:
        """Make the error for a value, which is hidden when it is a secret."""
        return cls(file, path, expected, hidden(value) if secret else one_line(value))

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: expected {self.expected}, got {self.got}"


class DatabagError(Exception):
    """Report a stored databag that cannot be used. It is never replaced by an empty one."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(file, reason)

    def __str__(self) -> str:
        return f"{self.file}: damaged databag: {self.reason}"


class TransactionError(Exception):
    """Report a transaction that cannot begin, or that is no longer ours to finish."""
