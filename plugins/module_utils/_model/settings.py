# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Boot arguments (the `cmdline` databag) as settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import redundancy, values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.dns import search_list
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Kind, Settings


def settings(bags: Mapping[str, Any]) -> Settings:
    """Return the settings of the router; a router without boot arguments is taken for an isolated one."""
    config = bags.get("cmdline", {}).get("config", {})
    kind = _kind(values.text(config.get("type")), bags)
    return Settings(
        name=values.text(config.get("name")) or "router",
        kind=kind,
        domain=values.domain(config.get("domain")) or "cloudnine.internal",
        gateway=values.address(config.get("gateway")),
        resolvers=_resolvers(config),
        resolvers6=_resolvers6(config),
        external_dns=values.flag(config.get("useextdns")),
        expose_dns=values.flag(config.get("exposedns")),
        router_resolver_only=values.flag(config.get("userouteripresolver")),
        search_domains=search_list(given_search_domains(bags)),
        vpc_cidr=next(map(values.network, values.words(config.get("vpccidr"))), None),
        routed=values.flag(config.get("is_routed")),
        public_network=values.text(config.get("has_public_network")) != "false",
        per_ip_firewall=kind is Kind.ISOLATED or values.flag(config.get("vpc_firewall_enabled")),
        redundant=values.flag(config.get("redundant_router")),
        disable_rp_filter=values.flag(config.get("disable_rp_filter")),
        management_networks=tuple(n for n in map(values.network, values.words(config.get("mgmtcidr"))) if n),
        management_gateway=values.address(config.get("localgw")),
        ssh_keys=_keys(config.get("authorized_key")),
        root_password=values.text(config.get("vmpassword")),
        pair_password=values.text(config.get("router_password")),
        logrotate_calendar=values.text(config.get("logrotatefrequency")),
        source_nat_ip=values.address(config.get("source_nat_ip")),
        guest_gateway=values.address(config.get("guestgw")),
        advert_interval=redundancy.advert_interval(config),
        vrrp_id=redundancy.vrrp_id(config),
    )


def given_search_domains(bags: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the search list of the boot arguments, whether or not all of it can be sent."""
    words = values.words(bags.get("cmdline", {}).get("config", {}).get("dnssearchorder"))
    return tuple(dict.fromkeys(word.rstrip(".") for word in words))


def main_addresses(bags: Mapping[str, Any]) -> frozenset[IPv4Address]:
    """Return the addresses that the boot arguments give the NICs: they come first on their device."""
    config = bags.get("cmdline", {}).get("config", {})
    found = (values.address(config.get(f"eth{number}ip")) for number in range(3))
    return frozenset(ip for ip in found if ip)


def _kind(name: str | None, bags: Mapping[str, Any]) -> Kind:
    if name is not None:
        return Kind(name)
    return Kind.VPC if len(bags.get("guestnetwork", {})) > 1 else Kind.ISOLATED


def _resolvers(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("dns1", "dns2", "internaldns1", "internaldns2")
    found = (values.address(config.get(name)) for name in names)
    return tuple(dict.fromkeys(str(ip) for ip in found if ip))


def _resolvers6(config: Mapping[str, Any]) -> tuple[str, ...]:
    found = (values.address6(config.get(name)) for name in ("ip6dns1", "ip6dns2"))
    return tuple(dict.fromkeys(str(ip) for ip in found if ip))


def _keys(encoded: Any) -> tuple[str, ...]:
    """Decode the management server's keys, which may have lost their padding; a malformed text never gets here."""
    found = (values.text(encoded) or "").rstrip("=")
    decoded = base64.b64decode(found + "=" * (-len(found) % 4)).decode()
    return tuple(line.strip() for line in decoded.splitlines() if line.strip())
