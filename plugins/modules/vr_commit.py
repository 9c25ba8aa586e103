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
  - With O(reason) it gives the staged databags up and keeps the drops under C(failed/) with the reason.
  - Writes the result record that the commands in C(/opt/cloud/bin) report from.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
options:
  transaction:
    description: The transaction to end, as returned by M(cloudstack.virtual_router.vr_plan).
    type: str
    required: true
  drops:
    description: The drops that were merged.
    type: list
    elements: str
    default: []
  along:
    description:
      - The drops that were merged beside O(drops), as returned by M(cloudstack.virtual_router.vr_plan).
      - With O(reason) and any of them, all drops are left in the inbox and no record is written.
    type: list
    elements: str
    default: []
  aggregate:
    description: The aggregate that was merged.
    type: path
  keep:
    description: Whether to keep a copy of the drops under C(processed/).
    type: bool
    default: true
  reason:
    description: Why the drops are given up, in one line.
    type: str
  started:
    description: When the converge began, in seconds since the epoch.
    type: float
    default: 0.0
  changed:
    description: The services that were changed, for the record.
    type: list
    elements: str
    default: []
  warnings:
    description: Warnings for the record.
    type: list
    elements: str
    default: []
  pending:
    description: What waits for an interface, for the record.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Put the staged databags into force
  cloudstack.virtual_router.vr_commit:
    transaction: "{{ vr_plan.transaction }}"
    drops: "{{ vr_plan.drops }}"
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
