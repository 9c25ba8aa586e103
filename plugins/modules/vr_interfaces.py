#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_interfaces
short_description: Configure links, addresses, routes and policy routing from the databags
version_added: 0.1.0
description:
  - Reads the databags and the network interfaces that are plugged in, and changes what differs with one C(ip -batch).
  - Interfaces are found by MAC address; one that is named in the data but missing is reported and skipped.
  - Addresses and routes that are not wanted are removed. New addresses are announced by gratuitous ARP.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure links, addresses, routes and policy routing from the databags
  cloudstack.virtual_router.vr_interfaces:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["interfaces: change 3 of links, addresses, routes and rules"]
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
    main("vr_interfaces")
