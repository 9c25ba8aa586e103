#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_load_balancer
short_description: Configure the load balancer from the databags
version_added: 0.1.0
description:
  - Writes the configuration of haproxy and its certificates; directives that current haproxy refuses are translated.
  - Lets haproxy check both first. A configuration that it refuses, or a listener that is not free, leaves the running
    one as it is.
  - Reloads haproxy without losing a connection, and only when something differs; stops it when there is nothing to
    listen on.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure the load balancer from the databags
  cloudstack.virtual_router.vr_load_balancer:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["load_balancer: write /etc/haproxy/haproxy.cfg"]
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
    main("vr_load_balancer")
