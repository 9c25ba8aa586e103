# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packet filter, NAT, marks and counters of every kind of router, as data for one template.

Which NIC may send to which is a matrix: `forward_from` asks the policy of where a packet comes from, then
`forward_to` that of where it goes; a pair that is not in it is dropped. A VPC differs from an isolated network in
data only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    NO_ACL,
    Device,
    Kind,
    Role,
    Router,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import (
    firewall6,
    nat,
    pair_filter,
    sources,
    vpn_filter,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    Chain,
    NamedSet,
    SetPool,
    merge_networks,
    table,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.rule_list import (
    compile_reversed,
    compile_rules,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.shares import SHARES

TABLE = "cloudstack"
USAGE_TABLE = "cloudstack_usage"
PLACES = ("input_rules", "guest_rules")
"""Where services add rules; share.py says what each is for."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything that the nftables templates print."""

    sets: tuple[NamedSet, ...]
    chains: tuple[Chain, ...]
    pair_rules: tuple[str, ...]
    destination_rules: tuple[str, ...]
    counters: tuple[str, ...]
    usage_rules: dict[str, tuple[str, ...]]
    added: dict[str, tuple[str, ...]]
    vpn: vpn_filter.TunnelRules
    ftp: bool = True
    clamp: bool = False
    routed: bool = False

    @property
    def six(self) -> bool:
        """Tell whether the router looks for neighbours of IPv6."""
        return any(found.name == "on_link6" for found in self.sets)


def ruleset(router: Router, ftp: bool = True, protected: tuple[str, ...] = ()) -> Ruleset:
    """Return the ruleset. Pure: equal routers have equal rulesets, whatever their history (B1, B2).

    `ftp` says whether the kernel has a helper for FTP: one that it does not know is refused with all the rest.
    `protected` are devices by which packets of tunnels come and go, where the kernel does not encrypt.
    """
    pool = SetPool()
    public = frozenset(a.ip for device in router.by_role(Role.PUBLIC) for a in device.addresses)
    addresses, address_chains = _public_addresses(router, public, pool)
    matrix, policy_chains = _matrix(_with_protected(router, protected), pool)
    tunnels = vpn_filter.rules(router, pool)
    translation = nat.destinations(router, public, pool)
    counters, usage_rules = _usage(router)
    source_sets, source_chains = sources.planned(router, protected)
    matrix6, policy_chains6 = firewall6.planned(router, pool)
    return Ruleset(
        sets=(
            *_nics(router),
            *source_sets,
            *(found for share in SHARES.values() for found in share.sets(router)),
            addresses,
            *matrix,
            *matrix6,
            *translation.maps,
            *nat.sources(router),
            nat.ftp_servers(router, public),
            *pool.sets,
        ),
        chains=(*source_chains, *address_chains, *policy_chains, *policy_chains6),
        pair_rules=pair_filter.rules(router),
        destination_rules=translation.destination_rules,
        added={place: _lines(router, place) for place in PLACES},
        counters=counters,
        usage_rules=usage_rules,
        vpn=tunnels,
        ftp=ftp and router.settings.kind.routes,
        clamp=_mtus_differ(router),
        routed=router.settings.routed,
    )


def _lines(router: Router, place: str) -> tuple[str, ...]:
    """Return what the services add in one place, in their order."""
    return tuple(line for share in SHARES.values() for line in getattr(share, place)(router))


def _with_protected(router: Router, protected: tuple[str, ...]) -> Router:
    """Return the router with devices of tunnels beside the public NIC, for the matrix of who may send to whom."""
    holders = {tunnel.device for tunnel in router.vpn.tunnels}
    model = next((device for device in router.devices if device.name in holders), None)
    more = (replace(model, name=name) for name in protected) if model else ()
    return replace(router, devices=(*router.devices, *more))


def _mtus_differ(router: Router) -> bool:
    between = router.by_role(Role.GUEST, Role.PUBLIC, Role.PRIVATE_GATEWAY)
    return router.settings.kind.routes and len({device.mtu for device in between}) > 1


def _nics(router: Router) -> tuple[NamedSet, ...]:
    """Return the NICs by role, the marks of their connections, and who may use the router's own services."""
    # Nothing that enters a routed network is translated, so by which public NIC it came matters to nobody.
    outside = () if router.settings.routed else (Role.PUBLIC,)
    marked = router.by_role(*outside, Role.PRIVATE_GATEWAY)
    guests = router.by_role(Role.GUEST)
    members = [f"{d.name} . {network}" for d in guests for network in merge_networks(map(str, d.networks))]
    served = {str(a.ip) for d in guests for a in d.addresses} | _virtual(router)
    if not router.settings.kind.serves_vms:
        served = set()
    return (
        _names("public_nics", router.by_role(Role.PUBLIC)),
        _names("guest_nics", guests),
        _names("control_nics", router.by_role(Role.CONTROL)),
        _names("ipv6_nics", router.with_ipv6()),
        *pair_filter.sets(router),
        table("nic_mark", "ifname", "mark", {d.name: str(d.table) for d in marked}),
        NamedSet("guest_members", "ifname . ipv4_addr", tuple(members), interval=True),
        NamedSet("guest_addresses", "ipv4_addr", tuple(sorted(served))),
        NamedSet("dns_sources", "ifname", tuple(d.name for d in guests) if router.settings.expose_dns else ()),
    )


def _virtual(router: Router) -> set[str]:
    gateway = router.settings.guest_gateway
    shared = {str(virtual.interface.ip) for virtual in router.virtual_addresses}
    return shared if gateway is None else shared | {str(gateway)}


def _names(name: str, devices: tuple[Device, ...]) -> NamedSet:
    return NamedSet(name, "ifname", tuple(device.name for device in devices))


def _public_addresses(
    router: Router, public: frozenset[IPv4Address], pool: SetPool
) -> tuple[NamedSet, tuple[Chain, ...]]:
    """Return the map from a public address to its firewall; without the per-address firewall all may enter."""
    if not router.settings.per_ip_firewall:
        return table("public_firewall", "ipv4_addr", "verdict", {str(ip): "accept" for ip in sorted(public)}), ()
    chains = {
        ip: Chain(f"firewall_{ip}", compile_rules(rules, "accept", pool))
        for ip, rules in router.firewall.items()
        if ip in public
    }
    verdicts = {str(ip): f"jump {chain.name}" for ip, chain in chains.items()}
    return table("public_firewall", "ipv4_addr", "verdict", verdicts), tuple(chains.values())


def _matrix(router: Router, pool: SetPool) -> tuple[tuple[NamedSet, ...], tuple[Chain, ...]]:
    """Return the verdict maps by pair of NICs, and the chains they jump to."""
    if not router.settings.kind.routes:
        return _matrix_maps({}, {}, routed=False), ()
    if router.settings.kind is Kind.VPC:
        return _vpc_matrix(router, pool)
    leaving, towards = {}, {}
    routed = router.settings.routed
    guests, public = router.by_role(Role.GUEST), router.by_role(Role.PUBLIC)
    for guest in guests:
        towards.update({_pair(guest, other): "accept" for other in (*guests, *public)})
        towards.update({_pair(outside, guest): "jump inbound" if routed else "accept" for outside in public})
        leaving.update({_pair(guest, outside): "jump egress" for outside in public})
    chains = _both_ways("egress", router.egress, "return", "goto resumed_towards", pool)
    if routed:
        chains = (*chains, *_both_ways("inbound", router.inbound, "accept", "return", pool))
    return _matrix_maps(leaving, towards, routed), chains


def _vpc_matrix(router: Router, pool: SetPool) -> tuple[tuple[NamedSet, ...], tuple[Chain, ...]]:
    """Return the matrix of a VPC: both the egress ACL of one side and the ingress ACL of the other must allow (N2)."""
    inner, public = router.by_role(Role.GUEST, Role.PRIVATE_GATEWAY), router.by_role(Role.PUBLIC)
    chains: list[Chain] = []
    leaving, towards = {}, {}
    for device in inner:
        ingress, egress = router.acls.get(device.name, NO_ACL)
        name = f"acl_{device.name}"
        chains += _both_ways(f"{name}_egress", egress, "return", "goto resumed_towards", pool)
        chains += _both_ways(f"{name}_ingress", ingress, "accept", "return", pool)
        leaving.update({_pair(device, other): f"jump {name}_egress" for other in (*inner, *public)})
        towards.update({_pair(other, device): f"jump {name}_ingress" for other in (*inner, *public)})
        if device.role is Role.GUEST:
            towards.update({_pair(device, outside): "accept" for outside in public})
        if router.settings.routed:
            # Who is on one segment needs no leave of the router to talk.
            del leaving[_pair(device, device)]
            towards[_pair(device, device)] = "accept"
    return _matrix_maps(leaving, towards, router.settings.routed), tuple(chains)


def _both_ways(name: str, rules: RuleList, allow: str, resume: str, pool: SetPool) -> tuple[Chain, ...]:
    """Return the chain of a list, and the one that is asked whether who answers might have begun the connection."""
    return (
        Chain(name, compile_rules(rules, allow, pool, "goto refused")),
        Chain(f"{name}_reversed", compile_reversed(rules, resume, pool, "goto refused")),
    )


def _pair(source: Device, target: Device) -> str:
    return f"{source.name} . {target.name}"


def _matrix_maps(leaving: dict[str, str], towards: dict[str, str], routed: bool) -> tuple[NamedSet, ...]:
    """Return the maps that decide, and those for the way back, of the same pairs.

    From outside all pairs are missing there: whether a forward would lead a client to a VM is not in these lists.
    In routed mode nothing is forwarded, and the lists say all.
    """
    inner = {pair.partition(" . ")[0] for pair in leaving}
    leaving_back = {pair: f"{verdict.replace('jump', 'goto')}_reversed" for pair, verdict in leaving.items()}
    towards_back = {
        pair: "return" if verdict == "accept" else f"{verdict.replace('jump', 'goto')}_reversed"
        for pair, verdict in towards.items()
        if routed or pair.partition(" . ")[0] in inner
    }
    key = "ifname . ifname"
    return (
        table("forward_from", key, "verdict", leaving),
        table("forward_to", key, "verdict", towards),
        table("resumed_from", key, "verdict", leaving_back),
        table("resumed_to", key, "verdict", towards_back),
    )


def _usage(router: Router) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the byte counters per public NIC, and by hook the rules that count (K6).

    One pair of counters is of what passed between the NIC and the guests, in both families. The other is of the TCP
    that ends on the router, which is that of the load balancer: haproxy opens connections of its own towards the VMs.
    """
    tunnels, counted = vpn_filter.usage(router)
    counters = [*tunnels]
    rules = {hook: [*counted.get(hook, ())] for hook in ("forward", "input", "output")}
    guests = ", ".join(device.name for device in router.by_role(Role.GUEST))
    for nic in (d.name for d in router.by_role(Role.PUBLIC) if guests and router.settings.kind.routes):
        counters += [f"{nic}_sent", f"{nic}_received", f"{nic}_own_sent", f"{nic}_own_received"]
        rules["forward"].append(f'iifname {{ {guests} }} oifname {nic} counter name "{nic}_sent"')
        rules["forward"].append(f'iifname {nic} oifname {{ {guests} }} counter name "{nic}_received"')
        rules["input"].append(f'iifname {nic} tcp dport != 3922 counter name "{nic}_own_received"')
        rules["output"].append(f'oifname {nic} tcp sport != 3922 counter name "{nic}_own_sent"')
    return tuple(counters), {hook: tuple(found) for hook, found in rules.items()}
