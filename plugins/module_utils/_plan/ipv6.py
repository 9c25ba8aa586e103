# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Addresses, kernel settings and routes of IPv6; a NIC without IPv6 has it switched off and says nothing.

Addresses are added without duplicate address detection: the router that was there before may still have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Interface

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Role,
    Router,
)

Placed = list[tuple[str, IPv6Interface]]
_CONF = "/proc/sys/net/ipv6/conf"


def addresses(router: Router) -> dict[str, frozenset[IPv6Interface]]:
    """Return the addresses that a converge sets, by NIC: of a pair, VRRP moves what only one of both has."""
    found: dict[str, frozenset[IPv6Interface]] = {nic.name: frozenset() for nic in router.nics}
    for device in router.devices:
        if device.six is not None:
            moving = device.six.moving if router.settings.redundant else ()
            found[device.name] = frozenset(device.six.addresses) - frozenset(moving)
    return found


def default_routes(router: Router) -> list[tuple[str, str]]:
    """Return the way out, in the main table: the NIC that has a next hop, a public one where the router routes."""
    sides = ((device.name, device.six) for device in router.with_ipv6())
    return [(name, str(six.next_hop)) for name, six in sides if six and six.next_hop is not None]


def forwarding(router: Router) -> tuple[str, str]:
    """Return the setting that lets IPv6 packets pass; it resets those of all NICs, so it comes before them."""
    return f"{_CONF}/all/forwarding", "1" if _forwards(router) else "0"


def _forwards(router: Router) -> bool:
    return router.settings.kind.routes and bool(router.with_ipv6())


def knobs(router: Router) -> list[tuple[str, str]]:
    """Return the settings of all NICs (ip-sysctl); one that has IPv6 is switched on last.

    An address of a link that goes down stays, so that of two routers the one that becomes primary has it at once.
    """
    on = {device.name: device for device in router.with_ipv6()}
    found: list[tuple[str, str]] = []
    for name in sorted({*on, *(nic.name for nic in router.nics), *(device.name for device in router.devices)}):
        given = {"disable_ipv6": 1}
        if name in on:
            given = {"accept_ra": 0, "autoconf": 0, "accept_redirects": 0, "use_tempaddr": 0, "accept_dad": 0}
            given |= {"keep_addr_on_down": int(on[name].role is Role.PUBLIC), "disable_ipv6": 0}
        found += [(f"{_CONF}/{name}/{setting}", str(value)) for setting, value in given.items()]
    return found


def compare(
    router: Router, wanted: Mapping[str, frozenset[IPv6Interface]], live: Mapping[str, frozenset[IPv6Interface]]
) -> tuple[Placed, Placed]:
    """Return addresses to add and to remove; what a NIC has goes by itself when IPv6 is switched off there."""
    moving = {d.name: frozenset(d.six.moving) for d in router.devices if d.six and router.settings.redundant}
    on = {device.name for device in router.devices if device.six}
    new: Placed = []
    stale: Placed = []
    for name, asked in wanted.items():
        present = live.get(name, frozenset()) - moving.get(name, frozenset())
        new += [(name, interface) for interface in sorted(asked - present)]
        stale += [(name, interface) for interface in sorted(present - asked) if name in on]
    return new, stale
