# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the expectations of the golden cases anew: `python -m tests.golden.update [case ...]`.

Read the difference before you commit it: what is written here is what the tests will call right.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.checks.tree import link_collection


def write(case: Path, files: dict[str, str]) -> list[str]:
    """Make the expectations equal to `files`, and return the names of those that changed."""
    expect = case / "expect"
    expect.mkdir(exist_ok=True)
    known = {path.name: path.read_text("utf-8") for path in expect.iterdir()}
    for name in sorted(set(known) - set(files)):
        (expect / name).unlink()
    for name, content in files.items():
        if known.get(name) != content:
            (expect / name).write_text(content, "utf-8")
    return sorted(name for name in {*known, *files} if known.get(name) != files.get(name))


def main(names: list[str]) -> int:
    """Update the named cases, or all."""
    sys.path.insert(0, str(link_collection()))
    from tests.golden.cases import cases, outcome  # the collection is importable only now

    chosen = [case for case in cases() if not names or case.name in names]
    for case in chosen:
        changed = write(case, outcome(case))
        print(f"{case.name}: {', '.join(changed) or 'unchanged'}")
    return 0 if chosen else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
