# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which running connections a change takes away: those that the old rules admitted and the new ones do not (B18).

Each entry of connection tracking is judged like a new connection would be, by the same rule lists and translations that
make the ruleset. What the old rules did not admit either is left alone, so an entry this module misjudges is never cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import Flow, Judge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.shares import SHARES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

ESP, IKE_PORTS = "50", frozenset((500, 4500))
"""What a peer of a tunnel is heard by, also encapsulated (RFC 4303, RFC 7296, RFC 3948)."""


@dataclass(frozen=True, slots=True)
class CutFlows(Step):
    """Delete the entries of connections that the change takes away.

    `olds` are the routers whose rules may have let something in: the one in force, and those that were given up.
    """

    olds: tuple[Router, ...]
    new: Router
    moot_at_verify = True

    @property
    def summary(self) -> str:
        return "cut the connections that are no longer allowed"


class Change:
    """Judge flows by the rules before and after a change."""

    def __init__(self, old: Router, new: Router) -> None:
        self._before, self._after = Judge(old), Judge(new)
        self._gone, self._closed = gone(old, new), closed(old, new)
        self._unheard = peers(old) - peers(new)

    def cuts(self, flow: Flow) -> bool:
        """Tell whether the flow is to be deleted.

        One that was sent to, or was given as its source, what the router has no more is dead whatever the rules said.
        """
        translated = flow.reply_destination != flow.source
        if flow.destination in self._gone or (translated and flow.reply_destination in self._gone):
            return True
        if self._is_of_a_former_peer(flow):
            return True
        if not self._before.admits(flow):
            return False
        if self._before.is_tunneled(flow) and not self._after.is_tunneled(flow):
            return True
        if _served(flow) in self._closed or _strayed(flow, self._before, self._after):
            return True
        return not self._after.admits(flow)

    def _is_of_a_former_peer(self, flow: Flow) -> bool:
        """Tell whether IKE or ESP is spoken with who is no peer any more; either side may have begun."""
        ends = flow.source, flow.destination
        if not self._unheard.intersection((ends, ends[::-1])):
            return False
        return flow.protocol == ESP or (flow.protocol == "udp" and is_ike(flow.source_port, flow.port))


def closed(old: Router, new: Router) -> frozenset[str]:
    """Return the sockets of the router itself that the change closes, as `address . port`."""
    return frozenset().union(*(share.closes(old, new) for share in SHARES.values()))


def gone(old: Router, new: Router) -> frozenset[IPv4Address]:
    """Return the addresses that packets meet on their way, and that the change takes from the router."""
    met = {a.ip for d in old.by_role(Role.GUEST, Role.PRIVATE_GATEWAY, Role.PUBLIC) for a in d.addresses}
    return frozenset(met) - {a.ip for device in new.devices for a in device.addresses}


def peers(router: Router) -> frozenset[tuple[IPv4Address, IPv4Address]]:
    """Return the addresses of peers and ours; a peer that is known by a name is the keeper's to know."""
    return frozenset((t.address, t.local_address) for t in router.vpn.tunnels if t.address is not None)


def is_ike(source_port: int, port: int) -> bool:
    """Tell whether UDP with these ports may be IKE, or ESP in UDP."""
    return source_port in IKE_PORTS or port in IKE_PORTS


def _strayed(flow: Flow, before: Judge, after: Judge) -> bool:
    """Tell whether an end of the flow is no longer where it was: its packets would go elsewhere, and untranslated."""
    was, now = before.ends(flow), after.ends(flow)
    return any(old is not None and old != new for old, new in zip(was, now, strict=True))


def _served(flow: Flow) -> str:
    """Return the listener a flow ends at on the router itself, nothing when it is translated or no TCP."""
    local = flow.protocol == "tcp" and flow.reply_source == flow.destination
    return f"{flow.destination} . {flow.port}" if local else ""
