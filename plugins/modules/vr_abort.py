#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_abort
short_description: End a transaction of the router that failed
version_added: 0.1.0
description:
  - Discards the staged databags, and moves the drops to C(failed/) with the reason.
  - Writes the result record, which the commands in C(/opt/cloud/bin) report from.
  - When the transaction also holds drops that other commands wait with, all drops stay in the inbox, and no record is
    written.
  - A successful transaction is ended by its last service, see M(cloudstack.virtual_router.vr_plan).
extends_documentation_fragment:
  - cloudstack.virtual_router.router
options:
  transaction:
    description: The transaction to end, as returned by M(cloudstack.virtual_router.vr_plan).
    type: str
    required: true
  reason:
    description: Why the drops are refused, in one line.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Keep the drops with the reason
  cloudstack.virtual_router.vr_abort:
    transaction: "{{ vr_plan.transaction }}"
    reason: the firewall could not be loaded
"""

RETURN = r"""
drops:
  description: The drops and the aggregate of the transaction.
  returned: always
  type: list
  elements: str
  sample: ["firewall_rules.json.0d6b6f1e-6d2a-4a53-9a3c-0c6a4d0a4f11"]
"""

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.module import main

if __name__ == "__main__":
    main("vr_abort")
