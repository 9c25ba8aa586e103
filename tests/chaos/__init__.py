# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prove that a router survives what happens to routers: wrong drops, kills at any instant, broken disks and daemons."""

from __future__ import annotations

from tests.checks.tree import find_collection

find_collection()
