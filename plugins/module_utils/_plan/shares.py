# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The shares of all services that have one, in the order in which the services are applied."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    dhcp_dns,
    load_balancer,
    metadata,
    routing,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share

SHARES: dict[str, Share] = {
    "dhcp_dns": dhcp_dns.SHARE,
    "metadata": metadata.SHARE,
    "load_balancer": load_balancer.SHARE,
    "vpn": vpn.SHARE,
    "routing": routing.SHARE,
}
"""By the name of the service. One that is missing here adds nothing."""
