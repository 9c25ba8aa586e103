# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.checks import tree


def test_link_collection_is_made_once_by_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of lint and the scenarios of molecule run beside each other."""
    with ThreadPoolExecutor(8) as pool:
        for attempt in range(50):
            monkeypatch.setattr(tree, "COLLECTIONS", tmp_path / str(attempt))
            found = set(pool.map(lambda _number: tree.link_collection(), range(8)))
            assert found == {tmp_path / str(attempt)}


def test_link_collection_refuses_what_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "COLLECTIONS", tmp_path)
    (tmp_path / tree.PACKAGE.replace(".", "/")).mkdir(parents=True)
    with pytest.raises(FileExistsError):
        tree.link_collection()
