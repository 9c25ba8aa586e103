# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the campaign: `python -m tests.chaos [--seed N] [--kills N] [--lost N] [--drops N] [--strange N] [--streak N]
[--fuzz N] [--daemons 0]`.

The seed is printed; with the same one the same is done, at instants that depend on the machine. The last lines are a
table, and the exit status is 0 only if there was no problem.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Limits
from tests.chaos import bad_drops, daemons, kills, lost_runs, pipeline
from tests.chaos.mutations import Mutator, encode
from tests.lab.lab import Lab
from tests.lab.router import CACHE, Router
from tests.scenarios import control_node, drops, networks, states
from tests.scenarios.networks import FIXTURES

Row = dict[str, float]
REPORT_EVERY = 60.0
"""Seconds between two lines that say how far a part is."""


@dataclass
class Streak:
    """What ten thousand good drops in a row leave: the most files and bytes seen, and the drops not taken."""

    sent: int = 0
    lost: int = 0
    most_files: int = 0
    most_mebibytes: int = 0
    problems: list[str] = field(default_factory=list)


def streak(router: Router, count: int) -> Iterator[Streak]:
    """Send good drops in a row; processed/, failed/ and results/ keep below their caps (J4)."""
    tally, limits = Streak(), Limits()
    cap = limits.processed_files + limits.failed_files + limits.result_files
    for number in range(count):
        body = drops.forward("192.0.2.20", (7000, 7000), "10.7.0.11", revoke=bool(number % 2))
        if router.drop(f"streak.json.{number}.{time.monotonic_ns()}", body, check=False).returncode:
            tally.lost += 1
            tally.problems.append(f"drop {number} of the streak was not taken")
        tally.sent += 1
        if tally.sent % 100 == 0 or tally.sent == count:
            kept = f"{CACHE}/processed {CACHE}/failed /var/lib/cloudstack/results"
            files = int(router.shell(f"find {kept} -type f | wc -l").stdout)
            size = int(router.shell(f"du -smc {kept} | tail -n 1").stdout.split()[0])
            tally.most_files, tally.most_mebibytes = max(files, tally.most_files), max(size, tally.most_mebibytes)
            if files > cap:
                tally.problems.append(f"after {tally.sent} drops {files} files are kept, the caps allow {cap}")
        yield tally


@dataclass
class Fuzz:
    """What came of drops that were taken in this process."""

    sent: int = 0
    refused: int = 0
    taken: int = 0
    crashes: int = 0
    problems: list[str] = field(default_factory=list)


def fuzz(mutator: Mutator, count: int) -> Iterator[Fuzz]:
    """Take drops in this process on the routers of the golden cases: no system, and so many more of them."""
    worlds, tally = pipeline.worlds(), Fuzz()
    while tally.sent < count:
        world, kind = mutator.chance.choice(worlds), mutator.kinds[tally.sent % len(mutator.kinds)]
        make = mutator.chance.choice((mutator.mixed, mutator.mistaken))
        data = encode(make(kind)) if mutator.chance.random() < 0.8 else mutator.damaged(encode(make(kind)))
        tally.sent += 1
        try:
            outcome = pipeline.take(world, "fuzz.json", data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            tally.crashes += 1
            tally.problems.append(f"{world.name}: {type(error).__name__}: {error}: {data[:400]!r}")
        else:
            tally.refused += isinstance(outcome, DropError)
            tally.taken += not isinstance(outcome, DropError)
        yield tally


@contextmanager
def isolated_router() -> Iterator[Router]:
    """Bring up the router of the fixtures' isolated network, with all its drops applied."""
    with Lab("campaign") as lab:
        router = networks.fixture_network(lab, control_node.key_argument(lab.name)).router
        router.wait_boot()
        states.apply_together(router, "VR-all.cfg", FIXTURES / "isolated", states.ordered(FIXTURES / "isolated"))
        yield router


Tally = kills.Tally | lost_runs.Tally | daemons.Tally | bad_drops.Tally | Streak | Fuzz


def run(name: str, tallies: Iterable[Tally]) -> tuple[Row, list[str]]:
    """Run a part and say now and then how far it is; return its row of the table, and the problems."""
    started = said = time.monotonic()
    tally: Tally | None = None
    shown = 0
    for tally in tallies:
        for problem in tally.problems[shown:]:
            print(f"{name}: {problem}", flush=True)
        shown = len(tally.problems)
        if time.monotonic() - said > REPORT_EVERY:
            said = time.monotonic()
            print(f"{name}: {_row(tally)}", flush=True)
    if tally is None:
        return {}, []
    return {**_row(tally), "seconds": round(time.monotonic() - started)}, tally.problems


def _row(tally: Tally) -> Row:
    return {key: value for key, value in asdict(tally).items() if key != "problems"}


def parts(wanted: argparse.Namespace, router: Router) -> dict[str, Callable[[], Iterable[Tally]]]:
    """Return the parts of the campaign by name, each with a source of chance of its own."""
    bodies = list(pipeline.right_bodies())

    def mutator(name: str) -> Mutator:
        made = Mutator(wanted.seed, bodies)
        made.chance.seed(f"{wanted.seed} {name}")
        return made

    return {
        "kills, cold": lambda: kills.campaign(router, "cold", wanted.kills // 2, Random(f"{wanted.seed} cold")),
        "kills, warm": lambda: kills.campaign(router, "warm", wanted.kills // 2, Random(f"{wanted.seed} warm")),
        "lost control nodes": lambda: _lost_runs(router, wanted.lost, Random(f"{wanted.seed} lost")),
        "broken programs": lambda: daemons.campaign(router),
        "bad drops": lambda: bad_drops.refusals(router, mutator("bad"), wanted.drops),
        "good drops in a row": lambda: streak(router, wanted.streak),
        "strange drops": lambda: bad_drops.strange(router, mutator("strange"), wanted.strange),
        "drops in process": lambda: fuzz(mutator("fuzz"), wanted.fuzz),
    }


def _lost_runs(router: Router, count: int, chance: Random) -> Iterator[lost_runs.Tally]:
    with tempfile.TemporaryDirectory() as directory:
        yield from lost_runs.campaign(router, control_node.collections(Path(directory)), count, chance)


def main(arguments: list[str]) -> int:
    """Run the parts that are wanted, print the table, and return 0 if there was no problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    for name, default in {
        "kills": 200,
        "lost": 20,
        "drops": 1000,
        "strange": 200,
        "streak": 1000,
        "fuzz": 10_000,
        "daemons": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"how many, by default {default}")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    wanted = parser.parse_args(arguments)
    print(f"seed {wanted.seed}", flush=True)
    table: dict[str, Row] = {}
    problems = 0
    with isolated_router() as router:
        some = (wanted.kills, wanted.kills, wanted.lost, wanted.daemons)
        counts = (*some, wanted.drops, wanted.streak, wanted.strange, wanted.fuzz)
        for (name, part), count in zip(parts(wanted, router).items(), counts, strict=True):
            if count:
                table[name], found = run(name, part())
                problems += len(found)
    print(f"\nseed {wanted.seed}, {problems} problems")
    for name, row in table.items():
        print(f"{name:<20} " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in row.items()))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
