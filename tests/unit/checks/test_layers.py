# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from tests.checks.layers import check, sources
from tests.checks.tree import python_files

UTILS = "ansible_collections.cloudstack.virtual_router.plugins.module_utils"
PLAN, APPLY = "plugins/module_utils/_plan/one.py", "plugins/module_utils/_apply/two.py"


def told(files: dict[str, str]) -> list[str]:
    return [str(problem) for problem in check(files)]


def test_an_import_to_a_lower_layer_is_well() -> None:
    assert told({PLAN: "", APPLY: f"from {UTILS}._plan import one\n"}) == []


def test_an_import_to_a_higher_layer_is_found() -> None:
    (line,) = told({PLAN: f"from {UTILS}._apply.two import x\n", APPLY: ""})
    assert line == f"{PLAN}:1: _plan is below _apply, and imports plugins.module_utils._apply.two"


def test_so_is_one_inside_a_function_and_one_of_a_module_by_its_package() -> None:
    text = f"def later():\n    from {UTILS}._apply import two\n"
    assert told({PLAN: text, APPLY: ""}) == [
        f"{PLAN}:2: _plan is below _apply, and imports plugins.module_utils._apply.two"
    ]


def test_a_circle_is_told_once() -> None:
    texts = {"a": "from vrlib import b\n", "b": "from vrlib.c import x\n", "c": "import vrlib.a\n"}
    (line,) = told({f"lib/vrlib/{name}.py": text for name, text in texts.items()})
    assert line == "lib/vrlib/a.py:1: a circle: lib.vrlib.a → lib.vrlib.b → lib.vrlib.c → lib.vrlib.a"


def test_a_way_that_does_not_come_back_is_no_circle() -> None:
    texts = {"a": "from vrlib import b, c\n", "b": "from vrlib import c\n", "c": ""}
    assert told({f"lib/vrlib/{name}.py": text for name, text in texts.items()}) == []


def test_neither_the_collection_nor_the_library_leads_up_to_what_runs_without_ansible() -> None:
    files = {APPLY: "from vrlib import one\n", "lib/vrlib/one.py": "import update\n", "bin/update.py": ""}
    assert told(files) == [
        f"{APPLY}:1: _apply is below lib, and imports lib.vrlib.one",
        "lib/vrlib/one.py:1: lib is below bin, and imports bin.update",
    ]
    assert told({APPLY: "", "lib/vrlib/one.py": f"from {UTILS}._apply import two\n"}) == []


def test_what_is_imported_for_annotations_closes_no_circle_but_comes_from_no_higher_layer() -> None:
    typing = f"if TYPE_CHECKING:\n    from {UTILS}._plan import other\n"
    other = "plugins/module_utils/_plan/other.py"
    assert told({PLAN: typing, other: f"from {UTILS}._plan import one\n"}) == []
    assert len(told({PLAN: typing.replace("_plan import other", "_apply import two"), APPLY: ""})) == 1


def test_the_project_keeps_to_it() -> None:
    texts = sources(python_files())
    assert len(texts) > 150
    assert told(texts) == []
