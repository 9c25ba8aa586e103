# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A drop is taken whole or not at all: what is wrong with it is one line, and the router stays what it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.daemons import BROKEN, failing
from tests.lab.lab import Lab
from tests.lab.router import CACHE, Answer, Router
from tests.scenarios import drops, networks, states
from tests.scenarios.networks import FIXTURES

DIRECTORY = FIXTURES / "isolated"
GOOD = drops.ingress(700, "192.0.2.20", ports=(7000, 7000))
MAC3 = "1e:00:07:00:00:30"


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Return the router of the fixtures' isolated network, with all its drops applied."""
    with Lab("bad") as lab:
        network = networks.fixture_network(lab)
        network.router.wait_boot()
        states.apply_together(network.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
        yield network.router


@pytest.fixture(scope="module")
def expected(router: Router) -> list[str]:
    """Return what the router is, and stays."""
    return states.state(router)


def rule(**wrong: Any) -> bytes:
    """Return a firewall rule with some fields replaced, or, by None, left out."""
    given = {**GOOD["rules"][0], **wrong}
    return json.dumps({**GOOD, "rules": [{key: value for key, value in given.items() if value is not None}]}).encode()


def machine(**wrong: Any) -> bytes:
    """Return a VM's DHCP entry with some fields replaced."""
    return json.dumps({**drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"), **wrong}).encode()


def with_fields(drop: drops.Drop, **wrong: Any) -> bytes:
    """Return a drop with fields of its only record replaced."""
    records = next(key for key, value in drop.items() if isinstance(value, list))
    return json.dumps({**drop, records: [{**drop[records][0], **wrong}]}).encode()


# What is wrong, the drop, and the words that must stand in the line about it: the path to the field, and what it got.
WRONG: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "truncated": (rule()[:-40], ("JSON",)),
    "not JSON": (b"iptables -F\n", ("JSON",)),
    "empty": (b"", ("JSON",)),
    "not UTF-8": (b'{"type": "\xff\xfe"}', ()),
    "a list": (b"[1, 2]", ("object",)),
    "nested too deeply": (b"[" * 200_000, ()),
    "no type": (b'{"rules": []}', ("type",)),
    "unknown type": (b'{"type": "coffee", "rules": []}', ("type", "coffee")),
    "type is a number": (b'{"type": 7}', ("type",)),
    "rules are a text": (json.dumps({**GOOD, "rules": "all"}).encode(), ("rules", "all")),
    "rule is a number": (json.dumps({**GOOD, "rules": [7]}).encode(), ("rules[0]",)),
    "no protocol (N7)": (rule(protocol=None), ("rules[0].protocol",)),
    "unknown protocol": (rule(protocol="tpc"), ("rules[0].protocol", "tpc")),
    "shell in a protocol (N3)": (rule(protocol="tcp; touch /tmp/owned"), ("rules[0].protocol",)),
    "CIDR 0.0.0.0/02 (B15)": (rule(source_cidr_list=["0.0.0.0/02"]), ("source_cidr_list[0]", "0.0.0.0/02")),
    "CIDR ACCEPT (B5)": (rule(source_cidr_list=["ACCEPT"]), ("source_cidr_list[0]", "ACCEPT")),
    "CIDR with a host too many": (rule(source_cidr_list=["10.0.0.256/32"]), ("source_cidr_list[0]",)),
    "port 70000": (rule(src_port_range=[1, 70000]), ("src_port_range", "70000")),
    "port -2": (rule(src_port_range=[-2, 7]), ("src_port_range",)),
    "ports backwards": (rule(src_port_range=[80, 79]), ("src_port_range",)),
    "ports are words": (rule(src_port_range=["http", "https"]), ("src_port_range",)),
    "address of nobody": (rule(src_ip="192.0.2"), ("src_ip", "192.0.2")),
    "shell in an address": (rule(src_ip="$(touch /tmp/owned)"), ("src_ip",)),
    "second rule is wrong": (
        json.dumps({**GOOD, "rules": [GOOD["rules"][0], {**GOOD["rules"][0], "id": 701, "protocol": 6.5}]}).encode(),
        ("rules[1].protocol",),
    ),
    "host name with a blank": (machine(host_name="web server"), ("host_name",)),
    "host name with shell": (machine(host_name="web;touch /tmp/owned"), ("host_name",)),
    "host name with a line break": (machine(host_name="web\naddress=/#/6.6.6.6"), ("host_name",)),
    "host name that is a path": (machine(host_name="../../etc/passwd"), ("host_name",)),
    "host name with a comma": (machine(host_name="web,10.7.0.12"), ("host_name",)),
    "MAC too short": (machine(mac_address="02:07:00:00:00"), ("mac_address",)),
    "address with an option": (machine(ipv4_address="10.7.0.77,infinite"), ("ipv4_address",)),
    "forward of unequal ranges": (
        with_fields(drops.forward("192.0.2.20", (1, 9), "10.7.0.11"), destination_port_range="1:8"),
        ("rules[0]",),
    ),
    "forward to a name": (
        with_fields(drops.forward("192.0.2.20", (1, 9), "10.7.0.11"), destination_ip_address="db"),
        ("rules[0].destination_ip_address", "db"),
    ),
    "netmask with holes": (
        with_fields(drops.address("198.51.100.77", "198.51.100.1", MAC3, 3), netmask="255.0.255.0"),
        ("ip_address[0].netmask", "255.0.255.0"),
    ),
    "no public address": (
        with_fields(drops.address("198.51.100.77", "198.51.100.1", MAC3, 3), public_ip=""),
        ("ip_address[0].public_ip",),
    ),
    "50 MB of junk": (b"\x00junk" * 10_000_000, ()),
    "50 MB of JSON": (b'{"type": "firewallrules", "rules": ["' + b"x" * 50_000_000 + b'"]}', ()),
}


def assert_refused(answer: Answer, words: tuple[str, ...]) -> None:
    """Fail unless a command failed with one line that holds the words."""
    assert answer.returncode == 1, answer
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.endswith("\n")
    assert len(answer.stderr) < 2100
    missing = [word for word in words if word not in answer.stderr]
    assert not missing, f"{missing} not in {answer.stderr}"
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_drop_changes_nothing_and_is_kept_with_its_reason(
    router: Router, expected: list[str], wrong: str
) -> None:
    body, words = WRONG[wrong]
    name = drops.named("drop", list(WRONG).index(wrong))
    before = router.facts.snapshot(states.WATCHED, states.DAEMONS)
    answer = router.drop(name, body, check=False)
    assert_refused(answer, (name, *words))
    assert router.facts.snapshot(states.WATCHED, states.DAEMONS) == before
    assert router.read(f"{CACHE}/failed/{name}.reason").strip() == answer.stderr.strip()
    assert router.exec("stat", "--format=%s", f"{CACHE}/failed/{name}").stdout.strip() == str(len(body))
    assert not router.exists(f"{CACHE}/{name}")
    assert not router.exists("/tmp/owned")


def test_the_router_is_untouched_and_takes_the_next_good_drop(router: Router, expected: list[str]) -> None:
    """N7: nothing of a refused drop is left to fail the next one."""
    states.assert_same(expected, states.state(router))
    assert not router.exists("/tmp/owned")
    router.drop(drops.named("good", 1), GOOD)
    router.drop(drops.named("good", 2), drops.ingress(700, "192.0.2.20", ports=(7000, 7000), revoked=True))
    states.assert_same(expected, states.state(router))


NAMES = ["../../../etc/passwd", "..", "a/b", "/etc/passwd", ".hidden", "-e", "two words", "$(touch /tmp/owned)", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_plain_name_is_refused(router: Router, expected: list[str], name: str) -> None:
    before = router.facts.snapshot((*states.WATCHED, CACHE))
    done = router.exec("/opt/cloud/bin/update_config.py", name, check=False)
    assert_refused(Answer(name, done.returncode, done.stdout, done.stderr, 0), ())
    assert router.facts.snapshot((*states.WATCHED, CACHE)) == before
    assert not router.exists("/tmp/owned")


def test_a_name_that_never_came_is_refused(router: Router) -> None:
    answer = router.command("update_config.py ip_associations.json.never", check=False)
    assert_refused(answer, ("ip_associations.json.never",))


# What the command reports when a program fails.
REPORTED = {
    "nft refuses the rules": "not process rule",
    "dnsmasq refuses its file": "bad option",
    "dnsmasq does not start": "dnsmasq.service",
    "ip is not permitted": "Not permitted",
}


@pytest.mark.parametrize("what", REPORTED)
def test_a_failure_while_applying_puts_the_previous_state_back(router: Router, expected: list[str], what: str) -> None:
    """The new address, alias, rule and VM are in one transaction: the services before the failing one are undone."""
    changes = (
        drops.address("198.51.100.77", "198.51.100.1", MAC3, 3),
        drops.alias("10.7.77.1", 2),
        drops.ingress(701, "198.51.100.77", ports=(7, 7)),
        drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"),
    )
    databags = states.databags(router)
    with failing(router, *BROKEN[what]):
        answer = states.change(router, *changes, check=False)
    assert_refused(answer, (REPORTED[what],))
    assert states.databags(router) == databags
    states.assert_same(expected, states.state(router))
    assert states.repaired(router) == []


def test_a_failing_way_back_is_told_and_the_next_converge_heals(router: Router, expected: list[str]) -> None:
    """The address is set, the rules are refused as a whole, and then the address cannot be taken away again."""
    databags = states.databags(router)
    address = drops.address("198.51.100.77", "198.51.100.1", MAC3, 3)
    with (
        failing(router, "/usr/sbin/nft", "--file*", "Error: No buffer space available"),
        failing(router, "/usr/sbin/ip", "-batch*", "RTNETLINK answers: Not permitted", after=1, times=9),
    ):
        answer = states.change(router, address, drops.ingress(701, "198.51.100.77"), check=False)
    assert_refused(answer, ("No buffer space available", "putting the previous state back failed", "Not permitted"))
    assert states.databags(router) == databags
    # The rules that were refused are nowhere, also not where the next boot would find them. What may have come in by
    # them is judged now, because the way back did not get so far.
    assert states.repaired(router) == ["interfaces", "firewall"]
    assert states.repaired(router) == []
    states.assert_same(expected, states.state(router))
