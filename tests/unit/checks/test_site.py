# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `make docs` would fail for, which is no part of `make test`: it installs Sphinx."""

from __future__ import annotations

from tests.checks.documents import LINK
from tests.checks.tree import ROOT, files

SITE = "docs/site/"
PAGES = {name for name in files() if name == "README.md" or (name.startswith("docs/") and name.endswith(".md"))}
PAGES = {name for name in PAGES if not name.startswith(SITE)}


def test_a_page_links_to_no_markdown_file_that_is_no_page() -> None:
    targets = {
        f"{name}: {target}": (ROOT / name).parent / target.partition("#")[0]
        for name in sorted(PAGES)
        for found in LINK.findall((ROOT / name).read_text(encoding="utf-8"))
        for target in found
        if target.partition("#")[0].endswith(".md") and ":" not in target
    }
    pages = {(ROOT / name).resolve() for name in PAGES}
    assert len(targets) > 10
    assert [words for words, path in targets.items() if path.resolve() not in pages] == []
