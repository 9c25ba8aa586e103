# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read single values of a play's variables; every complaint names the variable and what was got."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface, ip_address, ip_interface

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._kvm.model import HostError, Interface

LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
"""A name of a link: the kernel takes 15 bytes, and these characters need no quoting in any file."""
DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9-]{0,62})*\.?")
MASK = re.compile(r"0[xX][0-9a-fA-F]{1,64}")
PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def complain(path: str, wanted: str, got: object) -> HostError:
    """Return the error: variable, what is expected, what was got."""
    shown = repr(got)
    return HostError(f"{path}: expected {wanted}, got {shown if len(shown) <= 80 else shown[:77] + '...'}")


def mapping(value: object, path: str, known: Sequence[str] = ()) -> dict[str, object]:
    """Read a mapping; with `known` it has no other keys."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise complain(path, "a mapping", value)
    found = {str(key): item for key, item in value.items()}
    for key in found:
        if known and key not in known:
            raise HostError(f"{path}.{key}: no such setting; there are {', '.join(known)}")
    return found


def items(value: object, path: str) -> list[object]:
    """Read a list; what is absent is empty."""
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise complain(path, "a list", value)
    return list(value)


def link(value: object, path: str) -> str:
    """Read the name of a NIC, bond or bridge."""
    if not isinstance(value, str) or not LINK.fullmatch(value):
        raise complain(path, "the name of a link, at most 15 of A-Z a-z 0-9 _ . -", value)
    return str(value)


def number(value: object, path: str, low: int, high: int) -> int:
    """Read an integer of a range; digits in a string will do, as -e gives them."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise complain(path, f"a number from {low} to {high}", value)
    return int(text)


def flag(value: object, path: str) -> bool:
    """Read true or false; no word stands for them, as "no" could be meant either way."""
    if not isinstance(value, bool):
        raise complain(path, "true or false", value)
    return bool(value)


def choice(value: object, path: str, choices: Sequence[str]) -> str:
    """Read one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise complain(path, f"one of {', '.join(choices)}", value)
    return str(value)


def match(value: object, path: str, pattern: re.Pattern[str], wanted: str) -> str:
    """Read a string of a pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise complain(path, wanted, value)
    return str(value)


def address(value: object, path: str) -> str:
    """Read an address without a prefix, as it is usually written."""
    try:
        return str(ip_address(str(value)))
    except ValueError:
        raise complain(path, "an IP address", value) from None


def interface(value: object, path: str) -> Interface:
    """Read the host's own address with the length of its network: neither the network itself nor its broadcast."""
    wanted = "an address with the length of its network, such as 192.168.100.20/24"
    length = str(value).partition("/")[2]
    try:
        found = ip_interface(str(value))
    except ValueError:
        raise complain(path, wanted, value) from None
    if not length.isdecimal() or not length.isascii():
        raise complain(path, wanted, value)
    ends = (found.network.network_address, found.network.broadcast_address)
    if isinstance(found, IPv4Interface) and found.network.prefixlen < 31 and found.ip in ends:
        raise complain(path, f"an address of a host in {found.network}", value)
    return found
