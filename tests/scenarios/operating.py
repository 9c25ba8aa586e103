# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands of docs/operating.md, as printed."""

from __future__ import annotations

import re

from tests.lab.probes import ROOT


def commands(*, of_a_pair: bool) -> list[str]:
    """Return those of the first table that are for a pair, or for every router: code with a blank in it."""
    rows = (ROOT / "docs/operating.md").read_text(encoding="utf-8").split("\n\n")[1].splitlines()[2:]
    found = [row for row in rows if row.partition("?")[0].endswith(" of a pair") == of_a_pair]
    return [span for row in found for span in re.findall(r"`([^`]*)`", row) if " " in span]
