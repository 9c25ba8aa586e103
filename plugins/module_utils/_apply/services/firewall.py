# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packet filter, NAT and counters: read the live tables, and plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, generation
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.system import System
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import conntrack, flow_patterns, tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import Ruleset
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step, Wanted

BOOT = f"{tables.DIRECTORY}/{tables.TABLES[tables.TABLE]}"
"""The ruleset that the boot unit loads."""

FTP_HELPER = Path("/sys/module/nf_conntrack_ftp")
"""There while the kernel has the helper, built in or loaded. The firewall's unit has it loaded, with that of NAT."""


def plan(system: System, router: Router, committed: Router) -> list[Step]:
    """Plan the rulesets, and the connections that a narrower ruleset takes away.

    A ruleset is kept for the next boot after the kernel took it: what it refused must not be there to be loaded then.
    """
    rules, wanted, kept_for_boot = system.once("firewall", router, lambda: _wanted(system, router))
    present = observe(system, kept_for_boot)
    steps: list[Step] = []
    count, kept = generation.current(), generation.remembered()
    alone = system.transactions.alone(count)
    # What this process has loaded was read back and counted then.
    as_known = count == kept or (alone and system.transactions.own > 0)
    for name, file in zip(tables.TABLES, wanted.files, strict=True):
        if as_known and remembered(name)["loaded_digest"] == tables.digest(file.content):
            continue
        saved = present.files.get(file.path)
        live = live_table(system, name)
        known = tables.unsealed(saved.content) if saved and file.path == BOOT else saved and saved.content
        steps += tables.compare(name, file.content, known, live, rules.counters)
    if not steps and alone and count != kept:
        generation.remember(count)
    steps += compare(kept_for_boot, present)
    olds = (committed, *system.undone)
    if flow_patterns.patterns(olds, router):
        steps.append(conntrack.CutFlows(olds, router))
    return steps


def _wanted(system: System, router: Router) -> tuple[Ruleset, Wanted, Wanted]:
    """Return the rulesets as they are loaded, and as they are saved: what the boot unit loads is sealed and durable."""
    rules, wanted = tables.wanted(router, system.render, FTP_HELPER.exists())
    files = (
        replace(file, content=tables.seal(file.content), durable=True) if file.path == BOOT else file
        for file in wanted.files
    )
    return rules, wanted, Wanted(tuple(files))


def is_open(system: System) -> bool:
    """Tell whether there is nothing that filters, not even what the boot unit loads where nothing was saved."""
    if generation.current() == generation.remembered():
        return False
    return any("hook" not in _chain(system, name) for name in ("input", "forward"))


def _chain(system: System, name: str) -> str:
    """Return the kernel's words for a chain of the packet filter, nothing when it is not there."""
    try:
        return system.run(("nft", "--stateless", "list", "chain", "inet", tables.TABLE, name))
    except CommandError as error:
        if "No such file or directory" not in error.output:
            raise
        return ""


def live_table(system: System, name: str) -> tables.LiveTable:
    """Return what the kernel has of a table."""
    try:
        listing = list_table(system, name)
    except CommandError as error:
        if "No such file or directory" not in error.output:
            raise
        return tables.LiveTable(None)
    return tables.LiveTable(listing, **remembered(name))


def list_table(system: System, name: str) -> str:
    """Return the kernel's own words for a table, without counter values."""
    return system.run(("nft", "--stateless", "list", "table", "inet", name))


def digest_file(name: str) -> Path:
    """Return where the digests of the last load of a table are kept."""
    return Path(tables.home(name)) / f"{name}.digest"


def remembered(name: str) -> dict[str, str]:
    """Return the digests of the last load; nothing, or damaged, means that the table is loaded anew."""
    found = files.read(str(digest_file(name)))
    try:
        known = json.loads(found.content) if found else {}
    except ValueError:
        known = {}
    return {key: str(known.get(key, "")) for key in ("loaded_digest", "listed_digest")}
