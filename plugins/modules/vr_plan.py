#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_plan
short_description: Merge drops and plan every service of the router
version_added: 0.1.0
description:
  - Waits for a transaction that runs, finishes or undoes one that was killed, and begins its own.
  - Reads the drops, checks them against their schemas and merges them into staged databags.
  - Builds the router from the databags and the interfaces that are plugged in, and compares every service with
    what is live.
  - A wrong drop fails the task and changes nothing. It is kept under C(failed/) with the reason.
  - The last service to be applied puts the databags into force and archives the drops. When no service differs, this
    module does so.
  - In check mode it stages nothing and only returns the plan; use it with C(--diff).
extends_documentation_fragment:
  - cloudstack.virtual_router.router
options:
  drops:
    description: Names of files in C(/var/cache/cloud), in the order in which they are merged.
    type: list
    elements: str
    default: []
  waiting:
    description:
      - Names of more files in C(/var/cache/cloud), which wait for a converge of their own.
      - They are merged after O(drops), in the order given.
      - A wrong one is skipped and stays in the inbox. If the converge fails, all of them stay.
    type: list
    elements: str
    default: []
  aggregate:
    description: Path of an aggregate file in C(/var/cache/cloud), whose drops are merged as one.
    type: path
  keep:
    description: Whether to keep a copy of the drops under C(processed/) once they are in force.
    type: bool
    default: true
  state:
    description:
      - V(staged) plans for the databags with the drops merged in.
      - V(committed) gives the drops up and plans the way back to the databags in force.
    type: str
    choices: [staged, committed]
    default: staged
  transaction:
    description: The transaction to go on with; used for the way back.
    type: str
"""

EXAMPLES = r"""
- name: Plan what a drop changes
  cloudstack.virtual_router.vr_plan:
    drops:
      - vm_dhcp_entry.json.0d6b6f1e-6d2a-4a53-9a3c-0c6a4d0a4f11
  register: vr_plan

- name: Plan the way back
  cloudstack.virtual_router.vr_plan:
    state: committed
    transaction: "{{ vr_plan.transaction }}"
"""

RETURN = r"""
transaction:
  description: The transaction that began; none in check mode, and none when it has ended because no service differs.
  returned: always
  type: str
  sample: 8c1f0e
services:
  description:
    - The services whose plan is not empty, in the order in which they are to be applied.
    - All of them have to be, or M(cloudstack.virtual_router.vr_abort) has to be called, else nothing comes into force.
  returned: success
  type: list
  elements: str
  sample: ["firewall", "dhcp_dns"]
drops:
  description: The drops that were merged; boot arguments still lying in the inbox come first.
  returned: success
  type: list
  elements: str
  sample: ["cmd_line.json"]
waiting:
  description: Those of O(waiting) that were merged.
  returned: success
  type: list
  elements: str
  sample: []
kind:
  description: The kind of router.
  returned: success
  type: str
  sample: router
pending:
  description: What waits for an interface that is not plugged in.
  returned: success
  type: list
  elements: str
  sample: ["eth3 (06:00:2f:00:00:0a): 198.51.100.20: no such NIC yet"]
router_warnings:
  description: What the data ask for that cannot be done and does not stop the rest.
  returned: success
  type: list
  elements: str
  sample: ["static route 10.9.0.0/16: gateway 10.3.0.1 is in no connected network"]
steps:
  description: What is to be done, one line per step, at most 50.
  returned: success
  type: list
  elements: str
  sample: ["firewall: load table inet cloudstack: the rules changed"]
"""

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.module import main

if __name__ == "__main__":
    main("vr_plan")
