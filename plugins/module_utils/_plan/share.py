# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service adds to what others make: packet filter, connections, and what only a primary runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import NamedSet

Lines = Callable[[Router], tuple[str, ...]]


def nothing(_router: Router) -> tuple[()]:
    """Add nothing."""
    return ()


def _closes_nothing(_old: Router, _new: Router) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class Share:
    """What a service adds. All are pure functions of a router; rules are lines of nft, in the table `cloudstack`.

    `sets` are what the rules of a service ask. `input_rules` let in what the service itself hears, after connection
    tracking and ICMP. `guest_rules` do so for who is on a guest NIC, with an address of its network, and asks the
    router's address there. `closes` are the elements ``address . port`` of sockets of the service that a change closes:
    connections to them are cut. `primary_units` are units of systemd, with their suffix, that only the primary of a
    pair runs.
    """

    sets: Callable[[Router], tuple[NamedSet, ...]] = nothing
    input_rules: Lines = nothing
    guest_rules: Lines = nothing
    closes: Callable[[Router, Router], frozenset[str]] = _closes_nothing
    primary_units: Lines = nothing
