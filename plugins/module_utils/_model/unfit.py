# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leave out what databags hold and no service may be given: a drop that says it is refused today.

The release that stored it accepted more, and the original checked nothing. It must not keep a router from its other
services, so it has no effect, and whoever looks is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.bgp import (
    ANNOUNCED,
    hops_are_few,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import (
    Kind,
    MismatchError,
    may,
    record,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.cmdline import ARGUMENTS6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.interfaces import TIER6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.vpn import LIFETIMES

Bag = Mapping[str, Any]
Found = tuple[dict[str, Any], list[str]]
"""A databag without what does not fit, and a line for each thing that is left out."""

_ARGUMENTS = record({name: may(kind) for name, kind in ARGUMENTS6.items()})
_TIER = record(TIER6)
_PEER = record(ANNOUNCED, hops_are_few)
_CONNECTION = record(LIFETIMES)


def fitting(bags: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the databags without what does not fit, and a line for each thing that is left out."""
    found, warnings = dict(bags), list[str]()
    for name, left_out in _LEFT_OUT.items():
        if name in bags:
            found[name], lines = left_out(bags[name])
            warnings += lines
    return found, tuple(warnings)


def _mismatch(kind: Kind, given: Mapping[str, Any]) -> str:
    """Say what does not fit, nothing where all does; the value itself may be a secret."""
    try:
        kind(dict(given))
    except MismatchError as error:
        return f"{error.where()}: expected {error.expected}"
    return ""


def _arguments(bag: Bag) -> Found:
    """Take all that is about IPv6 from the boot arguments: a part of it would be another network."""
    config = bag.get("config", {})
    reason = _mismatch(_ARGUMENTS, config)
    if not reason:
        return dict(bag), []
    rest = {name: value for name, value in config.items() if name not in ARGUMENTS6}
    return {**bag, "config": rest}, [f"boot arguments: {reason}: they give no IPv6"]


def _tiers(bag: Bag) -> Found:
    found, warnings = dict(bag), []
    for device in sorted(key for key in bag if key != "id"):
        for number, tier in enumerate(bag[device]):
            reason = _mismatch(_TIER, tier)
            if reason:
                rest = {name: value for name, value in tier.items() if name not in TIER6}
                found[device] = [*found[device][:number], rest, *found[device][number + 1 :]]
                warnings.append(f"tier on {device}: {reason}: it has no IPv6")
    return found, warnings


def _peers(bag: Bag) -> Found:
    """Leave out peers, and those to which the router would have another AS number than to the first."""
    found, warnings = _records(bag, _PEER, "BGP peer")
    own = [(key, int(found[key]["network_as_number"])) for key in sorted(found) if key != "id"]
    for key, number in own:
        if number != own[0][1]:
            del found[key]
            warnings.append(f"BGP peer {key}: the router is AS {own[0][1]} to others, not {number}: it is left out")
    return found, warnings


def _connections(bag: Bag) -> Found:
    return _records(bag, _CONNECTION, "site-to-site VPN to")


def _records(bag: Bag, kind: Kind, label: str) -> Found:
    reasons = {key: _mismatch(kind, bag[key]) for key in sorted(bag) if key != "id"}
    lines = [f"{label} {key}: {reason}: it is left out" for key, reason in reasons.items() if reason]
    return {key: value for key, value in bag.items() if not reasons.get(key)}, lines


_LEFT_OUT: dict[str, Callable[[Bag], Found]] = {
    "cmdline": _arguments,
    "guestnetwork": _tiers,
    "bgppeers": _peers,
    "site2sitevpn": _connections,
}
