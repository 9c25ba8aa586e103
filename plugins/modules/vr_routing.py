#!/usr/bin/python
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: vr_routing
short_description: Configure router advertisements and BGP from the databags
version_added: 0.1.0
description:
  - Writes the file of radvd, which tells the VMs of a network with IPv6 who their router is.
  - radvd runs on the primary of a pair only; it rereads its file when that has changed, and is not restarted.
  - Writes the files of FRR, which speaks BGP with the peers that the databags name. A change is applied by difference,
    so that sessions which do not change stay up. A peer whose password FRR cannot take is left out with a warning.
  - Does nothing on a router without IPv6 and peers.
extends_documentation_fragment:
  - cloudstack.virtual_router.router
  - cloudstack.virtual_router.router.service
"""

EXAMPLES = r"""
- name: Configure router advertisements and BGP from the databags
  cloudstack.virtual_router.vr_routing:
"""

RETURN = r"""
steps:
  description: What was done, one line per step, at most 50; the log on the router has all of them.
  returned: always
  type: list
  elements: str
  sample: ["routing: write /etc/radvd.conf"]
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
    main("vr_routing")
