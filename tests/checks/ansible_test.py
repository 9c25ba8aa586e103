# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run `ansible-test sanity` or `ansible-test units` in a copy of the project.

ansible-test wants the collection below ansible_collections/cloudstack/virtual_router, without links to
directories, so it gets a copy under build/. It makes its own virtual environments below $HOME, hence a home
under build/ too, and it would download pip from the web for them: Python's own ensurepip does as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checks.tree import BUILD, COLLECTION, ROOT, files

TREE = BUILD / "ansible-test" / "ansible_collections" / COLLECTION.replace(".", "/")
HOME = BUILD / "ansible-test" / "home"
RESULTS = BUILD / "results"
GET_PIP = '"""Stand in for get-pip.py without the web."""\nimport ensurepip\n\nensurepip.bootstrap()\n'
# Sanity tests take every file of bin/ for Python and allow no #! line outside modules; ruff and shellcheck of lint.py
# look at these instead.
# So do they with the programs that drive the tests from outside, which no Ansible ever imports.
PROGRAMS = (
    *(
        ".ci/",
        "bin/",
        "image/",
        "lib/",
        "libexec/",
        "molecule/",
        "tests/bench/",
        "tests/demo/",
        "tests/lab/",
        "tests/mutants/",
    ),
    "tests/scenarios/",
)
# The versions of pip that ansible-test asks for, by the name it looks for in its cache.
PIP_VERSIONS = ("20_3_4", "21_3_1", "24_2", "25_0_1")


def copy_tree(left_out: tuple[str, ...], tree: Path = TREE) -> None:
    """Make the copy equal to the checkout but for `left_out`; times are kept so that caches stay valid."""
    wanted = {name for name in files() if not name.startswith(left_out)}
    for old in (path for path in tree.rglob("*") if path.is_file() or path.is_symlink()):
        name = old.relative_to(tree).as_posix()
        if name not in wanted and not name.startswith(("tests/output/", ".git/")):
            old.unlink()
    for name in sorted(wanted):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    # Drops of the management server that some tests replay, where they lie beside the checkout.
    beside = tree.parent / "shared"
    beside.unlink(missing_ok=True)
    if (ROOT.parent / "shared").is_dir():
        beside.symlink_to(ROOT.parent / "shared")
    # ansible-test asks git for its files; that of the checkout would answer: build/ is ignored.
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)


def prepare_home() -> None:
    """Fill the home: pip's bootstrap script, and the operator's settings of pip, which ansible-test drops."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in PIP_VERSIONS:
        (cache / f"get_pip_{version}.py").write_text(GET_PIP, encoding="utf-8")
    settings = {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name[:4] == "PIP_"}
    settings.pop("config-file", None)
    # pip reads the older of its two places first: there goes the operator's own file, here what the environment says.
    older = HOME / ".pip" / "pip.conf"
    older.parent.mkdir(exist_ok=True)
    older.unlink(missing_ok=True)
    own = [Path.home() / ".config" / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf"]
    if existing := next((path for path in own if path.is_file()), None):
        older.symlink_to(existing)
    config = HOME / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()), "utf-8")
    config.chmod(0o600)


def command(kind: str) -> list[str]:
    """Return the ansible-test command; 3.11 is the router's Python and the only one supported."""
    program = [str(Path(sys.executable).with_name("ansible-test")), kind, "--python", "3.11", "--color", "no"]
    # Many unit tests wait for processes: one more of them than there are cores on a small machine.
    return [*program, "--junit"] if kind == "sanity" else [*program, "--num-workers", "3"]


def main(kind: str) -> int:
    """Run ansible-test and collect its JUnit files; return its exit status."""
    copy_tree(PROGRAMS if kind == "sanity" else ())
    prepare_home()
    output = TREE / "tests" / "output" / "junit"
    shutil.rmtree(output, ignore_errors=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command(kind), cwd=TREE, env={**os.environ, "HOME": str(HOME), "PATH": path}, check=False)
    results = RESULTS / kind
    results.mkdir(parents=True, exist_ok=True)
    for file in output.glob("*.xml"):
        shutil.copy(file, results)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
