#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_dhcp_dns
short_description: Configure DHCP and DNS from the databags
version_added: 0.1.0
description:
  - Writes the files of dnsmasq, makes it reread them, and restarts it only when networks or boot arguments changed.
  - Releases the leases of machines that are gone.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure DHCP and DNS from the databags
  cloudstack.virtual_router.vr_dhcp_dns:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["dhcp_dns: write /etc/dnsmasq.cloudstack/dhcp-hosts"]
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
    main("vr_dhcp_dns")
