#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_firewall
short_description: Configure the packet filter, NAT and usage counters from the databags
version_added: 0.1.0
description:
  - Renders one nftables table for filter, NAT and marks, and loads what differs from the table that is there.
    The rules that decide change in one transaction, so that no packet meets half a ruleset.
  - Compares the digest of the loaded ruleset with what the kernel lists, and repairs a ruleset that somebody else has
    changed.
  - Cuts the connections that are no longer allowed, and only those. Usage counters survive.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure the packet filter, NAT and usage counters from the databags
  cloudstack.virtual_router.vr_firewall:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["firewall: load table inet cloudstack: the rules changed"]
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
    main("vr_firewall")
