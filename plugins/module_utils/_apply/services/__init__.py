# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The services of a router: each reads what is live and lets its pure planner say what is missing.

Each ends with its record, SERVICE. What it adds to what others make (packet filter, connections, what only the
primary runs) is in _plan/shares.py.
"""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import execute
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Handler, Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    dhcp_dns,
    firewall,
    interfaces,
    load_balancer,
    metadata,
    monitoring,
    redundancy,
    routing,
    system,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

SERVICES: dict[str, Service] = {
    "interfaces": interfaces.SERVICE,
    "firewall": firewall.SERVICE,
    "system": system.SERVICE,
    "dhcp_dns": dhcp_dns.SERVICE,
    "metadata": metadata.SERVICE,
    "load_balancer": load_balancer.SERVICE,
    "vpn": vpn.SERVICE,
    "routing": routing.SERVICE,
    "redundancy": redundancy.SERVICE,
    "monitoring": monitoring.SERVICE,
}
"""The services in the order they are applied."""

CHECKS: dict[type[Step], Handler] = dict(execute.CHECKS)
HANDLERS: dict[type[Step], Handler] = dict(execute.HANDLERS)
for _service in SERVICES.values():
    CHECKS.update(_service.checks)
    HANDLERS.update(_service.handlers)

ABOUT_MACHINES = frozenset({"dhcpconfig", "dhcpentry", "start", "vmdata", "vmpassword"})
"""The databags that say nothing about what these services judge: what may pass, and where haproxy listens."""
