# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""DHCP and DNS: read the leases given, and plan."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from glob import glob

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, generation
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.tables import live_table, remembered
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import dhcp_dns
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare, together
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import bindings, tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    ReleaseLease,
    Step,
    Wanted,
)

LEASE_WAIT = 2.0
"""How long dnsmasq may take to write its lease file after a release, in seconds."""


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan the dnsmasq of each network: its files, whether it runs, and the leases that must go; and who is who."""
    names, parts = host.once("dhcp_dns", router, lambda: _wanted(host, router))
    everything = _all((names, *parts.values()))
    live = observe(host, everything)
    steps = compare(names, live)
    shared = Effect.RELOAD if steps else Effect.NONE
    released: list[Step] = []
    for server, wanted in parts.items():
        steps += compare(wanted, live, shared)
        leases = files.read(server.lease_file)
        released += dhcp_dns.stale_leases(router, server, dhcp_dns.parse_leases(leases.content if leases else ""))
    steps += dhcp_dns.removed(router, (file.path for file in everything.files), _present())
    return [*together(steps), *released, *_bindings(host, router)]


def _bindings(host: Host, router: Router) -> list[Step]:
    """Plan the table that binds addresses to MACs; the kernel is asked only when somebody has changed something."""
    file = host.once("bindings", router, lambda: bindings.wanted(router, host.render))
    if file is None:
        return []
    count, own = generation.current(), host.transactions.own
    known = generation.remembered(generation.BINDINGS_MARK)
    loaded = remembered(tables.BINDING_TABLE)["loaded_digest"] == tables.digest(file.content)
    alone = host.transactions.alone(count)
    wanted = Wanted(files=(file,))
    live = observe(host, wanted)
    steps: list[Step] = []
    if not loaded or not (count == known or (alone and own > 0)):
        saved = live.files.get(file.path)
        table = live_table(host, tables.BINDING_TABLE)
        steps = tables.compare(tables.BINDING_TABLE, file.content, saved.content if saved else None, table)
    if not steps and alone and count != known:
        generation.remember(count, generation.BINDINGS_MARK)
        if own and count - own == generation.remembered():
            # The firewall's tables were as wanted before this process has loaded another one, and still are.
            generation.remember(count)
    return [*steps, *compare(wanted, live)]


def _wanted(host: Host, router: Router) -> tuple[Wanted, dict[dhcp_dns.Server, Wanted]]:
    """Return what all servers share, and what each has of its own."""
    parts = {server: dhcp_dns.wanted(router, server, host.render) for server in dhcp_dns.servers(router)}
    return dhcp_dns.names(router), parts


def _all(parts: Iterable[Wanted]) -> Wanted:
    """Join what is wanted, so that it is read by one look."""
    given = tuple(parts)
    return Wanted(
        files=tuple(file for part in given for file in part.files),
        units=tuple(unit for part in given for unit in part.units),
    )


def _present() -> list[str]:
    """List the files in the directories that are dnsmasq's alone, the directories of tiers, and their leases."""
    own, leases = dhcp_dns.DIRECTORY, f"{dhcp_dns.LEASE_DIRECTORY}/dnsmasq.{dhcp_dns.TIER}*.leases"
    found = [path for pattern in (f"{own}/*", f"{own}/*/*", leases) for path in glob(pattern)]
    return [*(path for path in found if not os.path.isdir(path)), *glob(f"{own}/{dhcp_dns.TIER}*/")]


def _release_lease(step: ReleaseLease, host: Host) -> None:
    """Release through D-Bus: unlike a DHCPRELEASE packet it works on every address of a NIC (F3)."""
    server = dhcp_dns.Server(step.server)
    host.run(server.call("DeleteDhcpLease", "s", step.ip))
    deadline = time.monotonic() + LEASE_WAIT
    while time.monotonic() < deadline:
        found = files.read(server.lease_file)
        leases = dhcp_dns.parse_leases(found.content if found else "")
        if not any((lease.ip, lease.mac) == (step.ip, step.mac) for lease in leases):
            return
        time.sleep(0.02)


SERVICE = Service(plan, handlers={ReleaseLease: _release_lease})
