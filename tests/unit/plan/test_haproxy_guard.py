# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a configuration may say: each way to a file, a program, a socket or other rights is refused by name."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import load_balancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import haproxy_guard
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy_guard import Guard, Line
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.load_balancer import (
    require_bound,
    require_known_words,
)
from tests.unit.plan.haproxy_lines import (
    FILES,
    GLOBAL,
    MANUAL_GLOBAL,
    MANUAL_PROXY,
    PROGRAMS,
    SECTIONS,
    SERVER_GLOBAL,
    SERVER_PROXY,
    SOCKETS,
)

SHARED_DROPS = Path(__file__).resolve().parents[4] / "shared" / "drops"
OWN = IPv4Address("192.0.2.1")


def refused(place: str, line: str, more: tuple[str, ...] = ()) -> str:
    title = {"global": "global", "proxy": "listen a"}.get(place, place)
    found = Guard([OWN], more).refusal([Line(title, "title"), Line(f"\t{line}", "here")])
    assert found is None or found.where == "here"
    return "" if found is None else str(found)


def lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


@pytest.mark.parametrize("line", lines(SERVER_GLOBAL) + lines(MANUAL_GLOBAL))
def test_global_lines_of_load_balancers_pass(line: str) -> None:
    assert refused("global", line) == ""


@pytest.mark.parametrize("line", lines(SERVER_PROXY) + lines(MANUAL_PROXY))
def test_lines_of_load_balancers_pass(line: str) -> None:
    assert refused("proxy", line) == ""


@pytest.mark.parametrize("line", [*FILES, *PROGRAMS, *SOCKETS])
def test_what_reaches_beyond_the_machines_is_refused(line: str) -> None:
    """In a proxy, where the values of rules end up."""
    assert refused("proxy", line) != ""


@pytest.mark.parametrize("line", GLOBAL)
def test_what_changes_the_process_is_refused(line: str) -> None:
    assert refused("global", line) != ""


@pytest.mark.parametrize("line", SECTIONS)
def test_other_sections_are_refused(line: str) -> None:
    assert refused("global", line) != ""
    assert refused("proxy", line) != ""


@pytest.mark.parametrize(
    "line", [*lines(SERVER_GLOBAL), *lines(MANUAL_GLOBAL)[:3], "user a password b", "group g users a"]
)
def test_words_belong_to_their_section(line: str) -> None:
    """Of global, none but `log` is a proxy's too; an account belongs to a list of users."""
    same = line.startswith(("log", "maxconn"))
    assert (refused("proxy", line) == "") is same
    assert refused("cache c", line) != ""
    assert (refused("userlist u", line) == "") is line.startswith(("user", "group"))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("bogus 12", "bogus"),
        ("http-request return status 200 file /etc/shadow", "file in a line of http-request return"),
        ("http-request set-header X %[src,map(/etc/shadow)]", "map in a line of http-request set-header"),
        ("http-request set-header X %[env(A)]", "env in a line of http-request set-header"),
        ("server a unix@/run/x", "unix@/run/x in a line of server a"),
        ("server a 10.1.1.1:1 check addr 127.0.0.1", "127.0.0.1 in a line of server a"),
        ("acl x src -f /etc/shadow", "-f in a line of acl x"),
        ("timeout client", "nothing more in a line of timeout"),
        ("stats auth a:b c", "a word in a line of stats"),
        ('"mode" tcp', "a keyword in quotes"),
        ('description "${HOME}"', "a variable of the environment"),
        ('description "a', "a quote that is left open"),
        ("description a\x0bb", "a control character"),
    ],
)
def test_the_word_is_named(line: str, word: str) -> None:
    assert refused("proxy", line) == word


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"a  b\ c # d", ["a", "b c"]),
        ("a 'b # \"c' \"d 'e\"", ["a", 'b # "c', "d 'e"]),
        (r'a b"c d"\"e \# \\', ["a", 'bc d"e', "#", "\\"]),
        (r"a \x66ile \. \$HOME '$HOME' $HOME ''", ["a", "file", "\\.", "$HOME", "$HOME", "$HOME", ""]),
        ("a\tb\r", ["a", "b"]),
        ("#a", []),
    ],
)
def test_words_are_haproxys(text: str, found: list[str]) -> None:
    """Configuration manual of haproxy 2.6, section 2.2."""
    assert haproxy_guard.words(text) == found


@pytest.mark.parametrize("word", [r"fi\x6ce", '"file"', "fi'le'", r"f\x69le"])
def test_quotes_hide_no_word(word: str) -> None:
    assert refused("proxy", f"http-request return {word} /etc/shadow").startswith("file in")


def test_an_added_line_adds_one_keyword() -> None:
    assert refused("proxy", "errorfile 503 /etc/haproxy/errors/503.http") != ""
    more = ("proxy errorfile NUMBER /etc/haproxy/errors/503.http", "fetch env", "bind interface NAME", "# comment", "")
    assert refused("proxy", "errorfile 503 /etc/haproxy/errors/503.http", more) == ""
    assert refused("proxy", "errorfile 503 /etc/shadow", more) != ""
    assert refused("proxy", "http-request set-header X %[env(A)]", more) == ""
    assert refused("proxy", "bind :80 interface eth0", more) == ""
    assert refused("proxy", "bind :80 interface eth0") != ""


def test_lines_before_any_section_are_refused() -> None:
    found = Guard().refusal([Line("", "0"), Line("# comment", "1"), Line("maxconn 1", "2"), Line("global", "3")])
    assert found is not None
    assert (found.where, found.word) == ("2", "maxconn")


def test_every_real_drop_passes() -> None:
    """Those that the management server's own code wrote; in a clone of a user there are none."""
    drops = sorted(SHARED_DROPS.glob("*/*load_balancer.json*"))
    if not drops:
        pytest.skip(f"no drops in {SHARED_DROPS}")
    for drop in drops:
        balancer = load_balancer({"loadbalancer": {"config": json.loads(drop.read_bytes())["rules"]}})
        assert balancer is not None
        require_known_words(balancer, "")
        require_bound(balancer)
    assert len(drops) > 20
