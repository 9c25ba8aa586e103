# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import haproxy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import Bind, Section

ANY = None


def translated(*lines: str) -> tuple[Section, ...]:
    return haproxy.translate(haproxy.parse(lines))


def test_parse_knows_sections_by_their_keyword() -> None:
    """Indentation and blank lines mean nothing, `listen` may stand before several blanks."""
    lines = [
        "global",
        "\tmaxconn 4096",
        "\t ",
        "",
        "listen  a_1",
        " bind 192.0.2.1:80",
        "\tcache-control x",
        "frontend b",
    ]
    assert haproxy.parse(lines) == (
        Section("global", ("maxconn 4096",)),
        Section("listen  a_1", ("bind 192.0.2.1:80", "cache-control x")),
        Section("frontend b"),
    )


def test_parse_keeps_what_is_before_the_first_section() -> None:
    """haproxy shall say itself that this is wrong."""
    assert haproxy.parse(["maxconn 1", "global"]) == (Section("", ("maxconn 1",)), Section("global"))


def test_parse_keeps_an_escaped_blank_at_the_end() -> None:
    assert haproxy.parse(["defaults", "\tstats realm Our\\ "])[0].lines == ("stats realm Our\\ ",)


@pytest.mark.parametrize(
    "line",
    [
        "maxconn 10000",
        "no option httpclose",
        "stats auth admin1:AdMiN123",
        "acl network_allowed src 203.0.113.0/24 198.18.0.0/15",
        "server a 10.1.1.11:80 check cookie x",
        "log 203.0.113.9:514 local0",
        "option forwardfor",
    ],
)
def test_translate_leaves_alone_what_haproxy_takes(line: str) -> None:
    """G10: maxconn among it."""
    assert translated("listen a", line) == (Section("listen a", (line,)),)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("option forceclose", "option httpclose"),
        ("option  forceclose", "option httpclose"),
        ("no option forceclose", "no option httpclose"),
        ("log 127.0.0.1:3914   local0 warning", "log /dev/log local0 warning"),
    ],
)
def test_translate_replaces_what_is_obsolete(sent: str, wanted: str) -> None:
    assert translated("defaults", sent) == (Section("defaults", (wanted,)),)


def test_translate_drops_the_placeholder_for_no_rules() -> None:
    sections = translated("listen  vmops", "bind 0.0.0.0:9", "option transparent", "listen vmops2", "bind :1")
    assert [section.name for section in sections] == ["vmops2"]


def test_translate_accepts_fewer_descriptors_than_asked_for() -> None:
    assert translated("global", "maxconn 4096")[0].lines == ("maxconn 4096", "no strict-limits")


COOKIE = "cookie SRV insert indirect"


@pytest.mark.parametrize(
    ("defaults", "section", "wanted"),
    [
        ("mode tcp", (COOKIE,), ("mode http", COOKIE)),
        ("retries 3", (COOKIE,), ("mode http", COOKIE)),
        ("mode http", (COOKIE,), (COOKIE,)),
        ("mode tcp", ("mode http", COOKIE), ("mode http", COOKIE)),
        ("mode http", ("mode tcp", COOKIE), ("mode http", COOKIE)),
        ("mode tcp", ("server a 10.0.0.1:1 cookie x",), ("server a 10.0.0.1:1 cookie x",)),
    ],
)
def test_translate_makes_cookies_work(defaults: str, section: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """haproxy ignores them in TCP mode, which is what the server sends with keep-alive (G6)."""
    assert translated("defaults", defaults, "listen a", *section)[1].lines == wanted


def application(line: str) -> tuple[str, ...]:
    return next(section for section in translated("listen a", "mode http", line) if section.name == "a").lines


def test_appsession_becomes_a_stick_table() -> None:
    assert application("appsession JSESSIONID len 52 timeout 3h ") == (
        "mode http",
        "stick-table type string len 52 size 200k expire 3h peers cloudstack",
        "stick match req.cook(JSESSIONID)",
        "stick match urlp(JSESSIONID,;)",
        "stick store-response res.cook(JSESSIONID)",
    )


def test_appsession_learns_from_requests_only_when_told_to() -> None:
    lines = application("appsession S len 52 timeout 3h request-learn mode query-string")
    assert [line for line in lines if "store-request" in line] == [
        "stick store-request req.cook(S)",
        "stick store-request urlp(S)",
    ]


def test_appsession_with_a_prefix_has_room_for_the_name() -> None:
    lines = application("appsession ASP.S len 10 timeout 1m prefix")
    assert "stick-table type string len 47 size 200k expire 1m peers cloudstack" in lines
    assert """stick match req.fhdr(cookie),'regsub("^(.*[; ])?(ASP[.]S[^;]*).*$","\\2")'""" in " ".join(lines)
    assert sum("res.fhdr(set-cookie," in line for line in lines) == 4


@pytest.mark.parametrize(
    "line",
    ["appsession", "appsession S", "appsession S len x timeout 3h", "appsession S len 5", "appsession a(b len 1"],
)
def test_appsession_that_is_none_is_left_for_haproxy_to_refuse(line: str) -> None:
    assert application(line) == ("mode http", line)


def test_stick_tables_outlive_a_reload() -> None:
    sections = translated(
        "global", "listen a", "stick-table type ip size 1k", "listen b", "stick-table type ip peers mine"
    )
    assert sections == (
        Section("global", ("no strict-limits", "localpeer cloudstack")),
        Section("peers cloudstack", ("peer cloudstack 127.0.0.1:10389",)),
        Section("listen a", ("stick-table type ip size 1k peers cloudstack",)),
        Section("listen b", ("stick-table type ip peers mine",)),
    )


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("192.0.2.1:80 ssl crt /x", [Bind(IPv4Address("192.0.2.1"), 80)]),
        ("ipv4@192.0.2.1:80", [Bind(IPv4Address("192.0.2.1"), 80)]),
        ("0.0.0.0:9", [Bind(ANY, 9)]),
        ("*:9", [Bind(ANY, 9)]),
        (":9", [Bind(ANY, 9)]),
        ("10.0.0.1:80,10.0.0.2:81", [Bind(IPv4Address("10.0.0.1"), 80), Bind(IPv4Address("10.0.0.2"), 81)]),
        ("10.0.0.1:80-82", [Bind(IPv4Address("10.0.0.1"), port) for port in (80, 81, 82)]),
        ("10.0.0.999:80", []),
        ("unix@/run/x", []),
        ("udp@10.0.0.1:80", []),
    ],
)
def test_binds(spec: str, wanted: list[Bind]) -> None:
    assert list(haproxy.binds(haproxy.parse(["listen a", f"bind {spec}"]))) == wanted


def test_binds_are_those_of_proxies() -> None:
    assert haproxy.binds(haproxy.parse(["peers p", "bind 10.0.0.1:1", "listen a", "bind", "server bind 1"])) == ()


def test_secrets_are_the_passwords() -> None:
    lines = ["listen a", "stats auth admin1:AdMiN123", "userlist u", "user eve insecure-password pw1", "user adam"]
    assert haproxy.secrets(haproxy.parse(lines)) == ("admin1:AdMiN123", "AdMiN123", "pw1")
