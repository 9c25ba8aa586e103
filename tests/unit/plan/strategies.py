# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What several test files draw: rules and port forwards as the schema admits them.

There are few values, so that rules overlap, touch each other, and packets hit them.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Match,
    Ports,
    Rule,
)
from tests.unit.plan.samples import FIRST, SECOND, VM1, VM2

NETWORKS = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/25",
    "10.1.1.128/25",
    "10.1.1.11/32",
    "10.1.1.12/32",
    "203.0.113.0/24",
]
CIDRS = st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True).map(tuple)
PORTS = st.tuples(st.integers(0, 12), st.integers(0, 6)).map(lambda p: Ports(p[0], p[0] + p[1]))
ANY_OR = st.one_of(st.none(), st.integers(0, 2))


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Draw what a rule applies to."""
    protocol = draw(st.sampled_from([None, "tcp", "udp", "icmp", "47", "0"]))
    ports = draw(st.one_of(st.none(), PORTS)) if protocol in ("tcp", "udp") else None
    kind, code = (draw(ANY_OR), draw(ANY_OR)) if protocol == "icmp" else (None, None)
    return Match(protocol, ports, kind, code, draw(CIDRS), draw(CIDRS))


RULES = st.lists(st.builds(Rule, matches(), st.booleans(), st.just("r")), max_size=12).map(tuple)
SOURCES = [(), ("203.0.113.0/25",), ("203.0.113.128/25", "198.18.0.0/15")]


@st.composite
def forwards(draw: st.DrawFn) -> Forward:
    """Draw a forward as the schema admits it: protocol and ports may be any, ranges are of one length."""
    protocol = draw(st.sampled_from([None, "tcp", "udp"]))
    public = draw(st.one_of(st.none(), st.tuples(st.integers(1, 30), st.integers(0, 5))))
    ends = draw(st.sampled_from([FIRST, SECOND])), draw(st.sampled_from([VM1, VM2]))
    if public is None:
        return Forward(*ends, protocol, sources=draw(st.sampled_from(SOURCES)))
    ports = Ports(public[0], public[0] + public[1])
    shift = draw(st.sampled_from([0, 0, 100]))
    inner = Ports(ports.first + shift, ports.last + shift)
    return Forward(*ends, protocol, ports, inner, draw(st.sampled_from(SOURCES)))
