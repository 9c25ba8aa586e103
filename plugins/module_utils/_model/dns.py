# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of the names and options asked for can be served, and a line for each part that cannot.

dnsmasq leaves out an option that is too long, with a line in its log; nobody else would hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    DhcpHost,
    HostName6,
)

RESERVED = frozenset({"wpad", "isatap", "localhost"})
"""Names that programs trust without being told to: who has one in a domain gets the traffic of all (CERT VU#598349)."""

MAX_OPTION = 255
"""The octets of a DHCP option (RFC 2132, section 2)."""

MAX_SERVERS = MAX_OPTION // 4
"""DNS servers in option 6, of four octets each."""

MAX_LINE = 900
"""Characters of a search list: dnsmasq reads lines of at most 1,024, and the option has more on its line."""


def search_list(domains: Sequence[str]) -> tuple[str, ...]:
    """Return the first of the domains, as many as option 119 holds (RFC 3397).

    dnsmasq sends the option once, so it cannot be split (RFC 3396).
    """
    encoded, found, length = bytearray(), list[str](), 0
    for domain in domains:
        _append(encoded, domain)
        length += len(domain) + 1
        if len(encoded) > MAX_OPTION or length > MAX_LINE:
            break
        found.append(domain)
    return tuple(found)


def _append(encoded: bytearray, domain: str) -> None:
    """Append a domain in the encoding of RFC 1035, with its tail compressed as dnsmasq 2.90 does it, and no better.

    It looks for the tail at the beginnings of labels, and takes the first octet of an earlier pointer for a length.
    """
    start = len(encoded)
    for label in domain.split("."):
        encoded += bytes((len(label),)) + label.encode()
    encoded += b"\0"
    at = start
    while encoded[at]:
        earlier = _find(encoded, start, _text(encoded, at))
        if earlier is not None:
            encoded[at:] = (0xC000 | earlier).to_bytes(2, "big")
            return
        at += encoded[at] + 1


def _find(encoded: bytearray, end: int, tail: bytes) -> int | None:
    at = 0
    while at < end:
        if _text(encoded, at) == tail:
            return at
        at += encoded[at] + 1
    return None


def _text(encoded: bytearray, at: int) -> bytes:
    end = encoded.find(0, at)
    return bytes(encoded[at : end if end >= 0 else len(encoded)])


def left_out(
    given: Sequence[str], sent: Sequence[str], devices: Iterable[Device], named: Iterable[DhcpHost | HostName6]
) -> Iterator[str]:
    """Yield a line for search domains, DNS servers and names of VMs that are not served."""
    if len(sent) < len(given):
        missing = ", ".join(given[len(sent) :])
        yield f"search list: option 119 holds {len(sent)} of {len(given)} domains, without {missing}"
    for device in devices:
        if len(device.dns) >= MAX_SERVERS:
            yield f"{device.name}: {len(device.dns)} DNS servers are given, VMs are told of {MAX_SERVERS}"
    for vm in named:
        if vm.name.lower() in RESERVED:
            yield f"VM {vm.ip}: the name {vm.name} is not in DNS, as clients trust whoever has it"
