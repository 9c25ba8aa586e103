# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routers of a pair that several test files share."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Nic,
    Role,
    Router,
    VrrpState,
)
from tests.unit.plan.samples import CONTROL, EXTRA, PUBLIC, device, isolated, vpc, with_settings


def isolated_pair(own: int = 84, state: VrrpState = VrrpState.BACKUP, **settings: Any) -> Router:
    """Return a router of a pair of an isolated network; `own` ends its guest address."""
    guest = device("eth0", Role.GUEST, f"10.1.1.{own}/24")
    router = isolated(guest, CONTROL, PUBLIC, EXTRA, state=state)
    chosen = {"redundant": True, "guest_gateway": IPv4Address("10.1.1.1"), "vrrp_id": 51, **settings}
    return with_settings(router, **chosen)


def vpc_pair(
    own: int = 84,
    state: VrrpState = VrrpState.BACKUP,
    names: tuple[str, ...] = ("eth2", "eth3"),
    tiers: int = 2,
    is_gateway: bool = True,
    **settings: Any,
) -> Router:
    """Return a router of a pair of a VPC: control, public and private gateway, and up to two tiers with these NICs."""
    single = vpc(state=state)
    outer = [d for d in single.devices if d.role is not Role.GUEST]
    inner = [
        device(
            name,
            Role.GUEST,
            f"10.2.{number}.{own}/24",
            gateway=f"10.2.{number}.1",
            network_id=2040 + number,
            is_gateway=is_gateway,
        )
        for number, name in list(enumerate(names, start=1))[:tiers]
    ]
    devices = (*outer[:2], *inner, *outer[2:])
    nics = tuple(Nic(d.name, f"02:00:00:00:01:{d.number:02x}") for d in devices)
    chosen = {"redundant": True, "vrrp_id": 7, "name": f"r-{own}-VM", **settings}
    return with_settings(replace(single, devices=devices, nics=nics), **chosen)
