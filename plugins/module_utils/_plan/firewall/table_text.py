# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the text of an nftables table, ours or nft's own listing, and say what makes one text into another.

A change leaves alone what stays: it costs what differs, and no packet meets a set that has no elements yet. The kernel
publishes the elements of an interval set some microseconds after the rules of the same transaction. Until then one that
was flushed and filled answers with its old elements, but a new one with none: it is filled before any rule asks it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BLOCK = re.compile(r"^\t(ct helper|\w+) (\S+) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_ELEMENTS = "elements = {"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a table: a chain and its rules, a set or map and its elements, a counter, or a helper."""

    keyword: str
    name: str
    declaration: tuple[str, ...]
    items: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return what nft calls it, such as `chain input`."""
        return f"{self.keyword} {self.name}"

    @property
    def is_chain(self) -> bool:
        """Tell a chain, whose items have an order, from what has elements."""
        return self.keyword == "chain"

    @property
    def is_interval(self) -> bool:
        """Tell whether the elements are ranges."""
        return "flags interval" in self.declaration

    @property
    def content(self) -> tuple[str, ...]:
        """Return the items in an order that says what they mean."""
        return self.items if self.is_chain else tuple(sorted(self.items))

    def text(self, items: Sequence[str]) -> str:
        """Return the text of the block, with these items."""
        lines = [f"\t{self.title} {{", *(f"\t\t{line}" for line in self.declaration)]
        if self.is_chain:
            lines += [f"\t\t{rule}" for rule in items]
        elif items:
            lines.append(f"\t\t{_ELEMENTS} " + ",\n\t\t".join(items) + " }")
        return "\n".join([*lines, "\t}\n"])


@dataclass(frozen=True, slots=True)
class Change:
    """What makes one text of a table into another.

    `fill` makes the interval sets that are new, and no rule asks them; `switch` is the one transaction that decides.
    """

    fill: str
    switch: str


def blocks(text: str) -> list[Block]:
    """Return the parts of a table in order."""
    return [_block(*found) for found in _BLOCK.findall(text)]


def _block(keyword: str, name: str, body: str) -> Block:
    if keyword == "chain":
        lines = _lines(body)
        hooks = sum(line.startswith("type ") for line in lines[:1])
        return Block(keyword, name, lines[:hooks], lines[hooks:])
    declaration, _equals, elements = body.partition(_ELEMENTS)
    declared, items = _lines(declaration), elements.rstrip().removesuffix("}")
    # What packets have put into a set says nothing of what was loaded.
    filled = items and not any(line.startswith("flags dynamic") for line in declared)
    return Block(keyword, name, declared, tuple(item.strip() for item in items.split(",")) if filled else ())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#"))


def canonical(listing: str) -> str:
    """Return a listing without what comes from the order in which its parts and elements were made.

    nft lists parts in the order of their making, and so the elements of a set of ranges with several fields.
    """
    parts = sorted(blocks(listing), key=lambda block: block.title)
    rest = [line for line in _BLOCK.sub("", listing).splitlines() if line]
    return "\n".join([*rest, *(block.text(block.content) for block in parts)])


def counts(text: str) -> dict[str, int]:
    """Return the number of rules of each chain, and of elements of each set and map."""
    found: dict[str, int] = {}
    for block in blocks(text):
        if block.keyword in ("chain", "set", "map"):
            found[block.title] = found.get(block.title, 0) + len(block.items)
    return found


def change(table: str, old: str, new: str) -> Change | None:
    """Return what to load where the kernel has the old text; None where a part is declared anew.

    What has another type, hook or priority than before can only be made with the whole table.
    """
    before, after = ({block.title: block for block in blocks(text)} for text in (old, new))
    fill: list[str] = []
    make: list[str] = []
    gone = sorted(before.keys() - after.keys(), reverse=True)  # chains last: elements of maps jump to them
    flush = [title for title in gone if not before[title].is_interval]
    for title, block in after.items():
        known = before.get(title)
        if known is None:
            (fill if block.is_interval and block.items else make).append(block.text(block.items))
        elif known.declaration != block.declaration:
            return None
        elif known.content != block.content:
            more = [] if block.is_chain else _more(known, block)
            flush = flush if more else [*flush, title]
            make.append(block.text(more or block.items))
    switch = [_command("flush", table, title) for title in flush]
    switch += [_inside(table, make), *(_command("delete", table, title) for title in gone)]
    return Change(_inside(table, fill), "".join(switch))


def _more(known: Block, block: Block) -> list[str]:
    """Return the elements that a set has in addition; none where it has lost some, and must be filled anew."""
    present = set(known.items)
    return [item for item in block.items if item not in present] if present < set(block.items) else []


def _inside(table: str, parts: list[str]) -> str:
    return f"table inet {table} {{\n{''.join(parts)}}}\n" if parts else ""


def _command(verb: str, table: str, title: str) -> str:
    keyword, _space, name = title.rpartition(" ")
    return f"{verb} {keyword} inet {table} {name}\n"
