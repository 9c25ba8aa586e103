# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What health checks compare a router with: units, sockets, gateways and files that its databags ask for, as JSON.

Checks judge the live router by this, never by what the management server's drop repeats: that is a second opinion, and
what it names and the databags do not have is `lacking`.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.monitoring import Record
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import dhcp_dns, metadata, passwords
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.load_balancer import opened

Expected = dict[str, Any]


def expected(router: Router) -> Expected:
    """Return what is expected of the router now. Pure; the state of VRRP is that of the router given."""
    settings, monitoring = router.settings, router.monitoring
    return {
        "enabled": monitoring.enabled,
        "excluded": sorted(monitoring.excluded),
        "sections": list(monitoring.sections),
        "redundant": settings.redundant,
        "active": router.active,
        "units": _units(router),
        "addresses": list(router.service_addresses),
        "dns": not settings.external_dns,
        "control": [str(a.ip) for device in router.by_role(Role.CONTROL) for a in device.addresses],
        "listeners": _listeners(router) if router.active else [],
        "gateways": list(_gateways(router)),
        "pending": list(router.pending),
        "hosts": _hosts(router),
        "certificates": bool(router.load_balancer and router.load_balancer.certificates),
        "thresholds": _first(router, "systemThresholds"),
        "version": _first(router, "routerVersion"),
        "lacking": {name: list(found) for name, found in _lacking(router).items()},
        "vms": len(router.hosts),
        "forwards": len(router.forwards),
        "metrics": _metrics(router),
    }


def _metrics(router: Router) -> Expected:
    """Return what metrics tell of the router besides."""
    acls = [rules for table in (router.acls, router.acls6) for pair in table.values() for rules in pair]
    inbound = [*router.firewall.values(), router.inbound, router.inbound6]
    lists = {"acl": acls, "ingress": inbound, "egress": [router.egress, router.egress6]}
    counts = {kind: sum(len(rules.rules) for rules in found) for kind, found in lists.items()}
    servers = {server.unit: server for server in dhcp_dns.servers(router) if server.devices}
    nics = {name: {device.name for device in server.devices} for name, server in servers.items()}
    return {
        "name": router.settings.name,
        "kind": router.settings.kind.value,
        "devices": [[device.name, device.role.value] for device in router.devices],
        "rules": {"static_nat": len(router.static_nats), **counts},
        "hosts": {name: sum(host.device in mine for host in router.hosts) for name, mine in nics.items()},
        "leases": {name: server.lease_file for name, server in servers.items()},
    }


def _units(router: Router) -> dict[str, list[str]]:
    """Return the units that should run now, by the sections of the management server."""
    balancer = router.load_balancer
    serves = router.active and bool(router.service_addresses)
    return {
        "ssh": ["ssh"] if router.by_role(Role.CONTROL) else [],
        "dhcp": [server.unit for server in dhcp_dns.servers(router) if server.devices] if router.active else [],
        "loadbalancing": ["haproxy"] if balancer is not None and balancer.listeners else [],
        "webserver": [metadata.WEB, passwords.UNIT] if serves else [],
    }


def _gateways(router: Router) -> Iterator[list[str]]:
    """Yield NIC, own address and gateway of each link to the outside that should be up now."""
    for device in router.by_role(Role.PUBLIC, Role.PRIVATE_GATEWAY):
        own = {address.ip for address in device.addresses}
        for address in device.addresses if router.is_up(device) else ():
            if address.gateway is not None and address.gateway not in own:
                yield [device.name, str(address.ip), str(address.gateway)]
                break


def _listeners(router: Router) -> list[list[str]]:
    """Return address and port of each listener of the load balancer."""
    return [element.split(" . ") for elements in opened(router) for element in elements]


def _hosts(router: Router) -> dict[str, list[str]]:
    """Return the addresses of the DHCP hosts by the file that must have them."""
    found = {}
    for server in dhcp_dns.servers(router):
        mine = {device.name for device in server.devices}
        found[server.file("dhcp-hosts")] = [f"{h.mac},{h.ip}" for h in router.hosts if h.device in mine]
    return found


def _first(router: Router, kind: str) -> Record:
    return next(iter(router.monitoring.config.get(kind, ())), {})


def _lacking(router: Router) -> dict[str, Iterator[str]]:
    """Return what the drop names and the databags lack, by the check that tells it."""
    config = router.monitoring.config
    known = {(host.mac.lower(), str(host.ip)) for host in router.hosts}
    networks = [network for device in router.served for network in device.networks]
    served = [vm for vm in config.get("virtualMachines", ()) if _is_in(vm.get("ip", ""), networks)]
    absent = [vm for vm in served if (vm.get("macAddress", "").lower(), vm.get("ip")) not in known]
    listeners = {tuple(listener) for listener in _listeners(router)}
    forwards = {
        (str(f.public_ip), str(f.public_ports.first if f.public_ports else 0), str(f.internal_ip))
        for f in router.forwards
    }
    balanced, forwarded = config.get("haproxyData", ()), config.get("portForwarding", ())
    return {
        "dhcp_check.py": (vm["ip"] for vm in absent if vm.get("dhcp") == "true"),
        "dns_check.py": (vm["ip"] for vm in absent if vm.get("dns") == "true"),
        "haproxy_check.py": (
            f"{rule.get('sourceIp')}:{rule.get('sourcePortStart')}"
            for rule in balanced
            if (rule.get("sourceIp"), rule.get("sourcePortStart")) not in listeners
        ),
        "iptables_check.py": (
            f"{rule.get('sourceIp')}:{rule.get('sourcePortStart')}"
            for rule in forwarded
            if (rule.get("sourceIp"), rule.get("sourcePortStart"), rule.get("destIp")) not in forwards
        ),
    }


def _is_in(text: str, networks: list[IPv4Network]) -> bool:
    address = values.address(text)
    return address is not None and any(address in network for network in networks)
