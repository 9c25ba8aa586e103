# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run every static check of the project: this table is the one place that says which there are.

`python -m tests.checks.lint [name ...]` runs all of them, or those named, two at a time, and prints what each
found. Each check counts as one test case in build/results/lint/lint.xml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.checks.tree import BUILD, PACKAGE, ROOT, link_collection, python_files, shell_files

RESULTS = BUILD / "results" / "lint"
BIN = Path(sys.executable).parent
PURE = ("_databag", "_kvm", "_model", "_plan")


@dataclass(frozen=True)
class Verdict:
    """What one check said; `seconds` is wall-clock time."""

    name: str
    status: int
    output: str
    seconds: float


def checks() -> dict[str, list[str]]:
    """Return the command of every check by its name, the slow ones first."""
    tool = {name: str(BIN / name) for name in ("ansible-lint", "ansible-galaxy", "antsibull-changelog", "mypy", "ruff")}
    own = [sys.executable, "-m"]
    pure = [f"--package={PACKAGE}.plugins.module_utils.{package}" for package in PURE]
    return {
        "ansible-lint": [tool["ansible-lint"], "--offline", "--strict", "--nocolor", "-q"],
        "mypy": [tool["mypy"], *pure, "--package=vrlib"],
        "plugin-docs": [*own, "tests.checks.plugin_docs"],
        "yamllint": [str(BIN / "yamllint"), "--strict", "."],
        "collection-builds": [
            tool["ansible-galaxy"],
            "collection",
            "build",
            "--force",
            "--output-path",
            "build/galaxy",
        ],
        "ruff-check": [tool["ruff"], "check", "--output-format=concise", *python_files()],
        "ruff-format": [tool["ruff"], "format", "--check", "--output-format=concise", *python_files()],
        "shellcheck": ["shellcheck", "--external-sources", *shell_files()],
        "changelog": [tool["antsibull-changelog"], "lint"],
        "argument-specs": [*own, "tests.checks.argument_specs"],
        "house-rules": [*own, "tests.checks.house_rules"],
        "layers": [*own, "tests.checks.layers"],
        "documents": [*own, "tests.checks.documents"],
        "references": [*own, "tests.checks.references"],
        "drop-schema": [*own, "tests.checks.drop_schema"],
    }


def environment() -> dict[str, str]:
    """Return the environment of the checks: the tools of the venv, and the checkout found as a collection."""
    collections = str(link_collection())
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MYPYPATH": f"{collections}{os.pathsep}{ROOT / 'lib'}",
        "ANSIBLE_COLLECTIONS_PATH": collections,
        # Not the operator's: a copy of the collection that was once installed there would be checked instead.
        "ANSIBLE_HOME": str(BUILD / "ansible-home"),
        "NO_COLOR": "1",
    }


def run_check(name: str, command: list[str]) -> Verdict:
    """Run one check and print what it found as one block."""
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    block = f"{'ok  ' if done.returncode == 0 else 'FAIL'} {name} ({seconds:.1f}s)"
    if done.returncode != 0:
        block += "\n" + "".join(f"     {line}\n" for line in done.stdout.splitlines())
    print(block, flush=True)
    return Verdict(name, done.returncode, done.stdout, seconds)


def write_junit(verdicts: list[Verdict]) -> None:
    """Write the verdicts in the form that CI systems and stages.py read."""
    suite = ElementTree.Element("testsuite", name="lint", tests=str(len(verdicts)))
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", classname="lint", name=verdict.name, time=f"{verdict.seconds:.3f}"
        )
        if verdict.status != 0:
            failure = ElementTree.SubElement(case, "failure", message=f"exit status {verdict.status}")
            # XML has no way to write control characters, which tools print as colours.
            failure.text = "".join(char for char in verdict.output if char.isprintable() or char in "\n\t")
    RESULTS.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(RESULTS / "lint.xml", encoding="utf-8", xml_declaration=True)


def main(wanted: list[str]) -> int:
    """Run the checks named, or all, and return 0 only if none found anything."""
    table = checks()
    if unknown := set(wanted) - set(table):
        print(f"no such check: {', '.join(sorted(unknown))}; there are: {', '.join(table)}", file=sys.stderr)
        return 2
    chosen = {name: command for name, command in table.items() if not wanted or name in wanted}
    with ThreadPoolExecutor(max_workers=2) as pool:
        verdicts = list(pool.map(lambda item: run_check(*item), chosen.items()))
    write_junit(verdicts)
    failed = [verdict.name for verdict in verdicts if verdict.status != 0]
    print(f"lint: {len(verdicts) - len(failed)} checks passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
