# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = Path("ansible_collections", "cloudstack", "virtual_router")


def collections_path() -> Path:
    """Return the directory that holds `ansible_collections`.

    `ansible-test` and an installed collection already live in such a tree. A plain checkout does not, so it
    gets one under build/ whose last step is a symbolic link back to the checkout.
    """
    if CHECKOUT.parts[-3:] == NAME.parts:
        return CHECKOUT.parents[2]
    base = CHECKOUT / "build" / "collections"
    link = base / NAME
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        try:
            link.symlink_to(os.path.relpath(CHECKOUT, link.parent), target_is_directory=True)
        except FileExistsError:
            # Another test run of the same checkout was quicker; anything else in this place is a mistake.
            if not link.is_symlink():
                raise
    return base


def make_importable(base: Path) -> None:
    """Put `base` on sys.path unless something, such as ansible-test's loader, finds the collection."""
    try:
        importlib.import_module("ansible_collections.cloudstack.virtual_router.plugins")
    except ImportError:
        sys.path.insert(0, str(base))
        importlib.invalidate_caches()


# For tests.checks, also where pytest's own setting of pythonpath is not read, as under ansible-test.
sys.path.insert(0, str(CHECKOUT))
COLLECTIONS_PATH = collections_path()
make_importable(COLLECTIONS_PATH)
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(CHECKOUT / "build" / "hypothesis"))


@pytest.fixture(scope="session")
def collection_pythonpath() -> str:
    """Return the PYTHONPATH with which a child process finds the collection."""
    return str(COLLECTIONS_PATH)
