# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packet filter of IPv6: a matrix of NICs like that of IPv4, and simpler, as nothing is translated.

What packets of every network need (neighbour discovery, errors) is in the template, independent of databags.
"""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Kind,
    Role,
    Router,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules6 import CLOSED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    Chain,
    NamedSet,
    SetPool,
    merge_networks,
    table,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.rule_list import (
    IPV6,
    compile_reversed,
    compile_rules,
)


def planned(router: Router, pool: SetPool) -> tuple[tuple[NamedSet, ...], tuple[Chain, ...]]:
    """Return the networks on a link, the verdict maps by pair of NICs, and the chains they jump to."""
    guests, public = router.with_ipv6(Role.GUEST), router.with_ipv6(Role.PUBLIC)
    leaving: dict[str, str] = {}
    towards: dict[str, str] = {}
    chains: list[Chain] = []
    for guest in guests if router.settings.kind.routes else ():
        others = [device for device in (*guests, *public) if device != guest]
        towards[_pair(guest, guest)] = "accept"
        towards.update({_pair(guest, outside): "accept" for outside in public})
        into, out = _lists(router, guest)
        towards.update({_pair(other, guest): f"jump {into}" for other in others})
        leaving.update({_pair(guest, other): f"jump {out}" for other in others})
        if not any(chain.name == out for chain in chains):
            chains += _chains(router, guest, pool)
    return (*_on_link(router), *_maps(leaving, towards)), tuple(chains)


def _on_link(router: Router) -> tuple[NamedSet, ...]:
    """Return the set of the networks in which the router looks for neighbours; none where nothing is forwarded."""
    networks = sorted({device.six.network for device in router.with_ipv6() if device.six})
    if not networks or not router.settings.kind.routes:
        return ()
    return (NamedSet("on_link6", "ipv6_addr", merge_networks(map(str, networks)), interval=True),)


def _lists(router: Router, guest: Device) -> tuple[str, str]:
    """Return the names of the chains that are asked about what goes to a guest NIC, and what comes from it."""
    if router.settings.kind is Kind.VPC:
        return f"acl6_{guest.name}_ingress", f"acl6_{guest.name}_egress"
    return "inbound6", "egress6"


def _chains(router: Router, guest: Device, pool: SetPool) -> list[Chain]:
    into, out = _lists(router, guest)
    lists = (router.inbound6, router.egress6)
    if router.settings.kind is Kind.VPC:
        lists = router.acls6.get(guest.name, CLOSED)
    return [
        *_both_ways(out, lists[1], "return", "goto resumed6_towards", pool),
        *_both_ways(into, lists[0], "accept", "return", pool),
    ]


def _both_ways(name: str, rules: RuleList, allow: str, resume: str, pool: SetPool) -> tuple[Chain, Chain]:
    return (
        Chain(name, compile_rules(rules, allow, pool, "goto refused", IPV6)),
        Chain(f"{name}_reversed", compile_reversed(rules, resume, pool, "goto refused", IPV6)),
    )


def _pair(source: Device, target: Device) -> str:
    return f"{source.name} . {target.name}"


def _maps(leaving: dict[str, str], towards: dict[str, str]) -> tuple[NamedSet, ...]:
    """Return the maps that decide, and those that tell whether who answers may have begun a connection."""
    key = "ifname . ifname"
    return (
        table("forward6_from", key, "verdict", leaving),
        table("forward6_to", key, "verdict", towards),
        table("resumed6_from", key, "verdict", _reversed(leaving)),
        table("resumed6_to", key, "verdict", _reversed(towards)),
    )


def _reversed(verdicts: dict[str, str]) -> dict[str, str]:
    return {
        pair: "return" if verdict == "accept" else f"{verdict.replace('jump', 'goto')}_reversed"
        for pair, verdict in verdicts.items()
    }
