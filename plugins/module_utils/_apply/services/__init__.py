# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The services of a router: each reads what is live and lets its pure planner say what is missing.

A service is a name and a `plan`; everything else (check, apply, verify, diff, check mode) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    dhcp_dns,
    firewall,
    interfaces,
    load_balancer,
    metadata,
    redundancy,
    system,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

Planner = Callable[[Host, Router, Router], list[Step]]
"""What is live, the router wanted and the router of the databags in force, to the steps that are missing."""

SERVICES: dict[str, Planner] = {
    "interfaces": interfaces.plan,
    "firewall": firewall.plan,
    "system": system.plan,
    "dhcp_dns": dhcp_dns.plan,
    "metadata": metadata.plan,
    "load_balancer": load_balancer.plan,
    "redundancy": redundancy.plan,
}
"""The services in the order they are applied."""

JUDGED_BY_HISTORY = frozenset({"firewall", "load_balancer"})
"""The services that look at the router of the databags in force; for the others it need not be read."""

ABOUT_MACHINES = frozenset({"dhcpconfig", "dhcpentry", "start", "vmdata", "vmpassword"})
"""The databags that say nothing about what these services judge: what may pass, and where haproxy listens."""
