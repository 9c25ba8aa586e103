# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service says of a drop that has the right form and asks for what this router cannot do."""

from __future__ import annotations


class RefusedError(Exception):
    """Report what a service cannot do: kind of drop (`load_balancer.json`), JSON path, what was expected, what came.

    A planner knows no drops, only what the databags say by now. So the file is named where the transaction ends
    (_converge/transaction.py). `got` is text that is safe to print.
    """

    def __init__(self, kind: str, path: str, expected: str, got: str) -> None:
        self.kind, self.path, self.expected, self.got = kind, path, expected, got
        super().__init__(kind, path, expected, got)

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: expected {self.expected}, got {self.got}"
