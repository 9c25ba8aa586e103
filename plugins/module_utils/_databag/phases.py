# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell how long the phases of a converge took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Phases(dict[str, float]):
    """Hold seconds by phase: ``ingest``, ``model``, ``<service>.plan/check/apply/verify``, ``commit``.

    What is done more than once in a converge is added up: a service that differs plans again in its own task.
    """

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time that the block takes, also when it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self[name] = self.get(name, 0.0) + time.monotonic() - started

    def plus(self, other: Mapping[str, float]) -> Phases:
        """Return the sums of both."""
        return Phases({name: self.get(name, 0.0) + other.get(name, 0.0) for name in {**self, **other}})

    def of(self, service: str) -> dict[str, float]:
        """Return the phases of one service, without its name."""
        start = f"{service}."
        return {name.removeprefix(start): seconds for name, seconds in self.items() if name.startswith(start)}

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in self.items())
