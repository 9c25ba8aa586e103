# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a page of HTML of the report: one file, no script, nothing from elsewhere, in a light and a dark dress.

Whatever the management server, a VM or a daemon has named is text here, and never markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from vrlib import command as vr

Row = dict[str, str]
WIDE, HIGH, GAP, IN_A_ROW = 216, 84, 24, 4
"""Sizes of the picture, and how many NICs stand side by side."""
MOST_NICS = 24
LETTERS = 30
"""As many as a box is wide."""
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
"""What a browser holds even if something got through: nothing is loaded and nothing runs."""
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --faint: #5c6670; --line: #c9d1d9; --box: #f3f6f9;
  --good: #176f2c; --bad: #b42318; --wire: #2f6fbb; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --text: #e6eaee; --faint: #9aa5b1; --line: #39424c;
  --box: #1e252d; --good: #5ec975; --bad: #ff8a80; --wire: #7db3f0; } }
body { background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
.ok { color: var(--good); } .bad { color: var(--bad); } .faint { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 600; }
svg { height: auto; max-width: 100%; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg .name { font-weight: 600; } svg .small { fill: var(--faint); font-size: 12px; }
svg rect { fill: var(--box); stroke: var(--line); } svg .own { stroke: var(--wire); stroke-width: 2; }
svg line { stroke: var(--wire); stroke-width: 2; } svg .down { stroke: var(--bad); stroke-dasharray: 6 5; }
"""


def page(parts: dict[str, Any]) -> str:
    """Return the page; `parts` are those of the report, and `links` the state of each NIC in the words of sysfs."""
    known = {row["what"]: row["value"] for row in parts["router"]}
    title = escape(f"{known.get('name', 'router')} ({known.get('kind', '')})")
    dress = "ok" if parts["verdict"] == "OK" else "bad"
    counts = ", ".join(f"{number} {topic}" for topic, number in parts["count"].items())
    sections = [
        f'<h1>{title}: <span class="{dress}">{escape(parts["verdict"])}</span></h1>',
        f'<p class="faint">{escape(parts["when"])} · {escape(counts)}</p>',
        f'<div class="wide">{picture(parts["tiers"], known, parts["links"])}</div>',
        _table("Checks that did not succeed", parts["checks"]),
        _table("Router", parts["router"]),
        _table("NICs", parts["tiers"]),
        _table("Pair", parts["pair"]),
        _table("Last drops", parts["drops"]),
        _list("Last alerts", parts["alerts"]),
    ]
    head = f'<meta charset="utf-8">{POLICY}<title>{title}</title><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f"<body>\n{chr(10).join(filter(None, sections))}\n</body></html>\n"
    )


def picture(nics: Sequence[Row], known: Row, links: Row) -> str:
    """Return the router as SVG: what leads outside is above it, what it serves below."""
    shown = nics[:MOST_NICS]
    inner = [row for row in shown if row["role"] == "guest"]
    outer = [row for row in shown if row["role"] != "guest"]
    rows = [outer[at : at + IN_A_ROW] for at in range(0, len(outer), IN_A_ROW)]
    place = len(rows)
    rows += [[], *(inner[at : at + IN_A_ROW] for at in range(0, len(inner), IN_A_ROW))]
    width = max([1, *map(len, rows)]) * (WIDE + GAP) + GAP
    height = len(rows) * (HIGH + 2 * GAP)
    middle = (width // 2, place * (HIGH + 2 * GAP) + GAP + HIGH // 2)
    lines, boxes = list[str](), list[str]()
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDE + GAP) + GAP) // 2
        for column, nic in enumerate(row):
            corner = (left + column * (WIDE + GAP), number * (HIGH + 2 * GAP) + GAP)
            lines.append(_line(middle, corner, up=links.get(nic["nic"], "") not in ("down", "lowerlayerdown")))
            boxes.append(_nic(corner, nic))
    words = [known.get("name", "router"), known.get("kind", ""), known.get("state", "")]
    boxes.append(_box((middle[0] - WIDE // 2, middle[1] - HIGH // 2), words, "own"))
    label = "The router and its NICs"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}">'
        + "".join((*lines, *boxes))
        + "</svg>"
    )


def _line(start: tuple[int, int], corner: tuple[int, int], *, up: bool) -> str:
    end = corner[0] + WIDE // 2, corner[1] + HIGH // 2
    dress = "" if up else ' class="down"'
    return f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"{dress}/>'


def _nic(corner: tuple[int, int], nic: Row) -> str:
    addresses = nic["addresses"].split()
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    gateway = f"gateway {nic['gateway']}" if nic["gateway"] else f"MTU {nic['mtu']}"
    first = f"{addresses[0]}{more}" if addresses else "no address"
    return _box(corner, [f"{nic['nic']} · {nic['role'].replace('_', ' ')}", first, gateway])


def _box(corner: tuple[int, int], words: Sequence[str], dress: str = "") -> str:
    x, y = corner
    kind = f' class="{dress}"' if dress else ""
    dresses = ("name", *["small"] * (len(words) - 1))
    texts = "".join(
        f'<text x="{x + 14}" y="{y + 26 + 21 * number}" class="{dresses[number]}">{_text(text)}</text>'
        for number, text in enumerate(words)
        if text
    )
    return f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="8"{kind}/>{texts}'


def _text(text: str, most: int = LETTERS) -> str:
    line = vr.one_line(text)
    return escape(line if len(line) <= most else f"{line[: most - 1]}…")


def _table(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    cells = ("".join(f"<td>{_text(row.get(name, ''), 300)}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<h2>{escape(title)}</h2>\n<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<tr><td>{_text(line, 300)}</td></tr>" for line in lines)
    return f'<h2>{escape(title)}</h2>\n<div class="wide"><table>{items}</table></div>' if lines else ""
