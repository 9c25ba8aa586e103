# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read root's password, as the machine keeps it."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import system


def root_shadow() -> str:
    """Return root's line of /etc/shadow."""
    shadow = files.read(system.SHADOW)
    lines = shadow.content.splitlines() if shadow else []
    return next((line for line in lines if line.startswith("root:")), "")
