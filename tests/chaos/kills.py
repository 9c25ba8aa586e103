# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kill what converges a router, at random instants, and see that the router is the old one or the new one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.lab.process import LabError
from tests.lab.router import CACHE, Router
from tests.scenarios import drops, shared, states

RUNS = {"cold": "ansible-playbook", "warm": "vr-converged"}
"""Who does the work: Ansible started for this converge, or forked from the resident parent."""
COMMAND = "vr_cfg.sh"
PARENT = ("cloudstack-converge.socket", "cloudstack-converge.service")
VICTIMS = ("all", "converge", "command", "one", "parent")
"""Everything, the converge alone, the command alone, any one process that it started, and the resident parent."""

ORPHAN_WAIT = 120.0
"""Seconds that a converge gets which nobody waits for."""

# Runs on the router, where no process of the machine is seen; what to kill comes on standard input, not as arguments.
_KILLER = """
import glob, json, os, signal, sys
wanted, killed = json.load(sys.stdin), 0
def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1
fresh = []
for path in glob.glob("/proc/[0-9]*/cmdline"):
    pid = int(path.split("/")[2])
    try:
        line = open(path).read()
    except (FileNotFoundError, ProcessLookupError):
        continue
    if any(word in line for word in wanted["words"]) or pid in wanted["pids"]:
        killed += kill(pid)
    elif line and pid not in wanted["known"] and pid < os.getppid():  # not who runs this
        fresh.append(pid)
if fresh and wanted["one"] is not None:
    killed += kill(sorted(fresh)[int(wanted["one"] * len(fresh))])
print(killed)
"""

World = tuple[list[str], dict[str, str]]
"""What a router is, and its databags."""


@dataclass
class Tally:
    """What came of the kills; `problems` says it in words."""

    kills: int = 0
    undone: int = 0
    mixed: int = 0
    lost: int = 0
    stuck: int = 0
    problems: list[str] = field(default_factory=list)


def toggle(on: bool) -> bytes:
    """Return an aggregate that changes six databags and four services, or takes that back: data go with their VM."""
    bodies = (
        drops.alias("10.7.77.1", 2, revoke=not on),
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.77", revoke=not on),
        drops.ingress(700, "192.0.2.20", ports=(7000, 7009), revoked=not on),
        drops.vm("new", "02:07:00:00:00:77", "10.7.0.77", remove=not on),
    )
    if on:
        bodies += (shared.data("10.7.0.77", b"#!/bin/sh\n", vm_id="77"), shared.password("10.7.0.77", "pw"))
    return states.aggregate((f"{i}.json", json.dumps(body).encode()) for i, body in enumerate(bodies))


def start(router: Router, command: str) -> subprocess.Popen[str]:
    """Start a command of the router and return at once."""
    words = [*router.enter(120), "sh", "-c", f"/opt/cloud/bin/{command}"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes(router: Router) -> list[int]:
    """Return the PIDs of a router, as it counts them."""
    return [int(word) for word in router.shell("ls /proc").stdout.split() if word.isdigit()]


def kill(router: Router, run: str, victim: str, known: list[int], one: float) -> int:
    """Kill, with no chance to clean up; `one` in [0, 1) chooses among the processes that are not `known`."""
    words = {"all": [RUNS[run], COMMAND], "converge": [RUNS[run]], "command": [COMMAND]}.get(victim, [])
    parent = int(router.facts.unit(PARENT[1])["MainPID"]) if victim == "parent" else 0
    wanted = {
        "words": words,
        "pids": [parent] if parent else [],
        "known": known,
        "one": one if victim == "one" else None,
    }
    done = router.exec("/usr/bin/python3", "-IS", "-c", _KILLER, stdin=json.dumps(wanted))
    return int(done.stdout)


def measure(router: Router, run: str) -> tuple[dict[bool, World], float]:
    """Toggle thrice; return what the router is then, on and off, and the seconds of the quickest.

    What another load on the machine adds would put every kill behind the commit.
    """
    worlds, durations = {}, []
    for number, on in enumerate((True, False, True)):
        name = f"VR-{run}-whole-{number}-{time.monotonic_ns()}.cfg"
        router.send(name, toggle(on=on))
        durations.append(router.command(f"{COMMAND} -c {CACHE}/{name}").seconds)
        worlds[on] = (states.state(router), states.databags(router))
    return worlds, min(durations)


def campaign(router: Router, run: str, count: int, chance: Random) -> Iterator[Tally]:
    """Kill `count` times, spread over the time that a converge takes; yield the tally after each.

    After each kill a converge without a drop undoes or finishes, and sending the aggregate again then succeeds.
    At the end the router is as it was, without what the aggregate adds.
    """
    for unit in PARENT:
        router.exec("systemctl", "restart" if run == "warm" else "stop", unit)
    worlds, duration = measure(router, run)
    tally, is_on = Tally(), True
    victims = [victim for victim in VICTIMS if run == "warm" or victim != "parent"]
    for number in range(count):
        name = f"VR-{run}-{number}-{time.monotonic_ns()}.cfg"
        known = processes(router)
        router.send(name, toggle(on=not is_on))
        process = start(router, f"{COMMAND} -c {CACHE}/{name}")
        instant = duration * (number % 20 + chance.random()) / min(count, 20)
        time.sleep(instant)
        victim = victims[number % len(victims)]
        tally.kills += kill(router, run, victim, known, chance.random()) > 0
        process.communicate()
        _await_end(router)
        _judge(router, tally, worlds, is_on, name, f"{run}: {victim} killed after {instant:.3f} s")
        is_on = not is_on
        yield tally
    if is_on:
        router.send("VR-off.cfg", toggle(on=False))
        router.command(f"{COMMAND} -c {CACHE}/VR-off.cfg")
    for unit in PARENT:
        router.exec("systemctl", "start", unit)


def _await_end(router: Router) -> None:
    """Wait until a converge whose command was killed has come to its end; the resident parent is no converge."""
    deadline = time.monotonic() + ORPHAN_WAIT
    while time.monotonic() < deadline:
        # The brackets keep pgrep from finding who runs it.
        cold, warm = (
            len(router.exec("pgrep", "--full", pattern, check=False).stdout.split())
            for pattern in ("ansible-playboo[k]", "vr-converge[d]")
        )
        if cold == 0 and warm <= 1:
            return
        time.sleep(0.1)
    raise LabError(f"a converge has not ended within {ORPHAN_WAIT:.0f} s")


def _judge(router: Router, tally: Tally, worlds: dict[bool, World], was_on: bool, name: str, what: str) -> None:
    """Repair, compare with the two worlds, and send again what was not taken."""
    try:
        states.repaired(router)
        found, databags = states.state(router), states.databags(router)
        now_on = databags == worlds[True][1]
        if databags not in (worlds[True][1], worlds[False][1]) or found != worlds[now_on][0]:
            tally.mixed += 1
            tally.problems.append(f"{what}: mixed: {set(found) ^ set(worlds[now_on][0])}")
        tally.undone += now_on == was_on
        if router.exists(f"{CACHE}/{name}"):
            router.command(f"{COMMAND} -c {CACHE}/{name}")
        elif router.exists(f"{CACHE}/failed/{name}"):
            # A daemon or a tool was killed: the converge failed in good order and says why.
            assert router.read(f"{CACHE}/failed/{name}.reason").strip()
            router.send(name, toggle(on=not was_on))
            router.command(f"{COMMAND} -c {CACHE}/{name}")
        if states.databags(router) != worlds[not was_on][1]:
            tally.lost += 1
            tally.problems.append(f"{what}: {name} is lost")
    except (LabError, AssertionError) as error:
        tally.stuck += 1
        tally.problems.append(f"{what}: {type(error).__name__}: {error}")
