# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many connections are judged fast: the kernel picks what may be cut, and flows of one kind have one verdict."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import flow_verdicts
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import Change
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_patterns import (
    Pattern,
    patterns,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import (
    Verdicts,
    flow_of,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow
from tests.unit.plan.samples import CLIENT, FIRST, SECOND, VM1, VM2, rule, rules
from tests.unit.plan.test_conntrack import (
    CHANGES,
    FROM_ALL,
    FROM_CLIENT,
    GATEWAY,
    OPEN,
    OTHER,
    RANGE,
    SITE,
    SSH_IN,
    THIRD,
    TIER1,
    WEB,
    WHOLE,
    entry_of,
    open_vpc,
    router,
)


def test_verdicts_ask_the_rules_once_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 clients that no rule tells apart are one question."""
    asked = []
    cuts = Change.cuts
    monkeypatch.setattr(Change, "cuts", lambda change, item: asked.append(item) or cuts(change, item))
    verdicts = Verdicts((router(),), router(firewall={FIRST: rules(FROM_CLIENT), SECOND: WHOLE}))
    clients = [replace(SSH_IN, source=ip, reply_destination=ip) for ip in IPv4Network("198.18.0.0/20")]
    assert all(verdicts.cuts(entry_of(item)) for item in clients)
    assert not verdicts.cuts(entry_of(SSH_IN))
    assert len(asked) == 2


def test_verdicts_do_not_grow_with_the_kinds_of_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks and codes are what a packet says."""
    monkeypatch.setattr(flow_verdicts, "MOST_KINDS", 4)
    verdicts = Verdicts((router(),), router(forwards=(WEB, RANGE)))
    for mark in range(100):
        assert verdicts.cuts(entry_of(replace(SSH_IN, mark=mark)))
    assert len(verdicts._known) <= 4


IPS = st.sampled_from([CLIENT, OTHER, FIRST, SECOND, THIRD, VM1, VM2, GATEWAY, IPv4Address("10.1.1.99"), TIER1, SITE])
PORT = st.sampled_from([0, 8, 22, 53, 80, 2222, 8000, 8003, 9003, 40000])
FLOW = st.builds(
    Flow, st.sampled_from(["tcp", "udp", "icmp", "47"]), IPS, IPS, PORT, PORT, IPS, IPS, PORT, st.just(0), st.just(0)
)


@settings(max_examples=200)
@given(st.lists(FLOW, max_size=20), st.sampled_from(list(CHANGES.values())))
def test_verdicts_by_kind_are_those_by_flow(
    flows: list[Flow], change: tuple[dict[str, object], dict[str, object], set[str]]
) -> None:
    """Whatever is in the table: what an attacker can make of addresses and ports is judged as if it were alone."""
    old, new = router(**change[0]), router(**change[1])
    judge, verdicts = Change(old, new), Verdicts((old,), new)
    for item in flows:
        entry = entry_of(item)
        assert verdicts.cuts(entry) is judge.cuts(flow_of(entry))


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({FIRST: rules(FROM_CLIENT, FROM_ALL)}, {FIRST: rules(FROM_ALL)}, {Pattern(FIRST, 6, 2222)}),
        ({FIRST: rules(FROM_ALL)}, {}, {Pattern(FIRST, 6)}),
        ({FIRST: WHOLE}, {}, {Pattern(FIRST)}),
        ({FIRST: rules(FROM_CLIENT)}, {FIRST: rules(FROM_CLIENT, FROM_ALL)}, set()),
    ],
)
def test_patterns_ask_for_no_more_than_a_rule_lets_in(
    before: dict[IPv4Address, RuleList], after: dict[IPv4Address, RuleList], wanted: set[Pattern]
) -> None:
    """The kernel looks through its table ten times as fast as it lists it."""
    assert set(patterns((router(firewall=before),), router(firewall=after))) == wanted


def test_patterns_that_are_many_become_one_for_all() -> None:
    forwards = tuple(Forward(FIRST, VM1, "tcp", Ports(p, p), Ports(p, p)) for p in range(9))
    assert patterns((router(forwards=forwards),), router(forwards=())) == (Pattern(FIRST),)
    firewall = {IPv4Address(f"192.0.2.{n}"): WHOLE for n in range(20, 30)}
    assert patterns((router(firewall=firewall),), router(firewall={})) == (Pattern(),)


def test_patterns_of_an_acl_are_about_the_inner_port() -> None:
    """And a rule that is only allowed more, or a new order of nothing but allowed ones, is none."""
    web = (rules(rule(protocol="tcp", ports=8080)), RuleList(default_allow=True))
    shut = (RuleList(), RuleList(default_allow=True))
    old, new = (open_vpc(acls={"eth2": acl, "eth3": OPEN, "eth4": OPEN}) for acl in (web, shut))
    assert patterns((old,), new) == (Pattern(protocol=6, reply_port=8080),)
    assert patterns((new,), old) == ()
