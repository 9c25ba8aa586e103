# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check single values: numbers, addresses, names and texts.

What passes here is later written into nft, dnsmasq, haproxy, keepalived and systemd files (N3). So names and
addresses are matched against what they may hold, never against what they may not; no text holds a control
character.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any, TypeGuard

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    ABSENT,
    Kind,
    MismatchError,
    Shape,
    shape_of,
    shaped,
)

_CACHE = 8192

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(_LABEL)
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_DEVICE = re.compile(r"eth(?:0|[1-9][0-9]{0,3})")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_PORTS = re.compile(r"(0|[1-9][0-9]{0,4}):(0|[1-9][0-9]{0,4})")
# Category Cc, the line and paragraph separators, and lone surrogates, which no file can hold.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NETMASKS = {str(ipaddress.ip_network((0, length)).netmask): length for length in range(33)}


def _text_like(pattern: str, **more: Any) -> Shape:
    """Return the JSON Schema of a text that matches as a whole."""
    return {"type": "string", "pattern": f"^(?:{pattern})$", **more}


def _but(pattern: str) -> Shape:
    """Return the JSON Schema of a text without the characters that a pattern forbids."""
    return {"type": "string", "pattern": f"^{pattern.replace('[', '[^', 1)}*$"}


def _string(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise MismatchError(expected, value)
    return value


def is_integer(value: Any) -> TypeGuard[int]:
    """Tell a JSON integer from everything else; Python counts true and false among its integers."""
    return isinstance(value, int) and not isinstance(value, bool)


@shaped(lambda: {"type": "boolean"})
def boolean(value: Any) -> bool:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise MismatchError("true or false", value)
    return value


def integer(low: int, high: int) -> Kind:
    """Make the kind of a JSON integer within bounds."""
    expected = f"an integer from {low} to {high}"

    @shaped(lambda: {"type": "integer", "minimum": low, "maximum": high})
    def check(value: Any) -> int:
        if not is_integer(value) or not low <= value <= high:
            raise MismatchError(expected, value)
        return value

    return check


def number(low: int, high: int) -> Kind:
    """Make the kind of an integer, or of its decimal digits in a text; kept as it came."""
    expected = f"an integer from {low} to {high}"

    @shaped(lambda: {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _text_like(_NUMBER.pattern)]})
    def check(value: Any) -> Any:
        if is_integer(value):
            found = value
        elif isinstance(value, str) and _NUMBER.fullmatch(value):
            found = int(value)
        else:
            raise MismatchError(expected, value)
        if not low <= found <= high:
            raise MismatchError(expected, value)
        return value

    return check


def one_of(*words: str) -> Kind:
    """Make the kind of a fixed set of words."""
    expected = "one of " + ", ".join(words)
    allowed = frozenset(words)

    @shaped(lambda: {"enum": list(words)})
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise MismatchError(expected, value)
        return value

    return check


def _any_case(word: str) -> str:
    """Return a pattern of a word of ASCII letters in any case: ECMA-262 has no flag for it within a pattern."""
    return "".join(f"[{char.lower()}{char.upper()}]" for char in word)


def word_of(*words: str) -> Kind:
    """Make the kind of a fixed set of words in any case; the lower-case word is kept."""
    expected = "one of " + ", ".join(words)
    allowed = frozenset(words)

    @shaped(lambda: _text_like("|".join(_any_case(word) for word in words)))
    def check(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise MismatchError(expected, value)
        return value if value in allowed else value.lower()

    return check


@shaped(lambda: _text_like(_IPV4.pattern))
def ipv4(value: Any) -> str:
    """Accept a dotted IPv4 address."""
    if not isinstance(value, str) or not _IPV4.fullmatch(value):
        raise MismatchError("an IPv4 address", value)
    return value


@lru_cache(_CACHE)
def _is_ipv6(value: str) -> bool:
    # A scope (`fe80::1%eth0`) is free text to the parser, and nothing CloudStack sends.
    if "%" in value:
        return False
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


@shaped(lambda: {"type": "string", "format": "ipv6", "pattern": "^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$"})
def ipv6(value: Any) -> str:
    """Accept an IPv6 address without a scope."""
    if not isinstance(value, str) or not _is_ipv6(value):
        raise MismatchError("an IPv6 address", value)
    return value


@lru_cache(_CACHE)
def _is_host6(value: str) -> bool:
    if not _is_ipv6(value):
        return False
    ip6 = ipaddress.IPv6Address(value)
    return not (ip6.is_unspecified or ip6.is_loopback or ip6.is_multicast or ip6.ipv4_mapped or ip6.is_link_local)


@shaped(lambda: shape_of(ipv6))
def host6(value: Any) -> str:
    """Accept an IPv6 address that a host can have beyond its link."""
    if not isinstance(value, str) or not _is_host6(value):
        raise MismatchError("the IPv6 address of a host", value)
    return value


@shaped(lambda: shape_of(ipv6))
def next_hop6(value: Any) -> str:
    """Accept an IPv6 address that a router can have, of its link as well."""
    if isinstance(value, str) and _is_ipv6(value) and ipaddress.IPv6Address(value).is_link_local:
        return value
    return host6(value)


@shaped(lambda: {"anyOf": [shape_of(ipv4), shape_of(ipv6)]})
def ip(value: Any) -> str:
    """Accept an IPv4 or IPv6 address."""
    if not isinstance(value, str) or not (_IPV4.fullmatch(value) or _is_ipv6(value)):
        raise MismatchError("an IP address", value)
    return value


@lru_cache(_CACHE)
def cidr_family(value: str) -> int:
    """Return 4 or 6 for ``address/length``, 0 for anything else (`0.0.0.0/02`, netmasks, bare addresses)."""
    address, slash, length = value.partition("/")
    if not slash or not _NUMBER.fullmatch(length):
        return 0
    if _IPV4.fullmatch(address):
        return 4 if int(length) <= 32 else 0
    return 6 if _is_ipv6(address) and int(length) <= 128 else 0


@shaped(lambda: _text_like(rf"{_IPV4.pattern}/(?:3[0-2]|[12]?[0-9])"))
def cidr4(value: Any) -> str:
    """Accept ``a.b.c.d/length``; host bits may be set, as users may type them in."""
    if not isinstance(value, str) or cidr_family(value) != 4:
        raise MismatchError("an IPv4 CIDR such as 10.1.0.0/16", value)
    return value


@shaped(lambda: _text_like(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"))
def cidr6(value: Any) -> str:
    """Accept an IPv6 CIDR; host bits may be set."""
    if not isinstance(value, str) or cidr_family(value) != 6:
        raise MismatchError("an IPv6 CIDR such as 2001:db8::/64", value)
    return value


@shaped(lambda: shape_of(cidr6))
def prefix6(value: Any) -> str:
    """Accept the prefix of a network of hosts: no part of what has a meaning of its own, and no whole registry's."""
    network = ipaddress.IPv6Network(cidr6(value), strict=False)
    if network.prefixlen < 16 or not _is_host6(str(network.broadcast_address)):
        raise MismatchError("the prefix of an IPv6 network such as 2001:db8::/64", value)
    return str(value)


@shaped(lambda: {"anyOf": [shape_of(cidr4), shape_of(cidr6)]})
def cidr(value: Any) -> str:
    """Accept a CIDR of either family."""
    if not isinstance(value, str) or cidr_family(value) == 0:
        raise MismatchError("a CIDR such as 10.1.0.0/16", value)
    return value


def comma_list(kind: Kind) -> Kind:
    """Make the kind of a text with elements of one kind, joined by commas without blanks."""

    @shaped(lambda: {"type": "string", "pattern": "^[^,]+(?:,[^,]+)*$", "description": "joined by commas"})
    def check(value: Any) -> str:
        text = _string(value, "a comma separated list")
        for element in text.split(","):
            try:
                kind(element)
            except MismatchError as error:
                raise MismatchError(f"a comma separated list, each {error.expected}", value) from None
        return text

    return check


@shaped(lambda: {"enum": list(_NETMASKS)})
def netmask(value: Any) -> str:
    """Accept a dotted netmask whose ones are contiguous."""
    if not isinstance(value, str) or value not in _NETMASKS:
        raise MismatchError("a netmask such as 255.255.255.0", value)
    return value


def prefix_length(mask: str) -> int:
    """Return the prefix length of a netmask that was checked."""
    return _NETMASKS[mask]


@shaped(lambda: _text_like(_MAC.pattern))
def mac(value: Any) -> str:
    """Accept a MAC address; the lower-case form is kept, since Linux shows it so."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise MismatchError("a MAC address", value)
    lower = value.lower()
    return value if lower == value else lower


@shaped(lambda: _text_like(_DEVICE.pattern))
def device(value: Any) -> str:
    """Accept the name of a NIC; numbers above 9 are normal (behaviour, section 1)."""
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise MismatchError("a device such as eth2", value)
    return value


@shaped(lambda: _text_like(_HOST_NAME.pattern))
def host_name(value: Any) -> str:
    """Accept one label of RFC 1123: letters, digits and inner hyphens, at most 63."""
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise MismatchError("a host name of letters, digits and hyphens", value)
    return value


@shaped(lambda: _text_like(_DOMAIN.pattern, maxLength=253))
def domain(value: Any) -> str:
    """Accept a DNS domain of RFC 1123 labels, at most 253 characters."""
    if not isinstance(value, str) or not _DOMAIN.fullmatch(value) or len(value) > 253:
        raise MismatchError("a domain name", value)
    return value


@shaped(lambda: {"anyOf": [shape_of(ipv6), shape_of(domain)]})
def host(value: Any) -> str:
    """Accept an address or a domain name."""
    if isinstance(value, str) and (_is_ipv6(value) or (_DOMAIN.fullmatch(value) and len(value) <= 253)):
        return value
    raise MismatchError("an IP address or a domain name", value)


@shaped(lambda: _but(_UNSAFE.pattern))
def text(value: Any) -> str:
    """Accept one line of any printable characters."""
    found = _string(value, "a text")
    if _UNSAFE.search(found):
        raise MismatchError("a text without control characters", value)
    return found


@shaped(lambda: {**shape_of(text), "minLength": 1})
def some_text(value: Any) -> str:
    """Accept one line that is not empty."""
    found = text(value)
    if not found:
        raise MismatchError("a text that is not empty", value)
    return found


@shaped(lambda: _but(_UNSAFE_IN_LINES.pattern))
def lines(value: Any) -> str:
    """Accept text of several lines; tabs and line ends are its only control characters."""
    found = _string(value, "a text")
    if _UNSAFE_IN_LINES.search(found):
        raise MismatchError("a text without control characters", value)
    return found


@shaped(lambda: {"type": ["string", "null"]})
def content(value: Any) -> str | None:
    """Accept what becomes a file of its own: any text, or null."""
    if value is None:
        return None
    found = _string(value, "a text or null")
    if not found.isascii() and _SURROGATE.search(found):
        raise MismatchError("a text that UTF-8 can hold", value)
    return found


def matching(pattern: str, expected: str) -> Kind:
    """Make the kind of a text that matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    @shaped(lambda: _text_like(pattern, description=expected))
    def check(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise MismatchError(expected, value)
        return value

    return check


@shaped(lambda: _text_like(_PORTS.pattern, description="first:last, in order"))
def port_text(value: Any) -> str:
    """Accept ``first:last``, both 0 to 65535, in order."""
    found = _PORTS.fullmatch(value) if isinstance(value, str) else None
    if not found or not int(found[1]) <= int(found[2]) <= 65535:
        raise MismatchError("a port range such as 80:80", value)
    return found.string


@shaped(lambda: {"type": "array", "items": shape_of(integer(0, 65535)), "minItems": 2, "maxItems": 2})
def port_pair(value: Any) -> list[int]:
    """Accept ``[first, last]``, both 0 to 65535, in order; the path names the number that is wrong."""
    if not isinstance(value, list) or len(value) != 2:
        raise MismatchError("a list of two ports", value)
    for index, port in enumerate(value):
        if not is_integer(port) or not 0 <= port <= 65535:
            raise MismatchError("a port from 0 to 65535", port, f"[{index}]")
    if value[0] > value[1]:
        raise MismatchError(f"a port not below {value[0]}", value[1], "[1]")
    return value


@shaped(lambda: _text_like(r"(?!\.)(?:(?!\.\.)[^/\\\x00-\x1f])+", maxLength=255))
def safe_name(value: Any) -> str:
    """Accept the name of a file: no separator, no ``..``, no leading dot, no control character, 255 bytes."""
    found = _string(value, "a file name")
    if "/" in found or "\\" in found or ".." in found or found.startswith(".") or _UNSAFE.search(found):
        raise MismatchError("a file name without separators, `..` or a leading dot", value)
    if len(found.encode()) > 255:
        raise MismatchError("a file name of at most 255 bytes", value)
    return found


def missing(name: str, expected: str) -> MismatchError:
    """Make the mismatch of a field that must be there because of others."""
    return MismatchError(expected, ABSENT, name)
