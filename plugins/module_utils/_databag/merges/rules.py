# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops about the rules of public addresses: firewall, port forwarding, static NAT."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Workspace,
)

Record = dict[str, Any]
Identity = tuple[str, str]


def merge_firewall(bag_name: str, workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store rules under their id, the newer over the older; only ``revoked`` removes one."""
    bag = workspace.edit(bag_name)
    for rule in body["rules"]:
        key = str(rule["id"])
        if rule["revoked"]:
            bag.pop(key, None)
        else:
            bag[key] = rule


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
        "type": "staticnat",
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
    """Hold the rules of one public address, found by kind, protocol, ports and source CIDRs."""

    def __init__(self, records: list[Record]) -> None:
        self._by_match: dict[tuple[str, str, str], list[Record]] = {}
        for record in records:
            self._alike(record).append(record)

    def _alike(self, record: Record) -> list[Record]:
        match = (record["type"], record.get("protocol", ""), record.get("public_ports", ""))
        return self._by_match.setdefault(match, [])

    def remove(self, record: Record) -> None:
        """Remove what is the same rule: same match, and CIDR lists that are both empty or share a CIDR."""
        alike = self._alike(record)
        alike[:] = [other for other in alike if not _same_sources(other, record)]

    def put(self, record: Record) -> None:
        """Store a rule in place of every other that is the same."""
        self.remove(record)
        self._alike(record).append(record)

    def records(self) -> list[Record]:
        """Return all rules in an order that does not depend on when they came."""
        return sorted((record for alike in self._by_match.values() for record in alike), key=_rank)


def _same_sources(one: Record, other: Record) -> bool:
    mine, theirs = one.get("source_cidr_list", ""), other.get("source_cidr_list", "")
    return mine == theirs or bool(mine and theirs and set(mine.split(",")) & set(theirs.split(",")))


def _rank(record: Record) -> tuple[str, int, str, str, str]:
    """Order rules by kind, first public port, ports, protocol and sources."""
    ports = record.get("public_ports", "")
    first = ports.partition(":")[0]
    return (
        record["type"],
        int(first) if first.isdigit() else -1,
        ports,
        record.get("protocol", ""),
        record.get("source_cidr_list", ""),
    )
