# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try a sample of changes, two at a time: ``make mutants`` writes docs/mutants.md.

It ends badly when fewer than `GOAL` of a hundred were noticed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from tests.checks.ansible_test import copy_tree
from tests.checks.tree import BUILD, COLLECTION
from tests.mutants import report
from tests.mutants.choice import measure
from tests.mutants.places import Place, mutant, places, sample, sources
from tests.mutants.trial import Bench, Verdict

GOAL = 92.0
"""Of a hundred changes, how many the tests have to notice."""
SEED = 20261127


def arguments() -> argparse.Namespace:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many changes are tried")
    parser.add_argument("--seed", type=int, default=SEED, help="which of them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--minutes", type=float, default=45, help="when to stop; what was not tried is not counted")
    parser.add_argument("--only", action="append", default=[], help="begin of a file's path; no page is written then")
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
    """Yield what became of each change of the sample, as it is known."""
    copies = trees(asked.jobs)
    choice, end = measure(copies[0], asked.jobs), time.monotonic() + 60 * asked.minutes
    free: Queue[Bench] = Queue()
    for tree in copies:
        free.put(Bench(tree))

    def trial(place: Place) -> Verdict | None:
        if time.monotonic() > end:
            return None
        bench = free.get()
        try:
            return bench.tried(mutant(place), choice.rounds(place))
        finally:
            free.put(bench)

    found = [place for file in sources() if file.startswith(tuple(asked.only) or "") for place in places(file)]
    chosen = sample(found, asked.sample, asked.seed)
    print(f"{len(found)} changes in {len({place.file for place in found})} files, {len(chosen)} are tried", flush=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        yield from (verdict for verdict in pool.map(trial, chosen) if verdict)


def main() -> int:
    """Try the sample, write the page, and say what survived."""
    asked, begun, found = arguments(), time.monotonic(), list[Verdict]()
    for verdict in verdicts(asked):
        found.append(verdict)
        place = verdict.mutant.place
        print(f"{verdict.outcome:8} {place.file}:{place.line} {verdict.seconds:.1f}s {verdict.said}", flush=True)
        if verdict.outcome == "survived":
            print(f"         - {verdict.mutant.before}\n         + {verdict.mutant.after}", flush=True)
    reached = report.score(found)
    print(f"{len(found)} changes, {reached:.1f} % noticed")
    if not asked.only:
        report.REPORT.write_text(report.text(found, asked.seed, time.monotonic() - begun), encoding="utf-8")
    return reached < GOAL


if __name__ == "__main__":
    sys.exit(main())
