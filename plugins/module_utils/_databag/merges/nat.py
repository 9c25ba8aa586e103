# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge port forwards and static NAT: the databag ``forwardingrules``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import under
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import Bag, Workspace
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import kinds as k
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import list_of
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.nat import STORED_NAT
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.sources import contend, networks

Record = dict[str, Any]


_STATIC_NAT = "staticnat"


def merge_forwards(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove port forwards; what else the address has stays."""
    _merge_records(workspace, [(rule["revoke"], _forward(rule)) for rule in body["rules"]])


def merge_static_nat(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store or remove static NAT, apart per protocol and ports; the port forwards of the address stay."""
    _merge_records(workspace, [(rule["revoke"], _static_nat(rule)) for rule in body["rules"]])


def _forward(rule: Record) -> Record:
    record = {
        "type": "forward",
        "public_ip": rule["source_ip_address"],
        "internal_ip": rule["destination_ip_address"],
        "public_ports": rule["source_port_range"],
        "internal_ports": rule["destination_port_range"],
        "protocol": rule["protocol"],
    }
    if "source_cidr_list" in rule:
        record["source_cidr_list"] = rule["source_cidr_list"]
    return record


def _static_nat(rule: Record) -> Record:
    """Make the record of static NAT; one-to-one has neither ports nor protocol, as in the original."""
    record = {
        "type": _STATIC_NAT,
        "public_ip": rule["source_ip_address"],
        "internal_ip": rule["destination_ip_address"],
    }
    if rule.get("source_port_range", "0:0") != "0:0":
        record["public_ports"] = rule["source_port_range"]
    if "protocol" in rule:
        record["protocol"] = rule["protocol"]
    return record


def _merge_records(workspace: Workspace, changes: list[tuple[bool, Record]]) -> None:
    """Apply changes address by address, so that 10,000 rules of one address are looked through once."""
    by_address: dict[str, list[tuple[bool, Record]]] = {}
    for revoke, record in changes:
        by_address.setdefault(record["public_ip"], []).append((revoke, record))
    for address, theirs in by_address.items():
        table = RuleTable(workspace.read("forwardingrules").get(address, []))
        for revoke, record in theirs:
            table.remove(record) if revoke else table.put(record)
        kept = table.records()
        if kept:
            workspace.edit("forwardingrules")[address] = kept
        else:
            workspace.remove("forwardingrules", address)


class RuleTable:
    """Hold the rules of one public address, found by kind, protocol, ports and source CIDRs.

    Rules that match the same packets and lead elsewhere may all be there, in the order in which they came: the newest
    is in force, and when it is revoked the one before it is again (apache/cloudstack#8386).
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_match: dict[tuple[str, str, str], list[Record]] = {}
        self._static_targets: dict[str, None] = {}
        for record in records:
            self._append(record)

    def _alike(self, record: Record) -> list[Record]:
        match = (record["type"], record.get("protocol", ""), record.get("public_ports", ""))
        return self._by_match.setdefault(match, [])

    def _append(self, record: Record) -> None:
        self._alike(record).append(record)
        if record["type"] == _STATIC_NAT:
            # All static NAT of an address is one, whatever its ports, so its target is the one that came last.
            self._static_targets.pop(record["internal_ip"], None)
            self._static_targets[record["internal_ip"]] = None

    def remove(self, record: Record) -> None:
        """Remove what is the same rule: same match, same target, and sources that are equal or share a CIDR."""
        alike = self._alike(record)
        alike[:] = [o for o in alike if _target(o) != _target(record) or not _same_sources(o, record)]

    def put(self, record: Record) -> None:
        """Store a rule as the newest, in place of every other that is the same."""
        self.remove(record)
        self._append(record)

    def records(self) -> list[Record]:
        """Return all rules, in an order that tells when they came only of those that contend for the same packets."""
        turn = {target: number for number, target in enumerate(self._static_targets)}
        found: list[Record] = []
        for alike in self._by_match.values():
            found += alike if _contend(alike) else sorted(alike, key=_sources_text)
        return sorted(found, key=lambda record: _rank(record, turn))


def _target(record: Record) -> tuple[str, str]:
    return (record["internal_ip"], record.get("internal_ports", ""))


def _sources_text(record: Record) -> str:
    found: str = record.get("source_cidr_list", "")
    return found


def _same_sources(one: Record, other: Record) -> bool:
    if _sources_text(one) == _sources_text(other):
        return True
    mine, theirs = networks(_sources_text(one)), networks(_sources_text(other))
    return mine == theirs or bool(mine & theirs)


def _contend(alike: list[Record]) -> bool:
    return len(alike) > 1 and contend([networks(_sources_text(record)) for record in alike])


def _rank(record: Record, turn: Mapping[str, int]) -> tuple[str, int, int, str, str]:
    """Order rules by kind, static NAT by the turn of its target, then by first public port, ports and protocol."""
    ports = record.get("public_ports", "")
    first = ports.partition(":")[0]
    return (
        record["type"],
        turn[record["internal_ip"]] if record["type"] == _STATIC_NAT else 0,
        int(first) if first.isdigit() else -1,
        ports,
        record.get("protocol", ""),
    )


def adopt_nat(bag: Bag) -> Bag:
    """Keep each rule once, the newer of two that are the same; the original has lists that are empty."""
    taken = {}
    for address, stored in bag.items():
        table = RuleTable([])
        for rule in under(address, list_of(STORED_NAT), stored):
            table.put(rule)
        if kept := table.records():
            taken[under(address, k.ipv4, address)] = kept
    return taken
