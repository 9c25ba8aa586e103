# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read links, addresses, routes and rules from the kernel, and announce addresses."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.nics import NAME
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.ipv6 import LINK_LOCAL
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import TABLE_BASE
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import neighbours
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.interfaces import (
    DEFAULT6,
    MAIN,
    MARK_PRIORITY,
    SOURCE_PRIORITY,
    Link,
    Network,
    PolicyRule,
    Route,
)

_OWN_TABLES = range(TABLE_BASE, 2 * TABLE_BASE)
_OWN_PROTOCOLS = ("3", "4")
"""Those of a route that is added by hand, and of ours: `boot` and `static` of rtnetlink(7)."""
_BROADCAST = b"\xff" * 6
_SCOPE_LINK = "253"
_METRIC6 = 1024

_ROUTES = tuple(f"route show table all proto {protocol}" for protocol in _OWN_PROTOCOLS)
_LISTS = ("link show", "address show", *_ROUTES, "rule show")
READ = (("ip", "-json", "-N", "-batch", "-"), "".join(f"{line}\n" for line in _LISTS))
"""All that is compared, of both families but for the rules, read by one process; with -N words of rtnetlink(7) are
numbers, whatever /etc/iproute2 says. The kernel leaves out what daemons have learned: it may be all of the internet."""


def observe(run: Runner) -> Network:
    """Return the state of the kernel, as far as it is ours: other tables, and routes of daemons, are left out."""
    links, addressed, by_hand, ours, rules = _documents(run(*READ))
    routes = (*(_route(data, True) for data in by_hand), *(_route(data, False) for data in ours))
    links = [link for link in links if NAME.fullmatch(link.get("ifname", ""))]
    addresses = {link["ifname"]: _addresses(link) for link in addressed}
    addresses6 = {link["ifname"]: _addresses6(link) for link in addressed}
    return Network(
        links={link["ifname"]: Link("UP" in link["flags"], link["mtu"]) for link in links},
        addresses={link["ifname"]: addresses.get(link["ifname"], ()) for link in links},
        addresses6={link["ifname"]: addresses6.get(link["ifname"], frozenset()) for link in links},
        routes=frozenset(route for route in routes if route is not None),
        rules=frozenset(rule for rule in map(_rule, rules) if rule is not None),
    )


def _documents(text: str) -> list[list[dict[str, Any]]]:
    """Return the lists that one run of `ip -batch` printed one after the other."""
    found, decoder = [], json.JSONDecoder()
    for _list in _LISTS:
        document, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        found.append(document)
    return found


def _addresses(link: Mapping[str, Any]) -> tuple[IPv4Interface, ...]:
    known = [info for info in link["addr_info"] if info["family"] == "inet" and info.get("scope") != _SCOPE_LINK]
    return tuple(IPv4Interface(f"{info['local']}/{info['prefixlen']}") for info in known)


def _addresses6(link: Mapping[str, Any]) -> frozenset[IPv6Interface]:
    """Return the IPv6 addresses but the one that the kernel makes for the link by itself."""
    known = (info for info in link["addr_info"] if info["family"] == "inet6")
    found = (IPv6Interface(f"{info['local']}/{info['prefixlen']}") for info in known)
    return frozenset(one for one in found if one == LINK_LOCAL or not one.is_link_local)


def _route(data: Mapping[str, Any], by_hand: bool) -> Route | None:
    table = int(data.get("table", MAIN))
    device = data.get("dev", "")
    if table != MAIN and table not in _OWN_TABLES:
        return None
    if device and not NAME.fullmatch(device):
        return None
    # Only IPv6 has preferences (RFC 4191), and its routes have this metric where none is given.
    six = "pref" in data
    network = data["dst"] if data["dst"] == "default" or "/" in data["dst"] else f"{data['dst']}/{128 if six else 32}"
    gateway, metric = data.get("gateway", ""), int(data.get("metric", 0))
    if six:
        network, metric = network.replace("default", DEFAULT6), 0 if metric == _METRIC6 else metric
    return Route(table, network, _kind(data), gateway, device, metric, by_hand=by_hand)


def _kind(data: Mapping[str, Any]) -> str:
    """Return the type of a route; with -N it is a number of rtnetlink(7), and absent for unicast."""
    kind = str(data.get("type", "unicast"))
    return {"1": "unicast", "9": "throw"}.get(kind, kind)


def _rule(data: Mapping[str, Any]) -> PolicyRule | None:
    """Return a rule that looks up one of our tables, whoever made it; those of daemons have tables of their own."""
    priority, table = int(data["priority"]), int(data.get("table", 0))
    if priority == MARK_PRIORITY + table and "fwmark" in data:
        return PolicyRule(table, mark=int(str(data["fwmark"]), 0))
    if priority == SOURCE_PRIORITY + table and data.get("src") != "all":
        return PolicyRule(table, source=f"{data['src']}/{data.get('srclen', 32)}")
    return PolicyRule(table, foreign=priority) if table in _OWN_TABLES else None


def announce(addresses: Iterable[tuple[str, str, str]], macs: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Send for each (device, address, gateway) one gratuitous ARP, and one ARP request to the gateway if there is one.

    Of an IPv6 address it is an unsolicited neighbour advertisement (RFC 4861, section 7.2.6).

    See RFC 5227, section 3, and D9. Nothing waits for an answer: an absent gateway costs nothing (A4). One socket is
    used for all, because the kernel takes 15 ms to close one of this family.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        for device, ip, gateway in addresses:
            if ":" in ip:
                wire.sendto(neighbours.advertisement(macs[device], IPv6Address(ip)), (device, 0x86DD))
                log(f"announced {ip} on {device}")
                continue
            for target in dict.fromkeys((ip, gateway or ip)):
                wire.sendto(_arp_request(macs[device], ip, target), (device, 0x0806))
            log(f"announced {ip} on {device}" + (f" towards {gateway}" if gateway else ""))


def _arp_request(mac: str, sender: str, target: str) -> bytes:
    """Return an Ethernet frame with an ARP request (RFC 826), sent to all."""
    source = bytes.fromhex(mac.replace(":", ""))
    ethernet = _BROADCAST + source + struct.pack("!H", 0x0806)
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet + header + source + IPv4Address(sender).packed + b"\0" * 6 + IPv4Address(target).packed
