# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run every molecule scenario, two at a time, and prove that its verifier tested something.

molecule ends with exit status 0 when no host matched a play and when testinfra found no test, so the pattern
mismatch is made an error and the testinfra run has to leave a JUnit file with passed tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.checks.stages import read_junit
from tests.checks.tree import BUILD, ROOT, files, link_collection

RESULTS = BUILD / "results" / "molecule"
AT_ONCE = 2
"""Their labs share nothing, and much of a scenario is waiting."""


def scenarios() -> list[str]:
    """List the scenarios of molecule/."""
    return [
        Path(path).parent.name for path in files() if path.startswith("molecule/") and path.endswith("/molecule.yml")
    ]


def run_scenario(name: str) -> str | None:
    """Run one scenario from create to destroy; return what is wrong, or None."""
    junit = RESULTS / f"{name}.xml"
    junit.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ANSIBLE_COLLECTIONS_PATH": str(link_collection()),
        "ANSIBLE_HOME": str(BUILD / "ansible-home"),
        "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
        "PYTEST_ADDOPTS": f"--junitxml={junit}",
    }
    molecule = str(Path(sys.executable).with_name("molecule"))
    done = subprocess.run(
        [molecule, "test", "--scenario-name", name],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"\n-- molecule scenario {name} --\n{done.stdout}", flush=True)
    if done.returncode != 0:
        return f"molecule scenario {name} failed with exit status {done.returncode}"
    if not junit.is_file() or not read_junit(junit).passed:
        return f"molecule scenario {name} ended well but its verifier tested nothing"
    return None


def main(wanted: list[str]) -> int:
    """Run the scenarios named, or all, each to its end."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        complaints = [complaint for complaint in pool.map(run_scenario, wanted or scenarios()) if complaint]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
