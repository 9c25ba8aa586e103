# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the rules of one router say of an IPv6 connection: nothing is translated, so the two ends and the lists say all.

Here is no more than `vr why` needs to be quick: what a change takes away is in conntrack6.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Kind,
    Role,
    Router,
    Rule,
    RuleList,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rules6 import CLOSED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.judge import matches


@dataclass(frozen=True, slots=True)
class Flow6:
    """The original direction of an entry; of ICMPv6 `port` is the type."""

    protocol: str
    source: IPv6Address
    destination: IPv6Address
    port: int
    code: int = 0


def reach(router: Router) -> list[tuple[IPv6Network, str]]:
    """Return the networks of guests, each with its device."""
    return [(device.six.network, device.name) for device in router.with_ipv6(Role.GUEST) if device.six]


class Judge6:
    """Decide about flows by the rules of one router."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.reach = sorted(reach(router), key=lambda item: -item[0].prefixlen)
        self.own = {interface.ip for d in router.devices if d.six for interface in d.six.addresses}

    def ends(self, flow: Flow6) -> tuple[str | None, str | None]:
        """Return the names of the NICs behind which both ends are; None is the outside."""
        return self._nic(flow.source), self._nic(flow.destination)

    def admits(self, flow: Flow6) -> bool:
        """Tell whether the router lets the flow pass; what it takes part in itself is none of these rules."""
        if flow.destination in self.own or flow.source in self.own:
            return True
        source, target = self.ends(flow)
        if source == target:
            return True
        if self.router.settings.kind is not Kind.VPC:
            return _verdict(self.router.egress6 if source else self.router.inbound6, flow)
        if source and not _verdict(self.router.acls6.get(source, CLOSED)[1], flow):
            return False
        return target is None or _verdict(self.router.acls6.get(target, CLOSED)[0], flow)

    def _nic(self, ip: IPv6Address) -> str | None:
        return next((name for network, name in self.reach if ip in network), None)


def _verdict(rules: RuleList, flow: Flow6) -> bool:
    rule = decisive6(rules, flow)
    return rules.default_allow if rule is None else rule.allow


def decisive6(rules: RuleList, flow: Flow6) -> Rule | None:
    """Return the first rule that matches, or None."""
    return next((rule for rule in rules.rules if matches(rule.match, flow, flow.destination, flow.port)), None)
