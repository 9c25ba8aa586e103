# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take over stored databags, our own and those that the original left, as the same clean shape.

The original keeps revoked rules, addresses with ``add: false`` and empty lists, and stores what it never
checked
(N3, N7). So what comes from disk is checked like a drop, and leftovers go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import START
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import (
    addresses,
    boot,
    rules,
    segments,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import (
    bootargs,
    network,
    packets,
    services,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import (
    machines as vm,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    NO_VALUE,
    Field,
    Kind,
    MismatchError,
    list_of,
    map_of,
    may,
    need,
    record,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.tables import SCHEMAS

Keep = Callable[[dict[str, Any]], bool]


def _address_or_blank(value: Any) -> str:
    """Accept an address, or nothing, which the original writes as an empty gateway."""
    return "" if isinstance(value, str) and value in NO_VALUE else k.ipv4(value)


def _name_or_blank(value: Any) -> str:
    """Accept a host name, or the empty one of a VM whose name a newer VM has taken (F13)."""
    return "" if isinstance(value, str) and value in NO_VALUE else k.host_name(value)


STORED_ADDRESS = record(
    {
        **network.address_fields(network.MTU),
        "gateway": Field(_address_or_blank, optional=True, blank=True),
        "alias": may(k.boolean),
    }
)
STORED_ENTRY = record(
    {**vm.DHCP_FIELDS, "host_name": Field(_name_or_blank, optional=True, blank=True)},
    vm.addressed,
)


def _ports_given(rule: dict[str, Any]) -> None:
    """Want the ports of a forward; static NAT may do without."""
    for name in ("public_ports", "internal_ports", "protocol"):
        if rule["type"] == "forward" and name not in rule:
            raise k.missing(name, "a value, as this is a forward")
    if rule["type"] == "forward":
        packets.equal_ranges("public_ports", "internal_ports")(rule)


STORED_NAT = record(
    {
        "type": need(k.one_of("forward", "staticnat")),
        "public_ip": need(k.ipv4),
        "internal_ip": need(k.ipv4),
        "public_ports": may(packets.ports_or_any),
        "internal_ports": may(packets.ports_or_any),
        "protocol": may(k.word_of("tcp", "udp", "icmp", "all", "any")),
        "source_cidr_list": may(k.comma_list(k.cidr4)),
    },
    _ports_given,
)


def take_over(name: str, bag: dict[str, Any]) -> Bag:
    """Return a stored databag in clean shape; MismatchError with its path when it holds what no drop may.

    What a merge has made comes back as it is. The bag given is used up.
    """
    return {**_TAKERS[name]({key: value for key, value in bag.items() if key != "id"}), "id": name}


def _under(key: str, kind: Kind, value: Any) -> Any:
    try:
        return kind(value)
    except MismatchError as error:
        raise error.under(ascii(key)[1:-1]) from None


def keyed(kind: Kind, keep: Keep, key_of: Callable[[dict[str, Any]], str]) -> Callable[[Bag], Bag]:
    """Make what takes over a table of records: checked, without leftovers, under the key that ours have."""

    def take(bag: Bag) -> Bag:
        checked = [_under(key, kind, value) for key, value in bag.items()]
        return {key_of(value): value for value in checked if keep(value)}

    return take


def _whole(kind: Kind) -> Callable[[Bag], Bag]:
    def take(bag: Bag) -> Bag:
        checked: Bag = kind(bag)
        return checked

    return take


def _take_addresses(bag: Bag) -> Bag:
    taken: dict[str, list[dict[str, Any]]] = {}
    for device, filed in bag.items():
        if device != addresses.NOWHERE:
            _under(device, k.device, device)
        for stored in _under(device, list_of(_known_alias), filed):
            if stored["add"]:
                taken.setdefault(device, []).append(addresses.complete(stored, device))
    return {device: sorted(filed, key=addresses.by_rank) for device, filed in taken.items()}


def _known_alias(value: Any) -> Any:
    """Check an address and mark an alias of the original: it alone made records without gateway and MTU."""
    if isinstance(value, dict) and value.get("nw_type") == "guest" and "gateway" not in value and "mtu" not in value:
        value["alias"] = True
    return STORED_ADDRESS(value)


def _take_tiers(bag: Bag) -> Bag:
    """Keep the newest drop of each device; the original puts it last."""
    taken = {}
    for device, tiers in bag.items():
        present = [tier for tier in _under(device, list_of(network.GUEST_NETWORK), tiers) if tier["add"]]
        if present:
            taken[device] = present[-1:]
    return taken


def _take_nat(bag: Bag) -> Bag:
    taken = {}
    for address, stored in bag.items():
        table = rules.RuleTable([])
        for rule in _under(address, list_of(STORED_NAT), stored):
            table.put(rule)
        if kept := table.records():
            taken[_under(address, k.ipv4, address)] = kept
    return taken


def _take_arguments(bag: Bag) -> Bag:
    """Settle the boot arguments; the original writes ``redundant_router`` as true or false."""
    if "config" not in bag:
        return {}
    config = _under("config", bootargs.arguments, bag["config"])
    if config.get("redundant_router") == "false":
        del config["redundant_router"]
    return {"config": boot.settled(config)}


def _take_texts(bag: Bag) -> Bag:
    for address, text in bag.items():
        _under(address, k.ip, address)
        try:
            _under(address, k.text, text)
        except MismatchError as error:
            error.secret = True
            raise
    return bag


def _take_metadata(bag: Bag) -> Bag:
    for address, items in bag.items():
        _under(address, k.ip, address)
        _under(address, list_of(vm.metadata_item), items)
    return {address: items for address, items in bag.items() if items}


def _kept_body(value: Any) -> Any:
    """Check the body of a drop that was written down like the drop itself."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in SCHEMAS:
        raise MismatchError("the body of a drop", value)
    return SCHEMAS[kind](value)


_AWAY = record(
    {
        "vms": need(map_of(k.ip, record({"mac": need(k.mac), "name": may(k.host_name)}))),
        "tiers": need(list_of(k.cidr4)),
    }
)
_START = record(
    {
        "boot": may(k.text),
        "by": may(k.one_of("server", "open", "own")),
        "mark": may(k.text),
        "drops": may(list_of(record({"name": need(k.safe_name), "body": need(_kept_body)}))),
        "away": may(_AWAY),
    }
)


def _created(value: dict[str, Any]) -> bool:
    return bool(value["create"])


_TAKERS: dict[str, Callable[[Bag], Bag]] = {
    "bgppeers": keyed(network.PEER, lambda peer: "peer_id" in peer, lambda p: f"{p['peer_id']}-{p['network_id']}"),
    "cmdline": _take_arguments,
    "dhcpconfig": _whole(record({"entries": may(vm.RANGES)})),
    "dhcpentry": keyed(STORED_ENTRY, lambda entry: not entry.get("remove"), lambda e: segments.addresses_of(e)[0]),
    "firewallrules": keyed(packets.RULE4, lambda rule: not rule["revoked"], lambda rule: str(rule["id"])),
    "forwardingrules": _take_nat,
    "guestnetwork": _take_tiers,
    "ips": _take_addresses,
    "ipv6firewallrules": keyed(packets.RULE6, lambda rule: not rule["revoked"], lambda rule: str(rule["id"])),
    "loadbalancer": _whole(record({"config": may(packets.BALANCERS)})),
    "monitorservice": _whole(services.MONITOR_SERVICE),
    "networkacl": keyed(packets.NETWORK_ACL, lambda _acl: True, lambda acl: str(acl["device"])),
    "remoteaccessvpn": keyed(services.REMOTE_ACCESS, _created, lambda vpn: str(vpn["vpn_server_ip"])),
    "site2sitevpn": keyed(services.SITE_TO_SITE, _created, lambda vpn: str(vpn["peer_gateway_ip"])),
    START: _whole(_START),
    "staticroutes": keyed(network.ROUTE, lambda route: not route["revoke"], lambda route: str(route["network"])),
    "vmdata": _take_metadata,
    "vmpassword": _take_texts,
    "vpnuserlist": keyed(services.VPN_USER, lambda user: bool(user["add"]), lambda user: str(user["user"])),
}
