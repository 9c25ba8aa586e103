# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the site of the documentation into build/docs/html; a broken link within it, or any other warning, fails.

Run by `make docs`, with the packages of requirements.txt beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.checks.tree import BUILD, COLLECTION, files, link_collection  # noqa: E402  (found only from the root)

SOURCE = BUILD / "docs" / "source"
HTML = BUILD / "docs" / "html"
SITE = "docs/site/"


def gather() -> None:
    """Lay out the pages as they link to each other: README.md at the top, the guides below docs/."""
    shutil.rmtree(SOURCE.parent, ignore_errors=True)
    for name in files():
        wanted = name == "README.md" or name.startswith("docs/")
        if not wanted or name.startswith(f"{SITE}build.py"):
            continue
        target = SOURCE / (name.removeprefix(SITE) if name.startswith(SITE) else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    # README and the guides link to files of the repository, which are no pages.
    for name in ("LICENSE", "galaxy.yml"):
        shutil.copyfile(ROOT / name, SOURCE / name)


def run(program: str, *words: str | Path) -> None:
    """Run a program of this Python's environment, or end with its status."""
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ANSIBLE_COLLECTIONS_PATH": str(link_collection())}
    command = [str(tools / program), *map(str, words)]
    status = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"docs: {program} failed ({status})")


def main() -> None:
    """Gather the pages, let antsibull-docs write those of plugins and roles, and let Sphinx make the site."""
    gather()
    pages = SOURCE / "collection"
    # antsibull-docs writes into no directory that others may write to.
    pages.mkdir(mode=0o700)
    run("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--dest-dir", pages, COLLECTION)
    run("sphinx-build", "--fail-on-warning", "--keep-going", "-q", "-b", "html", SOURCE, HTML)
    print(f"docs: {HTML.relative_to(ROOT)}/index.html")


if __name__ == "__main__":
    main()
