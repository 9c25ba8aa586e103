# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the source CIDRs of port forwards: which rules want packets of the same clients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import IPv4Network


@lru_cache(4096)
def networks(text: str) -> frozenset[IPv4Network]:
    """Return the networks of a comma list, none where every source is meant."""
    found = frozenset(IPv4Network(cidr, strict=False) for cidr in text.split(",") if cidr)
    return frozenset() if any(network.prefixlen == 0 for network in found) else found


def contend(lists: Sequence[Collection[IPv4Network]]) -> bool:
    """Tell whether a source is in two of the lists; the empty ones, every source, contend among themselves only.

    One sweep over all of them: a thousand customers may each have a forward of the same port.
    """
    if sum(not found for found in lists) > 1:
        return True
    spans = sorted((int(n[0]), int(n[-1]), owner) for owner, found in enumerate(lists) for n in found)
    end, holder = -1, -1
    for first, last, owner in spans:
        if first <= end and owner != holder:
            return True
        if last > end:
            end, holder = last, owner
    return False
