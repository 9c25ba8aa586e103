# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packet filter, NAT and counters: read the live tables, and plan."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import generation, vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.connections import Connections
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.tables import (
    live_table,
    load,
    remembered,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import (
    conntrack,
    conntrack6,
    flow_patterns,
    tables,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.flow_verdicts import Verdicts
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import Ruleset
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import LoadRuleset, Step, Wanted

BOOT = f"{tables.DIRECTORY}/{tables.TABLES[tables.TABLE]}"
"""The ruleset that the boot unit loads."""

FTP_HELPER = Path("/sys/module/nf_conntrack_ftp")
"""There while the kernel has the helper, built in or loaded. The firewall's unit has it loaded, with that of NAT."""


def plan(host: Host, router: Router, committed: Router) -> list[Step]:
    """Plan the rulesets, and the connections that a narrower ruleset takes away.

    A ruleset is kept for the next boot after the kernel took it: what it refused must not be there to be loaded then.
    """
    rules, wanted, kept_for_boot = host.once("firewall", router, lambda: _wanted(host, router))
    present = observe(host, kept_for_boot)
    steps: list[Step] = []
    count, kept = generation.current(), generation.remembered()
    alone = host.transactions.alone(count)
    # What this process has loaded was read back and counted then.
    as_known = count == kept or (alone and host.transactions.own > 0)
    for name, file in zip(tables.TABLES, wanted.files, strict=True):
        if as_known and remembered(name)["loaded_digest"] == tables.digest(file.content):
            continue
        saved = present.files.get(file.path)
        live = live_table(host, name)
        known = tables.unsealed(saved.content) if saved and file.path == BOOT else saved and saved.content
        steps += tables.compare(name, file.content, known, live, rules.counters)
    if not steps and alone and count != kept:
        generation.remember(count)
    steps += compare(kept_for_boot, present)
    olds = (committed, *host.undone)
    if flow_patterns.patterns(olds, router) or conntrack6.narrows(olds, router):
        steps.append(conntrack.CutFlows(olds, router))
    return steps


def _wanted(host: Host, router: Router) -> tuple[Ruleset, Wanted, Wanted]:
    """Return the rulesets as they are loaded, and as they are saved: what the boot unit loads is sealed and durable."""
    protected = vpn.options().protected_devices if router.vpn.tunnels else ()
    rules, wanted = tables.wanted(router, host.render, FTP_HELPER.exists(), protected)
    files = (
        replace(file, content=tables.seal(file.content), durable=True) if file.path == BOOT else file
        for file in wanted.files
    )
    return rules, wanted, Wanted(tuple(files))


def _cut_flows(step: conntrack.CutFlows, host: Host) -> None:
    """Delete the entries; the new rules are in force already, so nothing that they refuse comes after the list."""
    verdicts, count = Verdicts(step.olds, step.new), 0
    with Connections() as kernel:
        for pattern in flow_patterns.patterns(step.olds, step.new):
            count += kernel.cut(pattern, verdicts.cuts)
    if conntrack6.narrows(step.olds, step.new):
        with Connections(socket.AF_INET6) as kernel:
            count += kernel.cut(flow_patterns.ANY, conntrack6.Verdicts6(step.olds, step.new).cuts)
    host.run.log(f"cut {count} connections")


SERVICE = Service(
    plan,
    handlers={LoadRuleset: load, conntrack.CutFlows: _cut_flows},
    judges_history=True,
    reads_units=False,
)
