# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the `monitorservice` databag asks for: which services are watched, and which health checks run how often."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, str]
BASIC_MINUTES = 3
"""How often basic checks run where a drop does not say; the advanced ones do not run then (drops.md)."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Health checks and watched services; intervals are in minutes, 0 is never.

    `sections` are the services as the management server calls them, empty where no drop has named any. `config` are
    its records by their kind: what it believes the router to be.
    """

    enabled: bool = False
    basic: int = BASIC_MINUTES
    advanced: int = 0
    excluded: frozenset[str] = frozenset()
    sections: tuple[str, ...] = ()
    config: dict[str, tuple[Record, ...]] = field(default_factory=dict)

    def interval(self, kind: str) -> int:
        """Return the minutes between two runs of a type of checks, 0 for none."""
        return (self.basic if kind == "basic" else self.advanced) if self.enabled else 0


def monitoring(bags: Mapping[str, Any]) -> Monitoring:
    """Return what is asked for; nothing is enabled before a drop says so."""
    bag = bags.get("monitorservice", {})
    given = bag.get("health_checks_config") or {}
    return Monitoring(
        enabled=bool(bag.get("health_checks_enabled")),
        basic=bag.get("health_checks_basic_run_interval", BASIC_MINUTES),
        advanced=bag.get("health_checks_advanced_run_interval", 0),
        excluded=frozenset(name.strip() for name in str(bag.get("excluded_health_checks", "")).split(",")) - {""},
        sections=tuple(dict.fromkeys(re.findall(r"\[([^\]]*)\]", str(bag.get("config") or "")))),
        config={kind: tuple(records(text)) for kind, text in given.items()},
    )


def records(text: str) -> list[Record]:
    """Return the records of ``k=v,k=v;``; what has no ``=`` in it is no record, and is left out."""
    found = []
    for part in text.split(";"):
        pairs = [pair.partition("=") for pair in part.split(",") if pair.strip()]
        if pairs and all(equals for _key, equals, _value in pairs):
            found.append({key.strip(): value.strip() for key, _equals, value in pairs})
    return found
