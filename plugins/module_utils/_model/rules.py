# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter and NAT rules of the databags as rule lists and forwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.sources import contend
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.devices import Locator
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Match,
    Ports,
    Rule,
    RuleList,
    StaticNat,
)

Record = Mapping[str, Any]
_ANY = ("any", "all", None)
_WITH_PORTS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Family:
    """What differs in the records of IPv4 and IPv6: the version, the firewall's databag, and the number of ICMP."""

    version: int
    bag: str
    icmp: str

    def networks(self, given: Iterable[str]) -> tuple[str, ...] | None:
        """Return the CIDRs of this family; see `values.cidrs`."""
        return values.cidrs(given, self.version)

    def named(self, number: str) -> str:
        """Return the name of a protocol number, the number itself where it has none here."""
        return {"6": "tcp", "17": "udp", self.icmp: "icmp"}.get(number, number)


IPV4 = Family(4, "firewallrules", "1")
IPV6 = Family(6, "ipv6firewallrules", "58")


def firewall(bags: Mapping[str, Any]) -> dict[IPv4Address, RuleList]:
    """Return the ingress rules of each public address; what no rule allows is denied."""
    found: dict[IPv4Address, list[Rule]] = {}
    for label, record in by_id(bags, IPV4):
        ip = values.address(record.get("src_ip"))
        if record["traffic_type"].lower() == "ingress" and ip is not None:
            found.setdefault(ip, []).extend(firewall_rule(IPV4, label, record, allow=True))
    return {ip: RuleList(tuple(rules)) for ip, rules in sorted(found.items())}


def inbound(bags: Mapping[str, Any]) -> RuleList:
    """Return the ingress rules of a routed network; what no rule allows is denied.

    They name no public address: their destinations are VMs, and none given means all of them.
    """
    rules: list[Rule] = []
    for label, record in by_id(bags, IPV4):
        if record["traffic_type"].lower() == "ingress" and values.address(record.get("src_ip")) is None:
            rules += firewall_rule(IPV4, label, record, allow=True)
    return RuleList(tuple(rules))


def egress(bags: Mapping[str, Any]) -> RuleList:
    """Return the egress rules: under a default of "allow" they block, under "deny" they allow.

    A rule of protocol `all` without CIDRs is the default policy itself. Nothing may leave before a policy is known.
    """
    records = [(label, r) for label, r in by_id(bags, IPV4) if r["traffic_type"].lower() == "egress"]
    policies = [record for _label, record in records if _is_policy(record)] or [r for _label, r in records]
    default_allow = bool(policies) and all(record.get("default_egress_policy") for record in policies)
    rules: list[Rule] = []
    for label, record in records:
        if not _is_policy(record):
            rules += firewall_rule(IPV4, label, record, allow=not default_allow)
    return RuleList(tuple(rules), default_allow)


def _is_policy(record: Record) -> bool:
    return record["protocol"] == "all" and not record.get("source_cidr_list") and not record.get("dest_cidr_list")


def by_id(bags: Mapping[str, Any], family: Family) -> list[tuple[str, Record]]:
    """Return the records of a family's firewall in the order of their ids, each with its name for people."""
    rules = bags.get(family.bag, {})
    ids = sorted((key for key in rules if key != "id"), key=int)
    return [(f"{family.bag} {key}", rules[key]) for key in ids]


def firewall_rule(family: Family, label: str, record: Record, allow: bool) -> list[Rule]:
    """Return the rule as a list of one, or of none when it speaks of the other family only."""
    sides = (record.get(side) or () for side in ("source_cidr_list", "dest_cidr_list"))
    sources, destinations = map(family.networks, sides)
    if sources is None or destinations is None:
        return []
    protocol = None if record["protocol"] in _ANY else record["protocol"]
    match = Match(
        protocol=protocol,
        ports=port_pair(record.get("src_port_range")) if protocol in _WITH_PORTS else None,
        icmp_type=icmp_number(record.get("icmp_type")) if protocol == "icmp" else None,
        icmp_code=icmp_number(record.get("icmp_code")) if protocol == "icmp" else None,
        sources=sources,
        destinations=destinations,
    )
    return [Rule(match, allow, label)]


def port_pair(pair: Any) -> Ports | None:
    """Return the range; none given, or 0, means all ports (B6)."""
    if not pair or not any(pair):
        return None
    return Ports(pair[0], pair[1])


def icmp_number(number: int | None) -> int | None:
    """Return a type or code of ICMP; -1 and none given mean any."""
    return None if number is None or number < 0 else number


def acls(bags: Mapping[str, Any], locator: Locator) -> dict[str, tuple[RuleList, RuleList]]:
    """Return ingress and egress list per device: towards it nothing passes by default, from it everything."""
    found = acl_rules(IPV4, bags, locator)
    return {name: (RuleList(ingress), RuleList(egress, True)) for name, (ingress, egress) in found.items()}


def acl_rules(
    family: Family, bags: Mapping[str, Any], locator: Locator
) -> dict[str, tuple[tuple[Rule, ...], tuple[Rule, ...]]]:
    """Return the ingress and egress rules of a family per device, without those that name none of its networks."""
    found = {}
    for key, entry in sorted(bags.get("networkacl", {}).items()):
        name = None if key == "id" else locator.find(values.text(entry.get("mac_address")), key)
        if name is not None:
            ingress = _acl_rules(family, entry["ingress_rules"], f"networkacl {key} ingress", towards=True)
            leaving = _acl_rules(family, entry["egress_rules"], f"networkacl {key} egress", towards=False)
            found[name] = (ingress, leaving)
    return found


def _acl_rules(family: Family, items: Iterable[Record], label: str, towards: bool) -> tuple[Rule, ...]:
    rules = []
    for number, item in enumerate(items):
        networks = family.networks(item["cidr"].split(","))
        if networks is None:
            continue
        kind = item["type"]
        match = Match(
            protocol=_acl_protocol(family, item),
            ports=port_pair((item.get("first_port", 0), item.get("last_port", 0))) if kind in _WITH_PORTS else None,
            icmp_type=icmp_number(item.get("icmp_type")) if kind == "icmp" else None,
            icmp_code=icmp_number(item.get("icmp_code")) if kind == "icmp" else None,
            sources=networks if towards else (),
            destinations=() if towards else networks,
        )
        rules.append(Rule(match, item["allowed"], f"{label}[{number}]"))
    return tuple(rules)


def _acl_protocol(family: Family, item: Record) -> str | None:
    """Return the protocol of an ACL item; a protocol number is matched as such, also 0 and 255."""
    if item["type"] == "protocol":
        return family.named(str(item["protocol"]))
    return None if item["type"] in _ANY else str(item["type"])


def forwards(bags: Mapping[str, Any]) -> tuple[Forward, ...]:
    """Return the port forwards that are in force, in the order of address, protocol and port.

    Databags have those of the same ports one after the other.
    """
    alike: list[list[Forward]] = []
    last = None
    for record in _nat_records(bags):
        forward = _forward(record) if record["type"] == "forward" else None
        if forward is None:
            continue
        match = (record["public_ip"], record.get("protocol"), record.get("public_ports"))
        if match == last:
            alike[-1].append(forward)
        else:
            alike.append([forward])
            last = match
    found = (forward for same in alike for forward in (same if len(same) == 1 else _in_force(same)))
    return tuple(sorted(found, key=_forward_key))


def _in_force(alike: list[Forward]) -> list[Forward]:
    """Return what is left of forwards of the same ports, oldest first, when the newer ones have their sources.

    One for every source contends with its like only: those with sources are asked before it.
    """
    if not contend([tuple(map(IPv4Network, forward.sources)) for forward in alike]):
        return alike
    found: dict[bool, list[Forward]] = {True: [], False: []}
    taken: list[IPv4Network] = []
    for forward in reversed(alike):
        if not forward.sources:
            found[False] = found[False] or [forward]
        elif left := _without(forward.sources, taken):
            found[True].append(replace(forward, sources=left))
            taken += map(IPv4Network, forward.sources)
    return [*found[True], *found[False]]


def _without(sources: tuple[str, ...], taken: list[IPv4Network]) -> tuple[str, ...]:
    """Return the CIDRs without those that are taken; as they are where none is."""
    left = [IPv4Network(cidr) for cidr in sources]
    if not any(one.overlaps(other) for one in left for other in taken):
        return sources
    for other in taken:
        left = [piece for network in left for piece in _except(network, other)]
    return tuple(map(str, collapse_addresses(left)))


def _except(network: IPv4Network, other: IPv4Network) -> Iterable[IPv4Network]:
    if not network.overlaps(other):
        return (network,)
    return () if network.subnet_of(other) else network.address_exclude(other)


def _forward(record: Record) -> Forward | None:
    """Return the forward, None when its sources are IPv6 networks only: no IPv4 client may use it."""
    sources = values.cidrs(values.words(record.get("source_cidr_list")))
    if sources is None:
        return None
    protocol = str(record.get("protocol") or "any").lower()
    return Forward(
        public_ip=IPv4Address(record["public_ip"]),
        internal_ip=IPv4Address(record["internal_ip"]),
        protocol=None if protocol in _ANY else protocol,
        public_ports=_port_text(record.get("public_ports")),
        internal_ports=_port_text(record.get("internal_ports")),
        sources=sources,
    )


def _forward_key(forward: Forward) -> tuple[Any, ...]:
    ports = forward.public_ports or Ports(0, 65535)
    return (forward.public_ip, forward.protocol or "", ports.first, ports.last, forward.sources, forward.internal_ip)


def _port_text(value: Any) -> Ports | None:
    """Return the range of `first:last`; `any` and 0 mean all ports."""
    found = values.text(value)
    if found is None or found.startswith("any"):
        return None
    first, _colon, last = found.partition(":")
    return port_pair((int(first), int(last or first)))


def static_nats(bags: Mapping[str, Any]) -> tuple[StaticNat, ...]:
    """Return the one-to-one NATs, one per public address, in address order; of several records the last one counts."""
    found: dict[IPv4Address, IPv4Address] = {}
    for record in _nat_records(bags):
        if record["type"] == "staticnat":
            found[IPv4Address(record["public_ip"])] = IPv4Address(record["internal_ip"])
    return tuple(StaticNat(public, internal) for public, internal in sorted(found.items()))


def _nat_records(bags: Mapping[str, Any]) -> Iterable[Record]:
    for key, records in sorted(bags.get("forwardingrules", {}).items()):
        if key != "id":
            yield from records
