#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_vpn
short_description: Configure site-to-site VPN from the databags
version_added: 0.1.0
description:
  - Writes a file for each peer below C(/etc/swanctl/conf.d), readable by root only, and has charon load them.
  - A connection that charon refuses fails the task; the databags in force are put back then.
  - Ends the tunnels of peers that are gone or not as they were. Others go on, with the same keys.
  - Runs charon and the keeper of the tunnels while there is a tunnel, on the primary of a pair only.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure site-to-site VPN from the databags
  cloudstack.virtual_router.vr_vpn:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["vpn: load 2 VPN connections"]
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
    main("vr_vpn")
