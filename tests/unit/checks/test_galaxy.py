# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from fnmatch import fnmatch

import yaml

from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.collection_archive import PARTS
from tests.checks.tree import ROOT, files

DOCUMENTS = {"CHANGELOG.rst", "LICENSE", "README.md", "changelogs", "docs", "galaxy.yml"}


def test_an_archive_for_galaxy_holds_what_runs_and_its_documents() -> None:
    """All else is named in build_ignore, and what a tool has left in the checkout does not go along."""
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    built = {name.split("/")[0] for name in files()}
    assert {name for name in built if not any(fnmatch(name, pattern) for pattern in ignored)} == {*PARTS, *DOCUMENTS}
