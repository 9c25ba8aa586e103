# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health checks: read which timers there are, and plan."""

from __future__ import annotations

import os

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import monitoring
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan the timers."""
    live = observe(host, monitoring.wanted(router))
    paths = map(monitoring.interval_file, monitoring.KINDS)
    present = {path for path in paths if os.path.exists(path)}
    return monitoring.compare(router, Live(live.files, live.knobs, host.active), present)


SERVICE = Service(plan)
