# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prove that a router survives what happens to routers: wrong drops, kills at any instant, broken disks and daemons."""

from __future__ import annotations

import importlib
import sys

from tests.checks.tree import link_collection

try:
    importlib.import_module("ansible_collections.cloudstack.virtual_router.plugins")
except ImportError:
    # A scenario or the campaign: unit tests find the collection by their conftest.py.
    sys.path.insert(0, str(link_collection()))
    importlib.invalidate_caches()
