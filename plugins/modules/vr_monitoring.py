#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_monitoring
short_description: Start and stop the timers of health checks as the databags say
version_added: 0.1.0
description:
  - Starts the timers of the health checks at the intervals in the databags, and stops timers without an interval.
  - An interval that stays the same restarts no timer.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Start and stop the timers of health checks as the databags say
  cloudstack.virtual_router.vr_monitoring:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["monitoring: restart cloudstack-health-basic.timer"]
phases:
  description: Seconds spent on each phase of the work.
  returned: always
  type: dict
  sample: {"plan": 0.02, "check": 0.01, "apply": 0.03, "verify": 0.02}
commands:
  description: Number of processes that were started.
  returned: always
  type: int
  sample: 5
"""

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.module import main

if __name__ == "__main__":
    main("vr_monitoring")
