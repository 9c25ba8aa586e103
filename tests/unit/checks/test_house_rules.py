# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from tests.checks.house_rules import LICENCE, check_length, check_python

PURE = "plugins/module_utils/_plan/example.py"
HEADER = f"# {LICENCE}\n"


def found(path: str, code: str) -> list[str]:
    """Return what is found in a file that is fine but for `code`."""
    return [problem.text for problem in check_python(path, HEADER + code)]


def test_check_python_accepts_a_good_file() -> None:
    """Nothing is found in a file that keeps the rules."""
    assert found(PURE, 'import re\n\n\ndef one() -> int:\n    """Return one."""\n    return 1\n') == []


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (PURE, "import subprocess\n", "does not import subprocess"),
        (PURE, "from ansible.module_utils.basic import AnsibleModule\n", "does not import ansible"),
        (PURE, "def one():\n    import os\n", "does not import os"),
        (PURE, "X = open('/etc/passwd')\n", "does not call open()"),
        (PURE, "X = path.read_text()\n", "does not call read_text()"),
        (
            PURE,
            "from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.nft import x\n",
            "_apply.nft",
        ),
        (PURE, "from . import rules\n", "absolute name"),
        (PURE, "def long():\n" + "    pass\n" * 39, "long() has 40 lines"),
        (PURE, 'def one():\n    """return one"""\n', "no sentence"),
        (PURE, "def one(:\n", "does not understand it"),
    ],
)
def test_check_python_finds(path: str, code: str, words: str) -> None:
    """Each broken rule is found, once, and named."""
    texts = found(path, code)
    assert len(texts) == 1
    assert words in texts[0]


def test_check_python_wants_the_licence() -> None:
    """A file without header is found, an empty one needs none."""
    assert [problem.text for problem in check_python("tests/x.py", "X = 1\n")] == ["licence header is missing"]
    assert list(check_python("tests/x.py", "")) == []


def test_check_python_lets_the_store_touch_the_disk() -> None:
    """The store is the one part of _databag that does I/O, and the _apply side may start processes."""
    assert found("plugins/module_utils/_databag/store.py", "import os\n") == []
    assert found("plugins/module_utils/_apply/runner.py", "import subprocess\n") == []


@pytest.mark.parametrize(("lines", "problems"), [(399, 0), (400, 1)])
def test_check_length(lines: int, problems: int) -> None:
    """A file stays under 400 lines."""
    assert len(list(check_length("x.py", "\n" * lines))) == problems
