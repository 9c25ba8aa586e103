#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_metadata
short_description: Publish metadata, user data and passwords of VMs from the databags
version_added: 0.1.0
description:
  - Publishes metadata and user data, one directory per VM, and reloads the web server only when its addresses changed.
  - Hands passwords that no VM has fetched yet to the password server, and takes back those without a VM.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Publish metadata, user data and passwords of VMs from the databags
  cloudstack.virtual_router.vr_metadata:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["metadata: publish the metadata of 1 VMs, withdraw that of 0"]
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
    main("vr_metadata")
