# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A table that was changed is the table that would have been loaded as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, RuleList, StaticNat
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.table_text import (
    Block,
    Change,
    blocks,
    canonical,
    change,
    counts,
)
from tests.golden.cases import renderer
from tests.unit.plan.kernel import in_private_kernel, needs_kernel
from tests.unit.plan.samples import FIRST, SECOND, VM1, VM2, isolated, rule, rules, vpc
from tests.unit.plan.strategies import RULES, forwards

RENDER = renderer()
LISTS = st.builds(RuleList, RULES, st.booleans())
NATS = st.lists(st.builds(StaticNat, st.sampled_from([FIRST, SECOND]), st.sampled_from([VM1, VM2])), max_size=1)
ISOLATED = st.builds(
    lambda forwarded, **fields: isolated(forwards=tuple(forwarded), **fields),
    st.lists(forwards(), max_size=6),
    egress=LISTS,
    firewall=st.dictionaries(st.sampled_from([FIRST, SECOND]), LISTS),
    static_nats=NATS.map(tuple),
)
VPC = st.builds(vpc, acls=st.dictionaries(st.sampled_from(["eth2", "eth3", "eth4"]), st.tuples(LISTS, LISTS)))
LOAD = 'load() { printf %s "$1" | nft -f -; }'
SHOW = "nft -s list table inet cloudstack; echo ====="


def text(router: Router) -> str:
    """Return the text of the filter's table."""
    return tables.wanted(router, RENDER)[1].files[0].content


def changed(old: str, new: str) -> Change:
    """Return the change from one text into another, which nothing stands against."""
    found = change("cloudstack", old, new)
    assert found is not None
    return found


def listings(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Load the first text and change it into each of the others; return the listings, and those of whole loads."""
    changes = [changed(old, new) for old, new in pairwise(texts)]
    files = {f"whole{number}": text for number, text in enumerate(texts)}
    files |= {f"fill{number}": found.fill for number, found in enumerate(changes, 1)}
    files |= {f"switch{number}": found.switch for number, found in enumerate(changes, 1)}
    numbers = range(1, len(texts))
    lines = [LOAD, 'load "$whole0"', *(f'load "$fill{n}"; load "$switch{n}"; {SHOW}' for n in numbers)]
    lines += [f'load "$whole{n}"; {SHOW}' for n in numbers]
    shown = in_private_kernel("\n".join(lines), **files).split("=====\n")[:-1]
    return shown[: len(changes)], shown[len(changes) :]


@needs_kernel
@settings(max_examples=12)
@given(st.lists(st.one_of(ISOLATED, VPC), min_size=4, max_size=4))
def test_kernel_has_the_same_after_changes_as_after_a_whole_load(routers: list[Router]) -> None:
    """Whatever the table was before, and before that (B2)."""
    texts = [text(router) for router in routers]
    texts = [new for number, new in enumerate(texts) if not number or new != texts[number - 1]]
    if len(texts) < 2:
        return
    found, expected = listings(texts)
    assert [canonical(one) for one in found] == [canonical(one) for one in expected]
    for listing, new in zip(found, texts[1:], strict=True):
        tables.must_hold(listing, new, "cloudstack")


LISTING = """\
table inet cloudstack {
    comment "of somebody"
    set ports_1 {
        type inet_service
        flags interval
        elements = { 22, 80-90,
\t\t\t     443 }
    }

    map marks {
        type ifname : mark
    }

    chain input {
        type filter hook input priority filter; policy accept;
        tcp dport { 80, 443 } accept comment "elements = { b } c"
        drop
    }
}
""".replace("    ", "\t")


def test_blocks_are_what_a_listing_has() -> None:
    """nft's own words, wrapped as nft wraps them."""
    assert blocks(LISTING) == [
        Block("set", "ports_1", ("type inet_service", "flags interval"), ("22", "80-90", "443")),
        Block("map", "marks", ("type ifname : mark",), ()),
        Block(
            "chain",
            "input",
            ("type filter hook input priority filter; policy accept;",),
            ('tcp dport { 80, 443 } accept comment "elements = { b } c"', "drop"),
        ),
    ]
    assert counts(LISTING) == {"set ports_1": 3, "map marks": 0, "chain input": 2}


def test_blocks_can_be_written_again() -> None:
    found = blocks(text(isolated(egress=rules(rule(protocol="tcp", ports=22), rule(protocol="tcp", ports=80)))))
    assert blocks("".join(block.text(block.items) for block in found)) == found


SET, MAP = (LISTING[LISTING.index(one) : LISTING.index(end)] for one, end in (("\tset", "\tmap"), ("\tmap", "\tchain")))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (SET, "", False),
        ("22, 80-90", "80-90, 22", True),
        (SET + MAP, MAP + SET, True),
        ("443 }\n", "444 }\n", False),
        ("flags interval", "flags interval, timeout", False),
        ("443 } accept", "444 } accept", False),
        ("accept comment", "drop comment", False),
        ("\t\tdrop\n", "", False),
        ("policy accept", "policy drop", False),
        ('\t\ttcp dport { 80, 443 } accept comment "elements = { b } c"\n\t\tdrop\n', "\t\tdrop\n\t\taccept\n", False),
        ('comment "of somebody"', "flags dormant", False),
    ],
)
def test_canonical_is_the_same_for_what_means_the_same(old: str, new: str, same: bool) -> None:
    """Parts and elements may be listed in another order; whatever else is different is drift (B3)."""
    assert LISTING.count(old) == 1
    other = LISTING.replace(old, new)
    assert (canonical(other) == canonical(LISTING)) == same


def ports(*numbers: int) -> str:
    """Return the text of a router whose egress rules are about these ports."""
    return text(isolated(egress=rules(*(rule(protocol="tcp", ports=number) for number in numbers))))


def test_change_of_nothing_is_nothing() -> None:
    assert changed(ports(22, 80), ports(22, 80)) == Change("", "")


def test_change_is_about_what_differs() -> None:
    """A list that another list came to stays in the kernel as it is, and its chain with it."""
    lists = {FIRST: rules(*(rule(protocol="tcp", ports=port) for port in range(1, 99, 2)))}
    found = changed(
        text(isolated(firewall=lists)), text(isolated(firewall=lists, egress=rules(rule(protocol="tcp", ports=22))))
    )
    assert found.fill == ""
    assert found.switch.splitlines() == [
        "flush chain inet cloudstack egress",
        "flush chain inet cloudstack egress_reversed",
        "table inet cloudstack {",
        "\tchain egress {",
        '\t\ttcp dport 22 return comment "rule"',
        "\t\tgoto refused",
        "\t}",
        "\tchain egress_reversed {",
        '\t\ttcp sport 22 goto resumed_towards comment "rule"',
        "\t\tgoto refused",
        "\t}",
        "}",
    ]


def test_change_fills_a_new_set_of_ranges_before_a_rule_asks_it() -> None:
    """The kernel publishes its elements later than the rules of the same transaction."""
    texts = ports(1, 3), ports(1, 5)
    old, new = (next(block.name for block in blocks(one) if block.name.startswith("ports_")) for one in texts)
    found = changed(*texts)
    assert [(block.title, block.items) for block in blocks(found.fill)] == [(f"set {new}", ("1", "5"))]
    assert f"set {new} " not in found.switch
    assert f"@{new} " in found.switch
    lines = found.switch.splitlines()
    assert (lines[0], lines[-1]) == ("flush chain inet cloudstack egress", f"delete set inet cloudstack {old}")


def test_change_adds_to_a_set_that_has_lost_nothing() -> None:
    """One more static NAT costs one element; one less, the whole map."""
    one, two = ({"static_nats": tuple(map(StaticNat, (FIRST, SECOND)[:n], (VM1, VM2)))} for n in (1, 2))
    more, less = (changed(text(isolated(**old)), text(isolated(**new))).switch for old, new in ((one, two), (two, one)))
    added = {block.name: block.items for block in blocks(more)}
    assert added["static_nat"] == ("198.51.100.20 : 10.1.1.12",)
    assert "flush" not in more
    assert "flush map inet cloudstack static_nat\n" in less
    assert {block.name: block.items for block in blocks(less)}["static_nat"] == ("192.0.2.10 : 10.1.1.11",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hook input priority filter;", "hook input priority mangle;"),
        ("hook input priority filter; policy accept;", "hook input priority filter; policy drop;"),
        ("type inet_service\n", "type inet_proto\n"),
        ("\t\tflags interval\n", ""),
        ("\t\ttype filter hook input priority filter; policy accept;\n", ""),
    ],
)
def test_change_of_a_declaration_needs_a_new_table(old: str, new: str) -> None:
    assert LISTING.count(old) == 1
    assert change("cloudstack", LISTING, LISTING.replace(old, new)) is None
