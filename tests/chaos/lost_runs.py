# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lose control nodes in the middle of their runs, and see that the management server's next drop does not wait long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos import kills
from tests.lab.router import CACHE, Router
from tests.scenarios import control_node, drops, states

PATIENCE = 150.0
"""Seconds in which the next drop must be done."""


@dataclass
class Tally:
    """What came of the losses; `slowest` is in seconds, `problems` says it in words."""

    losses: int = 0
    undone: int = 0
    mixed: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


def campaign(router: Router, directory: Path, count: int, chance: Random) -> Iterator[Tally]:
    """Lose a control node `count` times, spread over the time that its run takes; yield the tally after each.

    Every other time its cable is pulled before it is killed: the router's sshd hears nothing of it.
    """
    worlds, duration = _measure(router, directory)
    tally, is_on = Tally(), True
    for number in range(count):
        name = f"VR-lost-{number}-{time.monotonic_ns()}.cfg"
        router.send(name, kills.toggle(on=not is_on))
        instant = duration * (number + chance.random()) / count
        what = f"{'cut off' if number % 2 else 'killed'} after {instant:.1f} of {duration:.1f} s"
        _lose(router, directory, name, instant, cut=bool(number % 2))
        tally.losses += 1
        _judge(router, tally, worlds, number, what)
        # What was lost is sent again; where it is in force nothing changes.
        tally.undone += states.databags(router) == worlds[is_on][1]
        is_on = not is_on
        router.send(name, kills.toggle(on=is_on))
        router.command(f"vr_cfg.sh -c {CACHE}/{name}")
        if (states.state(router), states.databags(router)) != worlds[is_on]:
            tally.problems.append(f"{what}: the router is not what {name} makes of it")
        yield tally
    if is_on:
        router.send("VR-lost-off.cfg", kills.toggle(on=False))
        router.command(f"vr_cfg.sh -c {CACHE}/VR-lost-off.cfg")


def _measure(router: Router, directory: Path) -> tuple[dict[bool, kills.World], float]:
    """Let a control node add the aggregate; return what the router is without and with it, and the seconds it took."""
    worlds = {False: (states.state(router), states.databags(router))}
    name = f"VR-found-{time.monotonic_ns()}.cfg"
    router.send(name, kills.toggle(on=True))
    started = time.monotonic()
    played = control_node.play(router, directory, "-e", _variables(name))
    assert played.returncode == 0, played.stdout
    duration = time.monotonic() - started
    worlds[True] = (states.state(router), states.databags(router))
    return worlds, duration


def _variables(name: str) -> str:
    return json.dumps({"vr_aggregate": f"{CACHE}/{name}"})


def _lose(router: Router, directory: Path, name: str, instant: float, *, cut: bool) -> None:
    management = router.lab.hosts["management"]
    with control_node.start(router, directory, "-e", _variables(name)) as process:
        time.sleep(instant)
        if cut:
            management.ip("link", "set", "eth0", "down")
        process.kill()
        process.communicate()
    if cut:
        management.ip("link", "set", "eth0", "up")


def _judge(router: Router, tally: Tally, worlds: dict[bool, kills.World], number: int, what: str) -> None:
    """Let the management server send a drop and take it back; the router is then one of the two worlds."""
    for revoked in (False, True):
        name = f"firewall_rules.json.lost-{number}-{revoked}-{time.monotonic_ns()}"
        answer = router.drop(name, drops.ingress(771, "192.0.2.20", ports=(7771, 7771), revoked=revoked), check=False)
        tally.slowest = max(tally.slowest, round(answer.seconds, 1))
        if answer.returncode or answer.seconds > PATIENCE:
            tally.problems.append(f"{what}: after {answer.seconds:.1f} s: {answer.stdout}{answer.stderr}")
    if (states.state(router), states.databags(router)) not in worlds.values():
        tally.mixed += 1
        tally.problems.append(f"{what}: mixed")
