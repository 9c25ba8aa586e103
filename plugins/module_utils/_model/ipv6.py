# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a NIC has of IPv6."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

LINK_LOCAL = IPv6Interface("fe80::1/64")
"""The source of advertisements on every guest NIC: it moves with the gateway, so VMs keep their default router across
a failover and the replacement of a router. Of two routers of a pair the primary has it."""


@dataclass(frozen=True, slots=True)
class Ipv6:
    """The IPv6 side of a NIC: `own` is on this router always, `shared` on the primary of a pair only.

    `is_gateway` says that VMs are sent here, by advertisements; `resolvers` are what these name. `next_hop` is the
    default gateway, of a public NIC or of a router that does not route. None is translated, or has an own table.
    """

    network: IPv6Network
    own: IPv6Interface | None = None
    shared: IPv6Interface | None = None
    is_gateway: bool = False
    resolvers: tuple[str, ...] = ()
    next_hop: IPv6Address | None = None

    @property
    def moving(self) -> tuple[IPv6Interface, ...]:
        """Return the addresses that only one router of a pair has."""
        gateway = () if self.shared is None else (self.shared,)
        return (*gateway, LINK_LOCAL) if self.is_gateway else gateway

    @property
    def addresses(self) -> tuple[IPv6Interface, ...]:
        """Return all addresses: those of a router that is the only one, or the primary."""
        return (*(() if self.own is None else (self.own,)), *self.moving)
