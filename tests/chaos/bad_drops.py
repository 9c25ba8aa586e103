# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send a router drops that are mistaken, damaged and hostile, and drops that are only strange."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic
from tests.chaos import pipeline
from tests.chaos.mutations import MARK, Mutator, encode, hostile
from tests.lab.router import Answer, Router
from tests.scenarios import states

COMPARED_EVERY = 20
"""After how many refused drops the router is compared with what it was."""


MAY_REFUSE = ("haproxy -c: ", "load_balancer.json: ")
"""The server writes haproxy's configuration, so haproxy judges it, and which ports are free is known on the router."""


@dataclass
class Tally:
    """What came of the drops; `problems` says what should not have been."""

    sent: int = 0
    refused: int = 0
    taken: int = 0
    failed_later: int = 0
    wrongly_taken: int = 0
    unexplained: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)


def world(router: Router) -> pipeline.World:
    """Return the router that drops come to, as it is now."""
    script = f"cd {states.DATABAGS}; for bag in *.json; do printf '%s ' \"$bag\"; tr -d '\\n' < \"$bag\"; echo; done"
    lines = router.shell(script).stdout.splitlines()
    texts = dict(line.split(" ", 1) for line in lines)
    bags = {name.removesuffix(".json"): json.loads(text) for name, text in texts.items()}
    nics = tuple(Nic(name, link["address"]) for name, link in router.facts.links().items() if name.startswith("eth"))
    return pipeline.World(router.name, {name: adopt(name, bag) for name, bag in bags.items()}, nics)


def bad(mutator: Mutator) -> Iterator[bytes]:
    """Yield drops of every type by turns: mistaken, damaged, and with a hostile text in a field."""
    texts = {kind: list(hostile({kind: mutator.bodies[kind][0]})) for kind in mutator.kinds}
    while True:
        for kind in mutator.kinds:
            yield encode(mutator.mistaken(kind))
            yield mutator.damaged(encode(mutator.mixed(kind)))
            yield encode(mutator.chance.choice(texts[kind])[3])


def refusals(router: Router, mutator: Mutator, count: int) -> Iterator[Tally]:
    """Send `count` drops that must be refused, each for the reason that this process finds."""
    tally, here = Tally(), world(router)
    before, was = _files(router), states.state(router)
    for data in bad(mutator):
        if tally.sent >= count:
            break
        name = f"bad.json.{tally.sent}.{time.monotonic_ns()}"
        expected = pipeline.take(here, name, data)
        if not isinstance(expected, DropError):
            continue
        _judge(tally, router.drop(name, data, check=False), name, str(expected))
        if tally.sent % COMPARED_EVERY == 0 or tally.sent == count:
            now = _files(router)
            if now != before:
                tally.changed += 1
                tally.problems.append(f"up to {name}: written: {set(now.items()) ^ set(before.items())}")
        yield tally
    if states.state(router) != was:
        tally.changed += 1
        tally.problems.append("the router is another")
    tally.problems += traces(router)
    yield tally


def _judge(tally: Tally, answer: Answer, name: str, expected: str) -> None:
    tally.sent += 1
    # What is found in the databags names the kind of drop alone; the router names the file before it.
    expected = expected if expected.startswith(name) else f"{name}: {expected}"
    if answer.returncode == 0:
        tally.wrongly_taken += 1
        tally.problems.append(f"{name}: taken: {expected}")
    elif answer.stderr != f"{expected}\n" or answer.returncode != 1 or answer.stdout:
        tally.unexplained += 1
        tally.problems.append(f"{name}: {answer}, expected {expected}")
    else:
        tally.refused += 1


def strange(router: Router, mutator: Mutator, count: int) -> Iterator[Tally]:
    """Send `count` drops that are strange and right: daemons take what is rendered of them, or the router is as before.

    Those of the boot arguments are left out: they would make another router of this one.
    """
    tally = Tally()
    kinds = [kind for kind in mutator.kinds if kind != "cmdline"]
    here = world(router)
    while tally.sent < count:
        name = f"strange.json.{tally.sent}.{time.monotonic_ns()}"
        data = encode(mutator.mixed(kinds[tally.sent % len(kinds)]))
        if isinstance(pipeline.take(here, name, data), DropError):
            continue
        tally.sent += 1
        before = states.state(router)
        answer = router.drop(name, data, check=False)
        if answer.returncode == 0:
            tally.taken += 1
            here = world(router)
        else:
            tally.failed_later += 1
            if not answer.stderr.startswith(tuple(f"{name}: {words}" for words in MAY_REFUSE)):
                tally.problems.append(f"{name}: {answer.stderr.strip()} {data[:400]!r}")
            if states.state(router) != before:
                tally.changed += 1
                tally.problems.append(f"{name}: the router is another")
        yield tally
    tally.problems += traces(router)
    yield tally


def traces(router: Router) -> list[str]:
    """Return what hostile texts have made on a router: files of their name, processes, tables."""
    files = router.shell(f"find / -xdev -name '*{MARK}*' -not -path '/proc/*' -print").stdout.splitlines()
    tables = [line for line in router.exec("nft", "list", "tables").stdout.splitlines() if MARK in line]
    listed = router.exec("ps", "-eo", "args").stdout.splitlines()
    found = [line for line in listed if MARK in line and f"*{MARK}*" not in line]
    return [f"made by a hostile text: {item}" for item in (*files, *tables, *found)]


def _files(router: Router) -> dict[str, str]:
    return router.facts.snapshot((*states.WATCHED, "/usr/local", "/opt", "/root", "/tmp"), states.DAEMONS)
