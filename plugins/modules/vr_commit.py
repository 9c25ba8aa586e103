#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_commit
short_description: End a transaction of the router
version_added: 0.1.0
description:
  - Puts the staged databags into force, all of them or none, even if it is killed half way, and archives the drops.
    Fails while services are left to apply; the last of them does it by itself.
  - With O(reason) it gives the staged databags up and keeps the drops under C(failed/) with the reason.
    When other drops were taken along, all are left where they are, and no record is written.
  - Writes the result record that the commands in C(/opt/cloud/bin) report from.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
options:
  transaction:
    description: The transaction to end, as returned by M(cloudstack.virtual_router.vr_plan).
    type: str
    required: true
  reason:
    description: Why the drops are given up, in one line.
    type: str
"""

EXAMPLES = r"""
- name: Keep the drops with the reason
  cloudstack.virtual_router.vr_commit:
    transaction: "{{ vr_plan.transaction }}"
    reason: the firewall could not be loaded
"""

RETURN = r"""
databags:
  description: The databags that changed.
  returned: always
  type: list
  elements: str
  sample: ["dhcpentry"]
"""

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._ansible_module import main

if __name__ == "__main__":
    main("vr_commit")
