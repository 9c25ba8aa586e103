# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drop about BGP peers."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    list_of,
    map_of,
    may,
    need,
    record,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import DATABASE_ID

AS_NUMBER = k.number(1, 2**32 - 1)

PEER = record(
    {
        "peer_id": may(DATABASE_ID),
        "network_id": need(DATABASE_ID),
        "peer_as_number": need(AS_NUMBER),
        "network_as_number": need(AS_NUMBER),
        "ip4_address": may(k.ipv4),
        "ip6_address": may(k.ipv6),
        "guest_ip4_cidr": may(k.cidr4),
        "guest_ip6_cidr": may(k.cidr6),
        "peer_password": Field(k.text, optional=True, secret=True),
        "details": may(map_of(k.text, k.text)),
    }
)


BGP_PEERS = record({"peers": need(list_of(PEER))})
