# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down what survived, with the reason of each that was looked at."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.checks.tree import ROOT
from tests.mutants.trial import Verdict

REPORT = ROOT / "docs" / "mutants.md"
EXPLAINED = Path(__file__).with_name("explained.toml")
HEADER = """\
# Do the tests notice?

`make mutants` writes this page. It changes the pure packages (`_databag`, `_model`, `_plan`) and the Python of `bin/`,
`libexec/` and `lib/` in one place at a time, as cosmic-ray's operators do. It runs the unit tests that are named after
the file, then the rest of its package's and the golden files; for a program, the tests of commands. A change that none
notices has *survived*: it is looked at, and either a test is written or `tests/mutants/explained.toml` says why there
is none. The fuzzer and the scenarios are not asked.

cosmic-ray (8.7) gives its operators as a library, so the sample, the choice of tests and the two copies of the tree are
ours, and a program needs no suffix to be changed. mutmut (3.8) was tried: it names a mutant by the path of its file
from where it runs, ends because a collection is imported as `ansible_collections.…`, and changes files named .py only.
Left out are operators whose result is the same or nonsense (`==` for `is`, a string divided by another), annotations,
and what `@dataclass` is told, which mypy checks.

"""


def explained() -> dict[tuple[str, str, str], str]:
    """Return why a change may survive, by file and the line before and after."""
    entries = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("mutant", [])
    return {(entry["file"], entry["before"], entry["after"]): entry["why"] for entry in entries}


def score(verdicts: Sequence[Verdict]) -> float:
    """Return how many of a hundred changes were noticed."""
    return 100 * sum(verdict.outcome != "survived" for verdict in verdicts) / len(verdicts)


def text(verdicts: Sequence[Verdict], seed: int, seconds: float) -> str:
    """Return the page."""
    known = explained()
    lines = [
        f"Seed {seed}: {len(verdicts)} changes, {score(verdicts):.1f} % noticed, in {seconds / 60:.0f} minutes.\n",
        "| where | changes | noticed | of these, by a time-out | survived |",
        "|---|---|---|---|---|",
    ]
    groups = Counter((_group(verdict), verdict.outcome) for verdict in verdicts)
    for group in sorted({group for group, _outcome in groups}):
        killed, hung, survived = (groups[group, outcome] for outcome in ("killed", "hung", "survived"))
        lines.append(f"| `{group}` | {killed + hung + survived} | {killed + hung} | {hung} | {survived} |")
    lines += ["\n## Survivors\n", "| place | before | after | why |", "|---|---|---|---|"]
    for verdict in verdicts:
        if verdict.outcome == "survived":
            place = verdict.mutant.place
            why = known.get(verdict.mutant.key) or verdict.said or "not looked at yet"
            before, after = (_cell(line) for line in (verdict.mutant.before, verdict.mutant.after))
            lines.append(
                f"| {place.file.removeprefix('plugins/module_utils/')}:{place.line} | {before} | {after} | {why} |"
            )
    return HEADER + "\n".join(lines) + "\n"


def _group(verdict: Verdict) -> str:
    parts = verdict.mutant.place.file.removeprefix("plugins/module_utils/").split("/")
    return parts[0]


def _cell(line: str) -> str:
    return "`" + line.replace("|", "\\|").replace("`", "'") + "`" if line else "(line gone)"
