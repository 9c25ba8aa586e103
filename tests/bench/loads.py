# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Count the new connections that a change of the rules loses, and a whole load: ``python -m tests.bench.loads``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.scenarios.steady import CHANGES, steady, texts, there_and_back

ROUNDS = 200
"""How often a ruleset is replaced by another and comes back."""


def main() -> list[str]:
    """Return a note for each kind of change and each way to load it."""
    notes = []
    for note in _measured():
        print(note, flush=True)
        notes.append(note)
    return notes


def _measured() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory, steady("loads", Path(directory)) as router:
        for change, (_one, _other, ports) in CHANGES.items():
            one, other = texts(change)
            for way, parts in (("as a whole", [other, one]), ("as a change", there_and_back(one, other))):
                passed = router.loads(one, ROUNDS, parts, ports)
                yield (
                    f"{2 * ROUNDS} loads {way}, of {change}: {passed.lost} of {passed.come} first packets of new "
                    "connections were lost"
                )


if __name__ == "__main__":
    main()
