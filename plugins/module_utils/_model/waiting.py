# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What came before its address: it is kept, works once the address comes, and is told as pending until then."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import LoadBalancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import RuleList

_KINDS = {"forward": "port forwarding", "staticnat": "static NAT"}


def waiting(
    bags: Mapping[str, Any], firewall: Mapping[IPv4Address, RuleList], balancer: LoadBalancer | None
) -> tuple[str, ...]:
    """Return a line for each public address that rules are about and that no drop has given; order of addresses.

    One that has been given to a NIC that is not plugged in is pending by itself.
    """
    given = {record["public_ip"] for key, records in bags.get("ips", {}).items() if key != "id" for record in records}
    found: dict[IPv4Address, list[str]] = {}
    for address, records in bags.get("forwardingrules", {}).items():
        if address != "id" and address not in given:
            found[IPv4Address(address)] = sorted({_KINDS[record["type"]] for record in records})
    for ip in firewall:
        if str(ip) not in given:
            found.setdefault(ip, []).append("firewall rules")
    for listener in balancer.listeners if balancer else ():
        if listener.ip is not None and balancer and listener.ip not in balancer.addresses:
            found.setdefault(listener.ip, []).append(f"load balancer on port {listener.port}")
    return tuple(f"{ip}: {', '.join(uses)}: no such address yet" for ip, uses in sorted(found.items()))
