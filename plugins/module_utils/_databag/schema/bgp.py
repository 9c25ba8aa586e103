# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drop about BGP peers."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    MismatchError,
    list_of,
    map_of,
    may,
    need,
    record,
    shape_of,
    shaped,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import DATABASE_ID

AS_NUMBER = k.number(1, 2**32 - 1)


def _whole(value: str) -> str:
    """Accept a network without host bits: it is told to others as it stands."""
    network = ipaddress.ip_network(value, strict=False)
    if str(network.network_address) != str(ipaddress.ip_address(value.partition("/")[0])):
        raise MismatchError(f"a network without host bits such as {network}", value)
    return value


@shaped(lambda: shape_of(k.cidr4))
def announced(value: Any) -> str:
    """Accept an IPv4 network that is told to peers."""
    return _whole(k.cidr4(value))


@shaped(lambda: shape_of(k.prefix6))
def announced6(value: Any) -> str:
    """Accept an IPv6 network that is told to peers."""
    return _whole(k.prefix6(value))


def hops_are_few(peer: dict[str, Any]) -> None:
    """Want 1 to 255 hops where a number of them is given."""
    hops = peer.get("details", {}).get("EBGP_MultiHop")
    if hops is not None and not (hops.isascii() and hops.isdigit() and len(hops) <= 3 and 1 <= int(hops) <= 255):
        raise MismatchError("a number of hops from 1 to 255", hops, "details.EBGP_MultiHop")


ANNOUNCED = {"ip6_address": may(k.host6), "guest_ip4_cidr": may(announced), "guest_ip6_cidr": may(announced6)}
_PEER = {
    "peer_id": may(DATABASE_ID),
    "network_id": need(DATABASE_ID),
    "peer_as_number": need(AS_NUMBER),
    "network_as_number": need(AS_NUMBER),
    "ip4_address": may(k.ipv4),
    **ANNOUNCED,
    "peer_password": Field(k.text, optional=True, secret=True),
    "details": may(map_of(k.text, k.text)),
}

PEER = record(_PEER, hops_are_few)
STORED_PEER = record(
    {**_PEER, "ip6_address": may(k.ipv6), "guest_ip4_cidr": may(k.cidr4), "guest_ip6_cidr": may(k.cidr6)}
)


def one_own_as(body: dict[str, Any]) -> None:
    """Want one AS number for the router: it has one instance of BGP."""
    own = [peer["network_as_number"] for peer in body["peers"]]
    for index, number in enumerate(own):
        if int(number) != int(own[0]):
            raise MismatchError(f"the AS number {own[0]}, as of all peers", number, f"peers[{index}].network_as_number")


BGP_PEERS = record({"peers": need(list_of(PEER))}, one_own_as)
