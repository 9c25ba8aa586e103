# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the router from its databags and the NICs that are plugged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import (
    dhcp,
    dns,
    metadata,
    monitoring,
    rules,
    rules6,
    unbuilt,
    values,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.bgp import bgp
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator, devices
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices6 import with_ipv6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import load_balancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Away,
    Device,
    Kind,
    Nic,
    Role,
    Router,
    RuleList,
    Settings,
    StaticRoute,
    VrrpState,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.settings import (
    given_search_domains,
    settings,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.unfit import fitting
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.waiting import waiting


def build(bags: Mapping[str, Any], nics: Sequence[Nic], state: VrrpState = VrrpState.UNKNOWN) -> Router:
    """Return the router that the databags describe. Pure: the same databags, NICs and state give an equal router."""
    fit, unfit = fitting(bags)
    router = _known_outside(_router(fit, nics, state), fit, nics)
    return replace(router, warnings=(*unfit, *router.warnings)) if unfit else router


def _router(bags: Mapping[str, Any], nics: Sequence[Nic], state: VrrpState) -> Router:
    found, pending = devices(bags, nics)
    routes, warnings = _static_routes(bags, found)
    leases = dhcp.leases(bags, found)
    chosen = settings(bags)
    firewall, balancer = rules.firewall(bags), load_balancer(bags)
    tunnels = vpn.site_to_site(bags, found, public_network=chosen.public_network)
    unserved = dns.left_out(given_search_domains(bags), chosen.search_domains, found, (*leases.hosts, *leases.names6))
    return Router(
        settings=chosen,
        state=state,
        devices=found,
        pending=(*pending, *waiting(bags, firewall, balancer), *tunnels.pending),
        warnings=(*warnings, *unserved, *tunnels.warnings, *_untranslated(bags, chosen), *unbuilt.warnings(bags)),
        nics=tuple(sorted(nics, key=lambda nic: nic.name)),
        firewall=firewall,
        inbound=rules.inbound(bags) if chosen.routed else RuleList(),
        egress=rules.egress(bags),
        acls=_acls(rules.acls(bags, Locator(nics)), found, chosen),
        # Nothing is translated in routed mode, whatever the databags still hold.
        forwards=() if chosen.routed else rules.forwards(bags),
        static_nats=() if chosen.routed else rules.static_nats(bags),
        routes=routes,
        hosts=leases.hosts,
        names6=leases.names6,
        gateways=leases.gateways,
        vm_data=metadata.vm_data(bags),
        passwords=metadata.passwords(bags),
        load_balancer=balancer,
        vpn=tunnels.vpn,
        monitoring=monitoring.monitoring(bags),
        away=_away(bags.get("start", {}).get("away", {})),
    )


def _known_outside(router: Router, bags: Mapping[str, Any], nics: Sequence[Nic]) -> Router:
    """Add what is known outside without translation: IPv6 with its rules, and the peers that are told of networks."""
    devices6, unreachable = with_ipv6(bags, nics, router.devices, router.settings)
    speaks, unspoken = bgp(bags)
    return replace(
        router,
        devices=devices6,
        inbound6=rules6.inbound6(bags),
        egress6=rules6.egress6(bags),
        acls6=rules6.acls6(bags, Locator(nics)) if any(device.six for device in devices6) else {},
        bgp=speaks,
        warnings=(*unreachable, *unspoken, *router.warnings),
    )


def _untranslated(bags: Mapping[str, Any], chosen: Settings) -> tuple[str, ...]:
    """Return a line that names the addresses of port forwards and static NATs which a routed network does without."""
    addresses = sorted(key for key in bags.get("forwardingrules", {}) if key != "id") if chosen.routed else []
    if not addresses:
        return ()
    return (f"routed mode translates nothing: what is forwarded from {', '.join(addresses)} has no effect",)


def _away(noted: Mapping[str, Any]) -> Away:
    tiers = (values.network(network) for network in noted.get("tiers", ()))
    vms = frozenset((address, vm["mac"]) for address, vm in noted.get("vms", {}).items())
    return Away(vms, tuple(network for network in tiers if network))


def _acls(
    acls: dict[str, tuple[RuleList, RuleList]], found: tuple[Device, ...], chosen: Settings
) -> dict[str, tuple[RuleList, RuleList]]:
    """Return the ACLs; in a routed VPC what no rule allows is denied, from a device as well as towards it."""
    if not (chosen.routed and chosen.kind is Kind.VPC):
        return acls
    inner = {d.name: (RuleList(), RuleList()) for d in found if d.role in (Role.GUEST, Role.PRIVATE_GATEWAY)}
    return inner | {name: (ingress, replace(egress, default_allow=False)) for name, (ingress, egress) in acls.items()}


def _static_routes(
    bags: Mapping[str, Any], found: tuple[Device, ...]
) -> tuple[tuple[StaticRoute, ...], tuple[str, ...]]:
    """Return the routes that can be set; each other one is reported alone (E5, E8)."""
    routes, warnings = [], []
    for key, record in sorted(bags.get("staticroutes", {}).items()):
        if key == "id" or record.get("revoke"):
            continue
        network, gateway = values.network(record.get("network")), values.address(record.get("gateway"))
        device = None if gateway is None else _next_hop_device(gateway, found)
        if network is None or gateway is None or device is None:
            warnings.append(f"static route {key}: gateway {record.get('gateway')} is in no connected network")
        elif network.prefixlen == 0 or any(network in d.networks for d in found):
            warnings.append(f"static route {key}: the router has a route to this network of its own")
        else:
            routes.append(StaticRoute(network, gateway, device.name))
    return tuple(routes), tuple(warnings)


def _next_hop_device(gateway: IPv4Address, found: tuple[Device, ...]) -> Device | None:
    inside = [d for d in found if d.role is not Role.CONTROL and any(gateway in n for n in d.networks)]
    return inside[0] if inside else None
