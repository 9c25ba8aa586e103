# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write metrics in the text format of Prometheus (prometheus.io, "Exposition formats", version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

from vrlib import command as vr

PREFIX = "cloudstack_router_"
GAUGE, TOTAL = "gauge", "counter"
MOST_SAMPLES = 400
"""Of one metric: a bound for whatever the databags hold."""
MOST_LABEL = 100
Sample = tuple[dict[str, str], Union[int, float]]  # noqa: UP007


class Page:
    """Metrics, each with what it says and its samples; one without samples is left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, says: str, samples: Iterable[Sample]) -> None:
        """Add a metric; its name is without the prefix."""
        full, lines = PREFIX + name, dict[str, str]()
        for labels, value in samples:
            key = full + _labels(labels)
            if len(lines) < MOST_SAMPLES:
                lines.setdefault(key, f"{key} {_number(value)}")
        if lines:
            self._lines += [f"# HELP {full} {says}", f"# TYPE {full} {kind}", *lines.values()]

    def text(self) -> str:
        """Return the page; its last line ends, too."""
        return "".join(f"{line}\n" for line in self._lines)


def _labels(labels: dict[str, str]) -> str:
    words = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(words)}}}" if labels else ""


def _escaped(value: str) -> str:
    return vr.one_line(value)[:MOST_LABEL].replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")
