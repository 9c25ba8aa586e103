# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""diagnostics.py: three parts whatever happens, and nothing is started but the five tools."""

from __future__ import annotations

import random
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

TOOLS = ("ping", "arping", "traceroute")
ALL_TOOLS = ("ping", "ping6", "arping", "traceroute", "traceroute6")


@pytest.fixture
def tools(router: Router) -> Router:
    """Return a router whose tools note their words and their environment."""
    for name in TOOLS:
        router.tool(name, f'printf "%s\\n" "{name} $*" >>{router.path("/started.txt")}; echo done')
    router.path("/sys/class/net/eth2").mkdir(parents=True)
    router.path("/sys/class/net/eth0").mkdir()
    return router


def parts(text: str) -> list[str]:
    """Return the three parts as the management server reads them."""
    found = text.split("&&")
    assert len(found) == 3, text
    return [part.strip() for part in found]


def answer(router: Router, *words: str) -> list[str]:
    done = router.run("diagnostics.py", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return parts(done.stdout)


def started(router: Router) -> list[str]:
    file = router.path("/started.txt")
    return file.read_text().splitlines() if file.exists() else []


STARTED = {
    "ping 192.0.2.1": "ping -c 4 192.0.2.1",
    "ping 192.0.2.1 -c 2": "ping -c 2 192.0.2.1",
    "ping host.example -c7 -I eth2 -n": "ping -c 7 -I eth2 -n host.example",
    "ping 127.0.0.1 -I 127.0.0.1 -i 0.2 -M do": "ping -I 127.0.0.1 -i 0.2 -M do -c 4 127.0.0.1",
    "ping host.example. -c7": "ping -c 7 host.example.",
    "ping6 2001:db8::1": "ping -6 -c 4 2001:db8::1",
    "arping 192.0.2.1 -I eth2 -D": "arping -I eth2 -D -c 4 192.0.2.1",
    "traceroute 192.0.2.1": "traceroute -m 20 192.0.2.1",
    "traceroute 192.0.2.1 -m5 -n 100": "traceroute -m 5 -n 192.0.2.1 100",
    "traceroute6 2001:db8::1 -q 1": "traceroute -6 -q 1 -m 20 2001:db8::1",
}


@pytest.mark.parametrize("words", STARTED)
def test_a_tool_gets_its_words_and_defaults(tools: Router, words: str) -> None:
    assert answer(tools, *words.split()) == ["done", "", "0"]
    assert started(tools) == [STARTED[words]]


REFUSED = [
    "",
    "ping",
    "bogus 192.0.2.1",
    "/bin/sh -c",
    "ping -f x",
    "ping 192.0.2.1 -f",
    "ping 192.0.2.1 -l 100",
    "ping 192.0.2.1 -b",
    "ping 192.0.2.1 -c 101",
    "ping 192.0.2.1 -c -1",
    "ping 192.0.2.1 -c",
    "ping 192.0.2.1 -c 1;id",
    "ping 192.0.2.1 -i 0.1",
    "ping 192.0.2.1 -I eth9",
    "ping 192.0.2.1 -I ../../eth2",
    "ping 192.0.2.1 -I 192.0.2.77",
    "ping 192.0.2.1 192.0.2.2",
    "ping --help",
    "ping -I",
    "ping $(id)",
    "ping `id`",
    "ping a/b",
    "ping fe80::1%$(id)",
    "arping -U x",
    "arping 192.0.2.1 -A",
    "arping 192.0.2.1 -U",
    "traceroute 192.0.2.1 -A",
    "traceroute 192.0.2.1 -g 192.0.2.9",
    "traceroute 192.0.2.1 65001",
    "traceroute 192.0.2.1 --sport=1",
    "arping a..b",
    "arping .a",
    f"arping {'a' * 64}.example",
    f"ping {'a.' * 127}a",
]


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_not_allowed_starts_nothing(tools: Router, words: str) -> None:
    out, err, status = answer(tools, *words.split(" ") if words else ())
    assert (out, status) == ("", "2")
    assert "expected" in err
    assert started(tools) == []


def test_hostile_lines_start_nothing_but_the_tools(tools: Router) -> None:
    """All are judged in one process, as 10,000 of them would take minutes."""
    fuzz = tools.put("/opt/cloud/bin/fuzz.py", FUZZ)
    done = subprocess.run(["python3", "-IS", str(fuzz)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    allowed, lines = done.stdout.split()
    assert int(lines) == 10_000
    # Else the lines are so hostile that nothing of the allowed is tried.
    assert int(allowed) > 50


FUZZ = f"""
import os, random, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))
from vrlib import bounded, diagnostics
random.seed({random.Random(7).random()})
PIECES = ["ping", "ping6", "arping", "traceroute", "traceroute6", "sh", "-c", "-c4", "-I", "-i", "eth2", "lo", "-f",
  "-A", "-U", "-l", "-m", "--", "-", "$(id)", "`id`", ";reboot", "|", "&&", "192.0.2.1", "::1", "a.example", "../x",
  "*", "[a]", "", " ", "\\n", "\\0", "-F", "/etc/passwd", "0", "1", "99999", "1e3", "0x1", "-n", "-s", "127.0.0.1",
  "-p", "ff",  "-T",   "null",  "\\u202e", "é", "%s", "{{x}}", "A" * 300]
LOUD = (("-f", "ping"), ("-b", "ping"), ("-U", "arping"))
made = []
def run(argv, *, limit, most):
    made.append(argv)
    return bounded.Outcome(b"a&&&b", b"", 0)
bounded.run = run
allowed = 0
for number in range(10000):
    words = [random.choice(PIECES[:5]) if random.random() < 0.8 else random.choice(PIECES)]
    words += [random.choice(PIECES) for _ in range(random.randrange(6))]
    made.clear()
    try:
        argv = diagnostics.command(words)
    except diagnostics.RefusedError:
        continue
    allowed += 1
    assert argv[0] in ("ping", "arping", "traceroute"), argv
    for word in argv[1:]:
        assert re.fullmatch(r"-[a-zA-Z0-9]|[A-Za-z0-9.:_-]+", word), argv
        assert (word, argv[0]) not in LOUD and word not in ("-l", "-A"), argv
        assert not word.startswith("-") or len(word) == 2, argv
print(allowed, 10000)
"""


@pytest.mark.parametrize("printed", ["a && b", "&&&&&&", "x&", "&"])
def test_output_never_makes_a_fourth_part(router: Router, printed: str) -> None:
    router.tool("ping", f"echo '{printed}'; echo '{printed}' >&2; exit 1")
    out, err, status = answer(router, "ping", "192.0.2.1")
    assert out.replace(" ", "") == err.replace(" ", "") == printed.replace(" ", "")
    assert status == "1"


def test_output_is_cut(router: Router) -> None:
    router.tool("ping", "head -c 10000000 /dev/zero | tr '\\0' x")
    out, _err, status = answer(router, "ping", "192.0.2.1")
    assert (len(out), out[-5:], status) == (65536 + 6, "[cut]", "0")


def test_an_absent_tool_is_said_to_be(router: Router) -> None:
    router.put("/usr/sbin/ping", "", 0o644)
    library = router.library("command")
    library.write_text(library.read_text().replace('dict.fromkeys((ROOT, ""))', "(ROOT,)"))
    out, err, status = answer(router, "ping", "192.0.2.1")
    assert (out, status) == ("", "127")
    assert err.startswith("ping: ")


def test_a_tool_that_goes_on_is_stopped_with_what_came_so_far(router: Router) -> None:
    """The limit is lowered in this copy: what is tried is that all of the group ends, children included."""
    library = router.library("diagnostics")
    library.write_text(library.read_text().replace("LIMIT = 55.0", "LIMIT = 1.0"))
    pids = router.path("/pids.txt")
    router.tool("ping", f"echo so far; trap '' INT; sleep 77 & echo $! >{pids}; wait; sleep 77")
    before = time.monotonic()
    out, err, status = answer(router, "ping", "192.0.2.1")
    assert (out, err, status) == ("so far", "stopped after 1 s", "124")
    assert time.monotonic() - before < 30
    time.sleep(0.1)
    assert not _runs(int(pids.read_text()))


def test_the_look_up_is_a_part_of_the_time(router: Router) -> None:
    """The NIC of a name must be known before arping is started. Here its look-up takes an hour of a clock's time."""
    library = router.library("diagnostics")
    late = "setattr(time, 'monotonic', lambda now=time.monotonic: now() + 3600) or '127.0.0.1'"
    text = library.read_text()
    assert text.count("socket.gethostbyname(target)") == 1
    library.write_text(text.replace("socket.gethostbyname(target)", late))
    router.tool("arping", "exec sleep 77")
    out, err, status = answer(router, "arping", "host.example")
    assert (out, err, status) == ("", "stopped after 0 s", "124")


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
