# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge packets by emitted nft lines, as the kernel would, for the few expressions that the planner emits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import NamedSet

VERDICTS = ("accept", "drop", "return")
NUMBERS = {"icmp": "1", "tcp": "6", "udp": "17"}


@dataclass(frozen=True)
class Packet:
    """A packet; for ICMP `port` is the type."""

    source: str
    destination: str
    protocol: str = "tcp"
    port: int = 80
    code: int = 0
    source_port: int = 40000


def contains(element: str, value: str | int) -> bool:
    """Tell whether an element of a set (network, address, port or range) holds a value."""
    if isinstance(value, int):
        first, _dash, last = element.partition("-")
        return int(first) <= value <= int(last or first)
    return IPv4Address(value) in IPv4Network(element)


class UnknownWordsError(AssertionError):
    """A line has something that this evaluator does not know: extend it, do not skip it."""


class Evaluator:
    """Evaluate lines against the named sets."""

    def __init__(self, sets: Iterable[NamedSet]) -> None:
        self.sets = {found.name: found for found in sets}

    def verdict(self, lines: Iterable[str], packet: Packet) -> str:
        """Return the first verdict that applies."""
        for line in lines:
            if (found := self._line(line, packet)) is not None:
                return found
        raise UnknownWordsError("the chain ends without a verdict")

    def _line(self, line: str, packet: Packet) -> str | None:
        words = re.sub(r' comment ".*"$', "", line).split()
        while words[0] not in VERDICTS:
            if words[0] == "goto":
                return "drop" if words[1] == "refused" else " ".join(words)
            head, operand = " ".join(words[:2]), words[2]
            if not self._matches(head, operand, packet):
                return None
            words = words[3:]
        return words[0]

    def _matches(self, head: str, operand: str, packet: Packet) -> bool:
        port = packet.port
        if head == "ip protocol":
            return NUMBERS.get(operand, operand) == NUMBERS.get(packet.protocol, packet.protocol)
        values: dict[str, tuple[str | None, str | int]] = {
            "ip saddr": (None, packet.source),
            "ip daddr": (None, packet.destination),
            "tcp dport": ("tcp", port),
            "tcp sport": ("tcp", packet.source_port),
            "udp dport": ("udp", port),
            "icmp type": ("icmp", port),
            "icmp code": ("icmp", packet.code),
        }
        if head not in values:
            raise UnknownWordsError(head)
        protocol, value = values[head]
        if protocol not in (None, packet.protocol):
            return False
        elements = self.sets[operand[1:]].elements if operand.startswith("@") else (operand,)
        return any(contains(element, value) for element in elements)

    def translate(self, lines: Iterable[str], packet: Packet) -> tuple[str, int] | None:
        """Return where the first destination NAT that applies leads, None without one."""
        for line in lines:
            condition, _dnat, rest = line.partition("dnat ip to ")
            if condition and not self._applies(condition.split(), packet):
                continue
            key, _map, name = rest.partition(" map @")
            if found := self._look_up(key, self.sets[name], packet):
                return found
        return None

    def _applies(self, words: list[str], packet: Packet) -> bool:
        triples = [words[i : i + 3] for i in range(0, len(words), 3)]
        return all(self._matches(" ".join(t[:2]), t[2], packet) for t in triples)

    def _look_up(self, key: str, found: NamedSet, packet: Packet) -> tuple[str, int] | None:
        with_port = re.fullmatch(r"ip daddr \. (tcp|udp) dport", key)
        if with_port and with_port[1] != packet.protocol:
            return None
        if not with_port and key != "ip daddr":
            raise UnknownWordsError(key)
        for element in found.elements:
            left, right = element.split(" : ")
            address, *ports = left.split(" . ")
            if address == packet.destination and all(contains(p, packet.port) for p in ports):
                target, *inner = right.split(" . ")
                return target, int(inner[0]) if inner else packet.port
        return None
