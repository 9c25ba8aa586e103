# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try a sample of changes, two at a time: ``make mutants`` writes docs/mutants.md.

It ends badly when fewer than `GOAL` of a hundred were noticed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import Process, Queue
from pathlib import Path

from tests.checks.ansible_test import copy_tree
from tests.checks.tree import BUILD, COLLECTION, ROOT
from tests.mutants import report
from tests.mutants.choice import rounds
from tests.mutants.places import Place, mutant, places, sample, sources
from tests.mutants.trial import Bench, Verdict

GOAL = 92.0
"""Of a hundred changes, how many the tests have to notice."""
SEED = 20261127


def arguments() -> argparse.Namespace:
    """Read what is asked for; a page is written of all files only."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many changes are tried")
    parser.add_argument("--seed", type=int, default=SEED, help="which of them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--minutes", type=float, default=45, help="when to stop; what was not tried is not counted")
    parser.add_argument("--only", action="append", default=[], help="begin of a file's path")
    return parser.parse_args()


def trees(jobs: int) -> list[Path]:
    """Make copies of the project, laid out so that the collection is found."""
    made = []
    for number in range(jobs):
        tree = BUILD / "mutants" / str(number) / "ansible_collections" / COLLECTION.replace(".", "/")
        copy_tree((), tree)
        made.append(tree)
    return made


def verdicts(asked: argparse.Namespace) -> Iterator[Verdict]:
    """Yield what became of each change of the sample, as it is known; each job is a process with a copy of its own."""
    copies = trees(asked.jobs)
    asked_for = [file for file in sources() if file.startswith(tuple(asked.only) or "")]
    found = [place for file in asked_for for place in places(file, copies[0])]
    chosen = sample(found, asked.sample, asked.seed)
    print(f"{len(found)} changes in {len(asked_for)} files, {len(chosen)} are tried", flush=True)
    todo: Queue[Place | None] = Queue()
    done: Queue[Verdict | None] = Queue()
    for place in (*chosen, *[None] * asked.jobs):
        todo.put(place)
    end = time.monotonic() + 60 * asked.minutes
    workers = [Process(target=work, args=(tree, todo, done, end), daemon=False) for tree in copies]
    for worker in workers:
        worker.start()
    for _worker in workers:
        yield from iter(done.get, None)
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a job ended with {worker.exitcode}")


def work(tree: Path, todo: Queue[Place | None], done: Queue[Verdict | None], end: float) -> None:
    """Try one change after the other until there is none left, or no time."""
    bench = Bench(tree)
    try:
        for place in iter(todo.get, None):
            if time.monotonic() < end:
                done.put(bench.tried(mutant(place, tree), rounds(place, tree)))
    finally:
        done.put(None)


def main() -> int:
    """Try the sample, write the page, and say what survived."""
    asked, begun, found = arguments(), time.monotonic(), list[Verdict]()
    os.environ["CHECKOUT"] = str(ROOT)
    for verdict in verdicts(asked):
        found.append(verdict)
        place = verdict.mutant.place
        print(f"{verdict.outcome:8} {place.file}:{place.line} {verdict.seconds:.1f}s {verdict.said}", flush=True)
        if verdict.outcome == "survived":
            print(f"         - {verdict.mutant.before}\n         + {verdict.mutant.after}", flush=True)
    reached = report.score(found)
    print(f"{len(found)} changes, {reached:.1f} % noticed")
    found.sort(key=lambda verdict: (verdict.mutant.place.file, verdict.mutant.place.line))
    if not asked.only:
        report.REPORT.write_text(report.text(found, asked.seed, time.monotonic() - begun), encoding="utf-8")
    return reached < GOAL


if __name__ == "__main__":
    sys.exit(main())
