# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turn the strings of databags into values; the texts that mean "nothing" become None (A5, F17)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

NO_VALUE = frozenset({"", "None", "null", "ERROR"})

# A converge builds two routers from nearly the same databags, in which the same texts stand again and again; the
# parsers of ipaddress were a third of the time of a model.
_CACHE = 16384


def text(value: Any) -> str | None:
    """Return the value as stripped text, None where it means nothing."""
    if value is None:
        return None
    stripped = str(value).strip()
    return None if stripped in NO_VALUE else stripped


def domain(value: Any) -> str | None:
    """Return a domain without the dot that ends an absolute one, None where the text means nothing."""
    found = text(value)
    return None if found is None else found.rstrip(".")


def flag(value: Any) -> bool:
    """Return True for true, "true", "1" and "yes" in any case."""
    return str(value).strip().lower() in ("true", "1", "yes")


def address(value: Any) -> IPv4Address | None:
    """Return an IPv4 address, None where the text means nothing or is no address (0.0.0.0 included, F17)."""
    found = text(value)
    return None if found is None else _address(found)


@lru_cache(_CACHE)
def _address(found: str) -> IPv4Address | None:
    try:
        parsed = IPv4Address(found)
    except ValueError:
        return None
    return None if parsed.is_unspecified else parsed


def interface(ip: Any, mask: Any) -> IPv4Interface | None:
    """Return address and prefix length from an address and a dotted or numeric mask, None without an address."""
    host, prefix = address(ip), text(mask)
    if host is None:
        return None
    return _interface(host, prefix or "32")


@lru_cache(_CACHE)
def _interface(host: IPv4Address, prefix: str) -> IPv4Interface:
    return IPv4Interface(f"{host}/{prefix}")


def network(value: Any) -> IPv4Network | None:
    """Return a network with its host bits cleared, None where the text means nothing or is an IPv6 network."""
    found = text(value)
    return None if found is None or ":" in found else _network(found)


@lru_cache(_CACHE)
def _network(found: str) -> IPv4Network:
    return IPv4Network(found, strict=False)


def address6(value: Any) -> IPv6Address | None:
    """Return an IPv6 address, None where the text means nothing or is no address (:: included)."""
    found = text(value)
    return None if found is None else _address6(found)


@lru_cache(_CACHE)
def _address6(found: str) -> IPv6Address | None:
    try:
        parsed = IPv6Address(found)
    except ValueError:
        return None
    return None if parsed.is_unspecified else parsed


def interface6(ip: Any, length: Any) -> IPv6Interface | None:
    """Return address and prefix length, None without an address."""
    host = address6(ip)
    return None if host is None else IPv6Interface(f"{host}/{length}")


def network6(value: Any) -> IPv6Network | None:
    """Return an IPv6 network with its host bits cleared, None where the text means nothing or is an IPv4 network."""
    found = text(value)
    return None if found is None or ":" not in found else _network6(found)


@lru_cache(_CACHE)
def _network6(found: str) -> IPv6Network:
    return IPv6Network(found, strict=False)


def words(value: Any) -> tuple[str, ...]:
    """Return the values of a comma list, each once, without those that mean nothing."""
    parts = (text(part) for part in str(value or "").split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def mtu(*candidates: Any) -> int:
    """Return the first candidate that is a number of bytes, else 1500 (L5)."""
    for candidate in candidates:
        found = text(candidate)
        if found is not None and found.isdigit():
            return int(found)
    return 1500


def cidrs(values: Iterable[str], version: int = 4) -> tuple[str, ...] | None:
    """Return the CIDRs of one IP version in canonical form: () when the list is empty or has 0.0.0.0/0 or ::/0.

    None when the list names networks of the other version only: the rule then says nothing about this one.
    """
    read, anything = (_network6, "::/0") if version == 6 else (_network, "0.0.0.0/0")
    given = [value for value in (text(item) for item in values) if value]
    found = [str(read(value)) for value in given if (":" in value) == (version == 6)]
    if given and not found:
        return None
    return () if anything in found else tuple(dict.fromkeys(found))
