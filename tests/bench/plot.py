# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Draw seconds against the size of the router, and write the tables beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.measuring import EMPTY_SECONDS, Figure

DOCS = Path(__file__).resolve().parents[2] / "docs"
PLOT, TABLES = DOCS / "bench.svg", DOCS / "bench.md"

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Points (size, seconds) by way (cold, warm)."""


def draw(panels: Mapping[str, Series], path: Path = PLOT) -> None:
    """Draw one panel for each axis of size; both scales are logarithmic, so that linear growth is a slope of one."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.8), sharey=True, layout="constrained")
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        for way, points in series.items():
            sizes, seconds = zip(*points, strict=True)
            axis.plot(sizes, seconds, marker="o", label=way)
        axis.set(xscale="log", yscale="log", title=title)
        axis.grid(visible=True, which="both", alpha=0.3)
        axis.legend()
    axes[0].set_ylabel("seconds")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def write(sections: Mapping[str, Sequence[Figure]], notes: Sequence[str], path: Path = TABLES) -> None:
    """Write the figures of all sections as tables of Markdown, each with the empty playbook first, and the notes."""
    lines = [
        "# What a converge costs",
        "",
        "Written by `make bench`, in one run on one machine: compare the figures with each other. Goals were set for a",
        f"machine on which an empty playbook takes {EMPTY_SECONDS} s; *scaled* is what the seconds would be there.",
        "MiB is the largest process that the command started; a warm converge is not its child, and not in it.",
        "",
        f"![seconds against size]({PLOT.name})",
    ]
    for title, figures in sections.items():
        lines += ["", f"## {title}", "", "| what | s | scaled | goal | MiB | processes |", "|---|---|---|---|---|---|"]
        lines += [figure.markdown(figures[0].seconds) for figure in figures]
    lines += ["", "## Ratios, disruption, data plane", "", *(f"- {note}" for note in notes), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
