# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Router advertisements (RFC 4861, RFC 8106): radvd, on the guest NICs where VMs are sent here.

It runs where there is such a NIC, on a router that is the only one or the primary of its pair, and nowhere else: a
backup that advertises would get half of the VMs' packets (C15, L1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.ipv6 import LINK_LOCAL
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Device, Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    Unit,
    Wanted,
)

HEADER = "# Owned by cloudstack.virtual_router (routing): do not edit."
CONFIG = "/etc/radvd.conf"
UNIT = "radvd"
_CHECK = ("radvd", "--configtest", "--config={}", "--logmethod=stderr_clean")


@dataclass(frozen=True, slots=True)
class Guest:
    """What is told on one NIC; the resolvers are IPv6 addresses in order, `mtu` is in bytes."""

    nic: str
    prefix: str
    resolvers: tuple[str, ...]
    domain: str
    mtu: int


def guests(router: Router) -> tuple[Guest, ...]:
    """Return the NICs that are advertised on, by number."""
    found = [_guest(router, device) for device in router.with_ipv6(Role.GUEST)]
    return tuple(guest for guest in found if guest is not None)


def _guest(router: Router, device: Device) -> Guest | None:
    six = device.six
    if six is None or not six.is_gateway:
        return None
    domain = device.domain or router.settings.domain
    return Guest(device.name, str(six.network), six.resolvers, domain, device.mtu)


def wanted(router: Router, render: Callable[..., str]) -> Wanted:
    """Return radvd's file and whether it runs; without a NIC to advertise on there is no file."""
    told = guests(router)
    if not told:
        return Wanted(units=(Unit(UNIT, running=False),))
    text = render("radvd/radvd.conf.j2", header=HEADER, guests=told, source=LINK_LOCAL.ip)
    file = File(CONFIG, text, effect=Effect.RELOAD, checker=_CHECK)
    return Wanted(files=(file,), units=(Unit(UNIT, running=router.active),))
