# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A packet that is asked about, and what is said of it: for both families the same words."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, TypeVar

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    Router,
    Rule,
    RuleList,
)

DROPPED, ROUTER, FORWARDED, UNKNOWN = "dropped", "the router itself", "forwarded", "not explained"
OWN = "the router"


Ip = TypeVar("Ip", IPv4Address, IPv6Address)


@dataclass(frozen=True, slots=True)
class _Packet(Generic[Ip]):
    source: Ip
    destination: Ip
    protocol: str
    port: int = 0
    code: int = 0
    nic: str = ""


class Packet(_Packet[IPv4Address]):
    """The first packet of a connection; for ICMP `port` is the type. `nic` is by which NIC it comes, if not obvious."""

    __slots__ = ()


class Packet6(_Packet[IPv6Address]):
    """The same in IPv6; ICMPv6 is `icmp`, too."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that happens on the way; `by` names what decides: a record of a databag, or a part of the ruleset."""

    what: str
    by: str = ""


@dataclass(slots=True)
class Answer:
    """What becomes of a packet: the way in and out, addresses as they leave the router, and the stages between."""

    ends: str = DROPPED
    nic_in: str = ""
    nic_out: str = ""
    source: str = ""
    destination: str = ""
    port: int = 0
    stages: list[Stage] = field(default_factory=list)

    def say(self, what: str, by: str = "") -> None:
        """Add a stage."""
        self.stages.append(Stage(what, by))

    def drop(self, why: str, by: str = "") -> Answer:
        """End the way here."""
        self.say(why, by)
        self.ends, self.nic_out = DROPPED, ""
        return self

    def asked(self, rule: Rule | None, rules: RuleList, name: str) -> bool:
        """Add what a list of rules says, and which rule of it decides, None being its default."""
        allowed = rules.default_allow if rule is None else rule.allow
        by = f"no rule matches, the default of the {name}" if rule is None else rule.label
        if allowed:
            self.say(f"allowed by the {name}", by)
        else:
            self.drop(f"denied by the {name}", by)
        return allowed


def begun(packet: Packet | Packet6) -> Answer:
    """Return an answer that says nothing yet."""
    return Answer(source=str(packet.source), destination=str(packet.destination), port=packet.port)


def is_for_bgp(router: Router, packet: Packet | Packet6) -> bool:
    """Tell whether a packet to the router itself is for BGP, which peers alone may speak."""
    if (packet.protocol, packet.port) != ("tcp", 179):
        return False
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import bgp

    return any(item.elements for item in bgp.opened(router))


def role(device: Device) -> str:
    """Return the role of a device in words."""
    return device.role.value.replace("_", " ")
