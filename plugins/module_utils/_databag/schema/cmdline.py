# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe the boot arguments (boot_arguments.md), which arrive as texts."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    NO_VALUE,
    Field,
    Kind,
    MismatchError,
    Shape,
    may,
    record,
    shape_of,
    shaped,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import (
    DATABASE_ID,
    DEVICE_ID,
    MTU,
    PREFIX4,
    PREFIX6,
)

ROUTER_TYPES = ("router", "vpcrouter", "dhcpsrvr", "ilbvm")

_NAME = k.matching(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", "a name of letters, digits and _.-")


# systemd.time(7), OnCalendar=: this text stands in a timer unit.
_CALENDAR = k.matching(r"[A-Za-z0-9*:,./~-][A-Za-z0-9*:,./~ -]{0,127}", "a calendar expression such as *:00:00")


_BASE64 = k.matching(r"[A-Za-z0-9+/]+={0,2}", "base64")


@shaped(lambda: shape_of(_BASE64))
def _public_keys(value: Any) -> str:
    """Accept base64 of lines for authorized_keys(5); its padding may be missing: boot scripts of old cut it off."""
    encoded = str(_BASE64(value)).rstrip("=")
    try:
        k.lines(base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    except (binascii.Error, UnicodeDecodeError, MismatchError):
        raise MismatchError("base64 of public keys, one a line", value) from None
    return str(value)


@shaped(lambda: {"type": "string", "description": "MAC addresses joined by bars"})
def _mac_list(value: Any) -> str:
    # VMware and Hyper-V join the MACs with a bar; a trailing bar is theirs.
    for address in str(value).rstrip("|").split("|"):
        k.mac(address)
    return str(value)


# The VRRP interval: keepalived takes fractions.
_SECONDS = k.matching(r"[0-9]{1,3}(\.[0-9]{1,3})?", "seconds such as 1 or 0.1")

ARGUMENTS6: dict[str, Kind] = {
    "ip6gateway": k.next_hop6,
    "guestgw6": k.host6,
    "guestcidr6size": PREFIX6,
    "ip6dns1": k.host6,
    "ip6dns2": k.host6,
}
"""The arguments about IPv6."""
_KNOWN: dict[str, Kind] = {
    "name": k.host_name,
    "type": k.one_of(*ROUTER_TYPES),
    "authorized_key": _public_keys,
    "gateway": k.ipv4,
    "publicMtu": MTU,
    "privateMtu": MTU,
    "advert_int": _SECONDS,
    "router_id": DATABASE_ID,
    "guestgw": k.ipv4,
    "guestbrd": k.ipv4,
    "guestcidrsize": PREFIX4,
    "domain": k.domain,
    "cidrsize": PREFIX4,
    "dhcprange": k.ipv4,
    "vpccidr": k.comma_list(k.cidr4),
    "source_nat_ip": k.ipv4,
    "dns1": k.ip,
    "dns2": k.ip,
    "internaldns1": k.ip,
    "internaldns2": k.ip,
    "dnssearchorder": k.comma_list(k.domain),
    "mgmtcidr": k.comma_list(k.cidr4),
    "localgw": k.ipv4,
    "extra_pubnics": DEVICE_ID,
    "nic_macs": _mac_list,
    "logrotatefrequency": _CALENDAR,
    "ntpserverlist": k.comma_list(k.host),
}
for _number in range(3):
    _KNOWN[f"eth{_number}ip"] = k.ipv4
    _KNOWN[f"eth{_number}mask"] = k.netmask
    ARGUMENTS6[f"eth{_number}ip6"] = k.host6
    ARGUMENTS6[f"eth{_number}ip6prelen"] = PREFIX6
_KNOWN |= ARGUMENTS6
_STORED = {**_KNOWN, **{name: k.ipv6 for name, kind in ARGUMENTS6.items() if kind is not PREFIX6}}

# These may be shown in a message; anything else may be a password or an API key.
_SHOWN = frozenset(_KNOWN) - {"authorized_key"}


def _shape_of_arguments() -> Shape:
    nothing = {"enum": sorted(NO_VALUE)}
    return {
        "type": "object",
        "propertyNames": shape_of(_NAME),
        "properties": {name: {"anyOf": [shape_of(kind), nothing]} for name, kind in _KNOWN.items()},
        "additionalProperties": shape_of(k.text),
        "required": ["type"],
    }


@shaped(_shape_of_arguments)
def arguments(value: Any) -> dict[str, Any]:
    """Accept the arguments: all texts, those we know in their form, "no value" in any of them."""
    return _arguments(value, _KNOWN)


def stored_arguments(value: Any) -> dict[str, Any]:
    """Accept the arguments in a databag."""
    return _arguments(value, _STORED)


def _arguments(value: Any, known: dict[str, Kind]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MismatchError("an object", value)
    for name, argument in value.items():
        try:
            _NAME(name)
            k.text(argument)
            if argument not in NO_VALUE and name in known:
                known[name](argument)
        except MismatchError as error:
            error.secret = name not in _SHOWN
            raise error.under(ascii(name)[1:-1]) from None
    _typed(value)
    _masked(value)
    return value


def _typed(given: dict[str, str]) -> None:
    """Want the kind of router: everything depends on it."""
    if given.get("type", "") in NO_VALUE:
        raise k.missing("type", "one of " + ", ".join(ROUTER_TYPES))


def _masked(given: dict[str, str]) -> None:
    """Want the netmask of every IPv4 address."""
    for number in range(3):
        address, mask = given.get(f"eth{number}ip", ""), given.get(f"eth{number}mask", "")
        if address not in NO_VALUE and mask in NO_VALUE:
            raise k.missing(f"eth{number}mask", "a netmask, as the address is given")


# Which writing of the hypervisor's agent it was: start.py.
CMDLINE = record({"cmd_line": Field(arguments), "written": may(k.text)})
