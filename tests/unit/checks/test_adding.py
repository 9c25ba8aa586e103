# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Do what docs/adding_a_service.md says to a copy of the tree: it passes the checks of the house, and converges."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.checks.house_rules import LICENCE
from tests.checks.tree import PACKAGE, ROOT, files

GUIDE = "docs/adding_a_service.md"
STEP = re.compile(
    r"^(?:New link `(?P<link>[^`]+)` to `(?P<target>[^`]+)`\.$"
    r"|(?:New file `(?P<new>[^`]+)`|In `(?P<old>[^`]+)`, below `(?P<anchor>[^`]+)`):\n\n```\w+\n(?P<text>.*?)^```$)",
    re.MULTILINE | re.DOTALL,
)
HEAD = f"# Copyright: Contributors to the cloudstack.virtual_router project\n# {LICENCE}\n"
CHECKS = ("house_rules", "layers", "plugin_docs", "argument_specs", "documents", "references")
MANY, FEW = 16, 5
"""How many files a service may add, and change; a type of drop touches three."""

CONVERGE = """
import sys
from pathlib import Path
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES, SPECS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import greeting
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import ruleset
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer

base = Path(sys.argv[1])
greeting.PATH = sys.argv[2]
root = Path(greeting.__file__).parents[3]
render = Renderer({str(p.relative_to(root / "templates")): p.read_text() for p in (root / "templates").rglob("*.j2")})
assert {"vr_greeting"} <= set(ENTRIES) & set(SPECS)
assert "greeting" in BAGS
try:
    parse_drop("greeting.json", b'{"type": "greeting", "text": 7}')
except DropError as error:
    print(error)
arguments = b'{"type": "cmdline", "cmd_line": {"type": "router", "name": "r-1-VM"}}'
bags = merge({}, parse_drop("cmd_line.json", arguments))
empty = build(bags, [])
bags = merge(bags, parse_drop("greeting.json", b'{"type": "greeting", "text": "hello"}'))
assert adopt("greeting", dict(bags["greeting"])) == bags["greeting"]
router = build(bags, [])
for _time in range(2):
    steps = converge.converge("greeting", Host(render, Runner(log=lambda line: None)), router, empty)
    print([step.summary for step in steps], Path(greeting.PATH).read_text().splitlines()[-1])
print([rule for rule in ruleset(router).added["guest_rules"] if "17" in rule], ruleset(empty).added["guest_rules"][0])
"""


@dataclass(frozen=True)
class Step:
    """One step of the guide: a new file, a new link with its target as text, or lines below a line of an old file."""

    path: str
    anchor: str | None
    text: str
    link: bool = False


def steps() -> list[Step]:
    """Return the steps of the guide in their order."""
    found = STEP.finditer((ROOT / GUIDE).read_text(encoding="utf-8"))
    return [
        Step(step["link"], None, step["target"], link=True)
        if step["link"]
        else Step(step["new"] or step["old"], step["anchor"], step["text"])
        for step in found
    ]


def take(step: Step, tree: Path) -> None:
    """Do a step to a tree; an anchor that is not there once and alone is an error."""
    path = tree / step.path
    if step.link:
        path.symlink_to(step.text)
        return
    if step.anchor is None:
        assert not path.exists(), step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        first = "#!/usr/bin/python\n" if step.path.startswith("plugins/modules/") else ""
        path.write_text(f"{first}{HEAD}{step.text}" if path.suffix == ".py" else step.text, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.count(step.anchor) == 1, f"{step.path}: {step.anchor}"
    at = lines.index(step.anchor) + 1
    lines[at:at] = step.text.rstrip("\n").split("\n")
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module", name="tree")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout with all steps done, which git knows as one of its own."""
    tree = tmp_path_factory.mktemp("copy")
    for name in files():
        if not name.startswith(("tests/golden/", "tests/fixtures/", "tests/scenarios/")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    link = tree / "build/collections" / PACKAGE.replace(".", "/")
    link.parent.mkdir(parents=True)
    link.symlink_to(tree, target_is_directory=True)
    for step in steps():
        take(step, tree)
    return tree


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a tree, which alone it finds the collection in."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'build/collections'}", "NO_COLOR": "1"}
    words = (sys.executable, *words)
    return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_steps_touch_as_few_files_as_the_guide_says() -> None:
    new = {step.path for step in steps() if step.anchor is None}
    changed = {step.path for step in steps() if step.anchor is not None}
    databag = {path for path in new | changed if "/_databag/" in path}
    data = {path for path in new | changed if "/_model/" in path}
    assert len(databag) == 3
    assert (len(new & data), len(changed & data)) == (1, 2)
    assert (len(new - databag - data), len(changed - databag - data)) == (11, 4)
    assert len(new) <= MANY
    assert len(changed - databag - data) <= FEW


@pytest.mark.parametrize("check", CHECKS)
def test_the_copy_passes_the_checks_of_the_house(tree: Path, check: str) -> None:
    done = run(tree, "-m", f"tests.checks.{check}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_copy_passes_the_linter(tree: Path) -> None:
    new = [step.path for step in steps() if step.path.endswith(".py") and step.anchor is None and not step.link]
    done = run(tree, "-m", "ruff", "check", "--no-cache", "--extend-ignore", "I001", *new)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_converges(tree: Path, tmp_path: Path) -> None:
    """The drop is checked, merged, built, planned, applied and read back; the second time there is nothing to do."""
    path = tmp_path / "greeting"
    done = run(tree, "-c", CONVERGE, str(tree), str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "greeting.json: text: expected a text, got 7",
        f"['write {path}'] hello",
        "[] hello",
        "['tcp dport 17 accept'] meta l4proto { tcp, udp } th dport 53 accept",
    ]
