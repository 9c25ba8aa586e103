# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the drops about VPN: remote access, its users, and site to site."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Field,
    Kind,
    MismatchError,
    list_of,
    may,
    need,
    record,
    shaped,
)


def loose_list(kind: Kind) -> Kind:
    """Make the kind of a comma list as users of the API write it: blanks and empty places say nothing."""
    strict = k.comma_list(kind)

    @shaped(lambda: {"type": "string", "pattern": "^[ ,]*[^ ,]", "description": "joined by commas; blanks are skipped"})
    def check(value: Any) -> str:
        words = value.split(",") if isinstance(value, str) else ()
        found = ",".join(word.strip() for word in words if word.strip())
        return str(strict(found or value))

    return check


# strongSwan's proposal keywords, joined by hyphens; CloudStack puts the group behind a semicolon.
POLICY = loose_list(k.matching(r"[a-z0-9]+(-[a-z0-9]+)*(;[a-z0-9]+)?", "a policy such as aes128-sha1;modp1536"))
# A lifetime of nothing would be one without end to the daemon.
_LIFETIME = k.integer(1, 2**31 - 1)
LIFETIMES = {"ike_lifetime": may(_LIFETIME), "esp_lifetime": may(_LIFETIME)}
_STORED_LIFETIME = k.integer(0, 2**31 - 1)
# A user stands as a word of its own in chap-secrets: no blank, no quote, no comment sign.
USER = k.matching(r"[A-Za-z0-9@._+-]{1,128}", "a user name of letters, digits and @._+-")

VPN_USER = record(
    {
        "user": need(USER),
        "password": Field(k.text, secret=True),
        "add": need(k.boolean),
    }
)


VPN_USERS = record({"vpn_users": need(list_of(VPN_USER))})


@shaped(lambda: {"type": "string", "pattern": "^[0-9.]+-[0-9.]+$", "description": "first-last, in order"})
def address_range(value: Any) -> str:
    """Accept ``first-last`` of IPv4 addresses, in order."""
    first, _dash, last = value.partition("-") if isinstance(value, str) else ("", "", "")
    try:
        if ipaddress.IPv4Address(k.ipv4(first)) <= ipaddress.IPv4Address(k.ipv4(last)):
            return str(value)
    except MismatchError:
        # Which of the two is wrong matters less than the form that was expected.
        raise MismatchError("a range such as 10.1.2.2-10.1.2.8", value) from None
    raise MismatchError("a range such as 10.1.2.2-10.1.2.8", value)


def whole_when_created(*names: str) -> Any:
    """Make the rule that these fields may only be missing when the thing is taken away."""

    def check(body: dict[str, Any]) -> None:
        for name in names:
            if body["create"] and name not in body:
                raise k.missing(name, "a value, as create is true")

    return check


REMOTE_ACCESS = record(
    {
        "create": need(k.boolean),
        "vpn_server_ip": need(k.ipv4),
        "ip_range": may(address_range),
        "local_cidr": may(k.cidr4),
        "local_ip": may(k.ipv4),
        "preshared_key": Field(k.some_text, optional=True, secret=True),
        "public_interface": may(k.device),
    },
    whole_when_created("ip_range", "local_ip", "preshared_key"),
)

_CONNECTION = {
    "create": need(k.boolean),
    "peer_gateway_ip": need(k.host),
    "local_public_ip": may(k.ipv4),
    "local_guest_cidr": may(loose_list(k.cidr)),
    "local_public_gateway": may(k.ipv4),
    "peer_guest_cidr_list": may(loose_list(k.cidr)),
    "esp_policy": may(POLICY),
    "ike_policy": may(POLICY),
    "ipsec_psk": Field(k.some_text, optional=True, secret=True),
    "ike_version": may(k.word_of("ike", "ikev1", "ikev2")),
    **LIFETIMES,
    "dpd": may(k.boolean),
    "passive": may(k.boolean),
    "encap": may(k.boolean),
    "split_connections": may(k.boolean),
}
_whole_connection = whole_when_created(
    "local_public_ip",
    "local_guest_cidr",
    "peer_guest_cidr_list",
    "esp_policy",
    "ike_policy",
    "ipsec_psk",
)

SITE_TO_SITE = record(_CONNECTION, _whole_connection)
STORED_SITE_TO_SITE = record({**_CONNECTION, **dict.fromkeys(LIFETIMES, may(_STORED_LIFETIME))}, _whole_connection)
