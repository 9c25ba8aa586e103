# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands of docs/operating.md, as printed."""

from __future__ import annotations

import re

from tests.lab.probes import ROOT


def commands(about: str = "") -> list[str]:
    """Return those of the first table that are for every router, or `about` a "pair" or a "tunnel".

    A command is code with a blank in it, in a row whose question names what it is about.
    """
    rows = (ROOT / "docs/operating.md").read_text(encoding="utf-8").split("\n\n")[1].splitlines()[2:]
    found = [row for row in rows if _subject(row.partition("?")[0]) == about]
    return [span for row in found for span in re.findall(r"`([^`]*)`", row) if " " in span]


def _subject(question: str) -> str:
    return next((name for name in ("pair", "tunnel") if name in question), "")
