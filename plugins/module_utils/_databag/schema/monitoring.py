# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drop about monitoring."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    map_of,
    may,
    record,
)

# `configure.py monitor_service.json` looks these up by name; an empty list of excluded checks clears the last
# one.
MONITOR_FIELDS = {
    "config": may(k.text),
    "disable_monitoring": may(k.text),
    "health_checks_enabled": may(k.boolean),
    "health_checks_basic_run_interval": may(k.integer(0, 2**31 - 1)),
    "health_checks_advanced_run_interval": may(k.integer(0, 2**31 - 1)),
    "excluded_health_checks": Field(k.text, optional=True, blank=True),
    "health_checks_config": may(map_of(k.text, k.text)),
}


MONITOR_SERVICE = record(MONITOR_FIELDS)
