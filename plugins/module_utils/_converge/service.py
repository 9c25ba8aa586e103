# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Configure one service from the databags: what the module of each service does."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.log import about, write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import (
    Call,
    VrError,
    as_vr_error,
    result,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.routers import routers, undone
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.transaction import commit, joined
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.tables import TableError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

MAX_TRANSITIONS = 5
"""How many elections one service may meet before it gives up."""
CUTS = frozenset({"firewall", "vpn"})
"""The services that cut the connections which a transaction that was given up has let in."""


def run_service(name: str, call: Call) -> dict[str, Any]:
    """Bring one service to what the (staged) databags say; in check mode, say what would change.

    The last service that a transaction has to apply puts the databags into force: a task more would cost a fork.
    """
    with as_vr_error(), joined(call) as agenda:
        if not call.check_mode:
            about(transaction=call.store.lock().id, drops=agenda.files, service=name)
        host = call.host()
        try:
            steps = _converge(name, call, host, checked=name in agenda.left)
        finally:
            host.run.forget()
            if not call.check_mode:
                call.note(host)
        if name in CUTS and agenda.cuts[-1:] in ((), (name,)) and not call.check_mode:
            call.store.forget_undone()
        if agenda.left and call.store.applied(name):
            commit(call.store)
    if steps and not call.check_mode:
        about(service=name)
        write_log(f"{name}: {len(steps)} steps, {host.run.count} commands: {call.phases}")
    return result({name: steps}, call.diff) | {"phases": call.phases.of(name), "commands": host.run.count}


def _converge(name: str, call: Call, host: Host, *, checked: bool) -> tuple[Step, ...]:
    """Plan or converge a service; once more when VRRP changed what the router must be meanwhile.

    The databags are `checked` when the task that planned has read the same files, in this transaction.
    """
    service = SERVICES[name]
    step = converge.plan if call.check_mode else converge.converge
    for _change in range(MAX_TRANSITIONS):
        state = host.vrrp_state
        host.read_ahead(links=service.reads_links, services=service.reads_units)
        with call.phases.time("ingest"):
            in_force = call.store.load(checked=checked) if service.judges_history else None
            bags = call.store.load_staged(in_force, checked=checked)
        router, committed = routers(host, state, bags, bags if in_force is None else in_force)
        if name in CUTS:
            host.undone = undone(call, host, state, bags if in_force is None else in_force)
        try:
            steps = step(name, host, router, committed)
        except (CommandError, converge.VerifyError, TableError, OSError):
            if host.vrrp_state is state:
                raise
        else:
            if host.vrrp_state is state or not router.settings.redundant:
                return steps
        host.start_over()
    raise VrError(f"{name}: this router changed between primary and backup {MAX_TRANSITIONS} times meanwhile")
