# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands of a pair, as processes, with stand-ins for what they start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

PREPARED, RUN = "/var/lib/cloudstack/redundancy", "/run/cloudstack/redundancy"
PAIRED = '{\n  "config": {\n    "redundant_router": "true"\n  }\n}\n'


@pytest.fixture
def pair(router: Router) -> Router:
    """Return a router of a pair whose programs note that they were called and what the state was at that moment."""
    router.put("/etc/cloudstack/cmdline.json", PAIRED)
    router.put("/etc/keepalived/keepalived.conf", "global_defs {\n}\nvrrp_instance pair {\n}\n")
    router.put(f"{PREPARED}/pair", "LINK='eth0'\nUNITS='dnsmasq.service'\n")
    for name in ("primary.ip", "backup.ip", "withdraw.ip"):
        router.put(f"{PREPARED}/{name}", "link set dev eth2 up\n")
    router.put(f"{PREPARED}/announce", "eth2 192.0.2.10\neth2 192.0.2.11\n")
    router.put("/proc/uptime", "100.25 1.0\n")
    for name in ("ip", "conntrackd", "systemctl", "arping"):
        router.tool(name, f'echo "$(cat {router.path(RUN)}/state 2>/dev/null) {name} $*" >> {router.path("/called")}')
    return router


def called(router: Router) -> list[str]:
    """Return the calls of the stand-ins, without the root and without the announcements in the background."""
    lines = router.path("/called").read_text().replace(str(router.root), "").splitlines()
    return [line for line in lines if " arping " not in line]


def log(router: Router) -> str:
    file = router.path("/var/log/cloudstack/redundancy.log")
    return file.read_text() if file.exists() else ""


def test_primary_takes_over_connections_before_links(pair: Router) -> None:
    """A packet before its connection state would make a state without the translation (N6, B19)."""
    assert pair.run("vr-transition", "primary").returncode == 0
    calls = called(pair)
    assert calls.pop([" systemctl " in call for call in calls].index(True)) == (
        "PRIMARY systemctl --no-block start dnsmasq.service"
    )
    assert calls == [
        "PRIMARY conntrackd -c",
        f"PRIMARY ip -force -batch {PREPARED}/primary.ip",
        "PRIMARY conntrackd -f",
        "PRIMARY conntrackd -R",
        "PRIMARY conntrackd -B",
    ]
    assert "primary: done in 0 ms" in log(pair)


@pytest.mark.parametrize(("goal", "state"), [("backup", "BACKUP"), ("fault", "FAULT")])
def test_idle_routers_take_links_down_first(pair: Router, goal: str, state: str) -> None:
    pair.run("vr-transition", goal)
    calls = called(pair)
    assert calls.pop([" systemctl " in call for call in calls].index(True)) == (
        f"{state} systemctl --no-block stop dnsmasq.service"
    )
    assert calls == [
        f"{state} ip -force -batch {PREPARED}/backup.ip",
        f"{state} conntrackd -t",
        f"{state} conntrackd -n",
    ]


def test_stop_takes_the_gateway_addresses_away_first(pair: Router) -> None:
    """keepalived cannot do it any more when it was killed (N4)."""
    pair.run("vr-transition", "stop")
    assert called(pair)[:2] == [
        f" ip -force -batch {PREPARED}/withdraw.ip",
        f"FAULT ip -force -batch {PREPARED}/backup.ip",
    ]


def test_a_failing_step_is_reported_and_the_rest_still_runs(pair: Router) -> None:
    pair.tool("conntrackd", "echo 'is conntrackd running?' >&2; exit 3")
    assert pair.run("vr-transition", "primary").returncode == 0
    assert sorted(line.split()[1] for line in called(pair)) == ["ip", "systemctl"]
    assert log(pair).count("primary: failed (3): conntrackd -") == 4
    assert "is conntrackd running?" in log(pair)


@pytest.mark.parametrize(
    ("addresses", "announced"),
    [([], ["eth2 192.0.2.10", "eth2 192.0.2.11"]), (["eth2", "192.0.2.11"], ["eth2 192.0.2.11"])],
)
def test_addresses_are_announced_twice(pair: Router, addresses: list[str], announced: list[str]) -> None:
    """All of them after a takeover; those that another machine has claimed to defend them."""
    pair.put(f"{RUN}/state", "PRIMARY\n")
    pair.run("vr-transition", "announce", *addresses)
    lines = pair.path("/called").read_text().splitlines()
    assert sorted(lines) == sorted(2 * [f"PRIMARY arping -q -U -c 1 -w 1 -I {words}" for words in announced])


def test_a_router_that_gave_way_announces_nothing_more(pair: Router) -> None:
    """Its second packet would take the gateway address away from the new primary."""
    pair.put(f"{RUN}/state", "PRIMARY\n")
    announcing = pair.start("vr-transition", "announce")
    calls = pair.path("/called")
    while not calls.exists() or calls.read_text().count("arping") < 2:
        assert announcing.poll() is None
    pair.put(f"{RUN}/state", "BACKUP\n")
    announcing.communicate(timeout=30)
    assert calls.read_text().count("arping") == 2


@pytest.mark.parametrize("goal", ["backup", "fault", "stop"])
def test_taking_over_again_is_for_the_primary(pair: Router, goal: str) -> None:
    """keepalived may have decided otherwise since the watchdog looked."""
    pair.run("vr-transition", goal)
    before = called(pair)
    assert pair.run("vr-transition", "again").returncode == 0
    assert called(pair) == before


def test_taking_over_again_does_what_the_takeover_did(pair: Router) -> None:
    pair.run("vr-transition", "primary")
    before = called(pair)
    pair.run("vr-transition", "again")
    first, second = ([line.split(maxsplit=1)[1] for line in calls] for calls in (before, called(pair)[len(before) :]))
    assert sorted(second) == sorted(first)
    assert pair.path(f"{RUN}/state").read_text() == "PRIMARY\n"
    assert "again: done in 0 ms" in log(pair)


@pytest.mark.parametrize(("before", "goal", "again"), [("BACKUP", "primary", True), ("BACKUP", "fault", False)])
def test_a_change_during_a_converge_asks_for_another(pair: Router, before: str, goal: str, again: bool) -> None:
    pair.put(f"{RUN}/state", f"{before}\n")
    pair.put("/var/lib/cloudstack/transaction.json", "{}")
    pair.run("vr-transition", goal)
    assert pair.path(f"{RUN}/reconverge").exists() is again


def test_the_latest_of_two_transitions_counts(pair: Router) -> None:
    """keepalived starts the second while the first is still at work."""
    gate = pair.path("/gate")
    pair.tool("conntrackd", f"until [ -e {gate} ]; do sleep 0.01; done")
    first = pair.start("vr-transition", "primary")
    state = pair.path(f"{RUN}/state")
    while not (state.exists() and state.read_text() == "PRIMARY\n"):
        assert first.poll() is None
    second = pair.start("vr-transition", "backup")
    while pair.path(f"{RUN}/goal").read_text() != "backup\n":
        assert second.poll() is None
    gate.touch()
    first.communicate(timeout=30)
    second.communicate(timeout=30)
    assert state.read_text() == "BACKUP\n"


def test_a_single_router_has_no_transitions(router: Router) -> None:
    assert router.fails("vr-transition", "primary") == "vr-transition: this router is not one of a pair"


@pytest.mark.parametrize("state", ["PRIMARY", "BACKUP", "FAULT"])
def test_checkrouter_prints_the_state(pair: Router, state: str) -> None:
    pair.put(f"{RUN}/state", f"{state}\n")
    assert pair.run("checkrouter.sh").stdout == f"Status: {state}\n"


def test_checkrouter_believes_no_state_without_keepalived(pair: Router) -> None:
    pair.put(f"{RUN}/state", "PRIMARY\n")
    pair.tool("systemctl", "exit 3")
    assert pair.run("checkrouter.sh").stdout == "Status: FAULT\n"


@pytest.mark.parametrize("content", ["", "\n", "MASTER\n"])
def test_checkrouter_takes_only_words_it_knows(pair: Router, content: str) -> None:
    pair.put(f"{RUN}/state", content)
    assert pair.run("checkrouter.sh").stdout == "Status: UNKNOWN\n"


def test_checkrouter_of_a_pair_without_a_guest_network(pair: Router) -> None:
    """A redundant VPC without a tier has nothing to be elected on (C4)."""
    pair.path("/etc/keepalived/keepalived.conf").unlink()
    done = pair.run("checkrouter.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Status: UNKNOWN\n", "")


def test_checkrouter_names_problems_after_the_state(pair: Router) -> None:
    pair.put(f"{RUN}/state", "PRIMARY\n")
    pair.put(f"{RUN}/problems", "\nanother primary is heard: 10.1.1.85\n")
    assert pair.run("checkrouter.sh").stdout == "Status: PRIMARY\nProblem: another primary is heard: 10.1.1.85\n"


def test_bumpup_priority_leaves_the_mark_that_keepalived_reads(pair: Router) -> None:
    done = pair.run("bumpup_priority.sh", "null")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pair.path(f"{PREPARED}/bump").read_text() == "1\n"


@pytest.mark.parametrize(("option", "state"), [("--primary", "PRIMARY"), ("--backup", "BACKUP"), ("--fault", "FAULT")])
def test_configure_router(pair: Router, option: str, state: str) -> None:
    assert pair.run("configure_router.py", option).returncode == 0
    assert pair.path(f"{RUN}/state").read_text() == f"{state}\n"


@pytest.mark.parametrize("args", [(), ("primary",), ("--primary", "--backup")])
def test_configure_router_wants_one_state(pair: Router, args: tuple[str, ...]) -> None:
    assert "usage" in pair.fails("configure_router.py", *args)


@pytest.mark.parametrize(("option", "wanted"), [("--enable", "1"), ("--disable", None)])
def test_set_redundant_sends_the_boot_arguments_again(pair: Router, option: str, wanted: str | None) -> None:
    seen = pair.path("/seen.json")
    program = pair.path("/opt/cloudstack/venv/bin/ansible-playbook")
    copy = f'import shutil; shutil.copy("{pair.path("/var/cache/cloud/cmd_line.json")}", "{seen}")\n'
    program.write_text(program.read_text().replace("plan = {}\n", f"plan = {{}}\n{copy}", 1))
    pair.put("/etc/cloudstack/cmdline.json", json.dumps({"config": {"type": "router", "redundant_router": "true"}}))
    assert pair.run("set_redundant.py", option).returncode == 0
    arguments = json.loads(Path(seen).read_text())
    assert arguments["type"] == "cmdline"
    assert arguments["cmd_line"].pop("redundant_router", None) == wanted
    assert arguments["cmd_line"] == {"type": "router"}


def test_set_redundant_needs_boot_arguments(router: Router) -> None:
    assert "expected the boot arguments" in router.fails("set_redundant.py", "--enable")
