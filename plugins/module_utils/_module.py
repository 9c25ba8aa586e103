# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules do, whether Ansible runs them on the router or in its own process.

Each entry takes checked parameters and returns a result in Ansible's shape. Errors are VrError, with one line for the
operator; everything else that is raised is a bug.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    ABOUT_MACHINES,
    JUDGED_BY_HISTORY,
    SERVICES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.system import System, write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    DropError,
    TransactionError,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS, Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._ingest import Delivery, deliver, expected_drops
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._outcome import commit, give_up
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._phases import Phases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.tables import TableError

MAX_TRANSITIONS = 5
"""How many elections one service may meet before it gives up."""
CUTS = "firewall"
"""The service that cuts the connections which a transaction that was given up has let in."""
MAX_STEPS = 50
"""How many steps a result names; the log has all of them."""

TRANSACTION = {"transaction": {"type": "str"}}
PLAN_SPEC: dict[str, Any] = {
    **TRANSACTION,
    "drops": {"type": "list", "elements": "str", "default": []},
    "along": {"type": "list", "elements": "str", "default": []},
    "aggregate": {"type": "path"},
    "keep": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["staged", "committed"], "default": "staged"},
}
REFUSE_SPEC: dict[str, Any] = {
    "transaction": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
}


class VrError(Exception):
    """A task failed for a reason that one line explains."""


@dataclass
class Call:
    """One run of a module: where it runs, and the parameters every entry may need.

    `owner_pid` is the process that lives as long as the whole play, 0 when it is not on this machine.
    """

    params: Mapping[str, Any]
    render: Renderer
    check_mode: bool = False
    diff: bool = False
    owner_pid: int = 0
    store: Store = field(default_factory=Store)
    phases: Phases = field(default_factory=Phases)

    def system(self) -> System:
        """Return the router; in check mode nothing is written to its log either."""
        system = System(self.render, phases=self.phases)
        if self.check_mode:
            system.run.log = lambda _line: None
        return system


@contextmanager
def _as_vr_error() -> Iterator[None]:
    try:
        yield
    except (
        DropError,
        DatabagError,
        TransactionError,
        CommandError,
        converge.VerifyError,
        TableError,
        OSError,
    ) as error:
        raise VrError(" ".join(str(error).split())) from error


def run_service(name: str, call: Call) -> dict[str, Any]:
    """Bring one service to what the (staged) databags say; in check mode, say what would change.

    The last service that a transaction has to apply puts the databags into force: a task more would cost a fork.
    """
    with _as_vr_error(), _transaction(call) as agenda:
        system = call.system()
        try:
            steps = _converge(name, call, system, checked=name in agenda.left)
        finally:
            system.run.forget()
            if not call.check_mode:
                _note(call, system)
        if name == CUTS and not call.check_mode:
            call.store.forget_undone()
        if agenda.left and call.store.applied(name):
            commit(call.store)
    if steps and not call.check_mode:
        write_log(f"{name}: {len(steps)} steps, {system.run.count} commands: {call.phases}")
    return _result({name: steps}, call.diff) | {"phases": call.phases.of(name), "commands": system.run.count}


def _converge(name: str, call: Call, system: System, *, checked: bool) -> tuple[Step, ...]:
    """Plan or converge a service; once more when VRRP changed what the router must be meanwhile.

    The databags are `checked` when the task that planned has read the same files, in this transaction.
    """
    step = converge.plan if call.check_mode else converge.converge
    for _change in range(MAX_TRANSITIONS):
        state = system.vrrp_state
        system.read_ahead(links=name == "interfaces", services=name not in ("interfaces", "firewall"))
        with call.phases.time("ingest"):
            in_force = call.store.load(checked=checked) if name in JUDGED_BY_HISTORY else None
            bags = call.store.load_staged(in_force, checked=checked)
        router, committed = _routers(system, state, bags, bags if in_force is None else in_force)
        if name == CUTS:
            system.undone = _undone(call, system, state, bags if in_force is None else in_force)
        try:
            steps = step(name, system, router, committed)
        except (CommandError, converge.VerifyError, TableError, OSError):
            if system.vrrp_state is state:
                raise
        else:
            if system.vrrp_state is state or not router.settings.redundant:
                return steps
        system.start_over()
    raise VrError(f"{name}: this router changed between primary and backup {MAX_TRANSITIONS} times meanwhile")


@contextmanager
def _transaction(call: Call) -> Iterator[Agenda]:
    """Join the play's transaction, or hold one of its own when the module is called by itself; yield its agenda."""
    given = call.params.get("transaction")
    if call.check_mode:
        yield Agenda()
    elif given:
        yield call.store.resume(given).agenda
    else:
        call.store.begin("module", pid=call.owner_pid)
        try:
            yield Agenda()
        finally:
            call.store.end()


def run_plan(call: Call) -> dict[str, Any]:
    """Take the drops in and plan every service; see the documentation of vr_plan for the result."""
    store, system = call.store, call.system()
    staged, databags = call.params["state"] == "staged", list[str]()
    with _as_vr_error():
        lease = None if call.check_mode else _join(call)
        try:
            delivery, router, plans = _plan(call, system, lease is not None)
            left_out = (f"{name}: taken before the boot arguments, does not fit them" for name in delivery.left_out)
            told = (*left_out, *router.warnings)
            services = tuple(name for name, steps in plans.items() if steps)
            if lease and staged:
                _agree(store, router, services, told)
                if not services:
                    databags, lease = commit(store), None
            elif lease and CUTS not in services:
                store.forget_undone()
        except BaseException as error:
            if lease and staged:
                give_up(store, " ".join(str(error).split()) or type(error).__name__)
            raise
    return _result(plans, call.diff, databags) | {
        "transaction": lease,
        "services": list(services),
        "drops": list(delivery.drops),
        "along": list(delivery.along),
        "kind": router.settings.kind.value,
        "pending": list(router.pending),
        "router_warnings": list(told),
    }


def _join(call: Call) -> str:
    """Begin a transaction, or go on with the given one: the way back, with nothing left to do but that."""
    store, params, given = call.store, call.params, call.params.get("transaction")
    if given:
        lease = store.resume(given)
        store.make_room()
        store.agree(replace(lease.agenda, left=()))
        store.set_aside()
        return str(given)
    aggregate = os.path.basename(params["aggregate"]) if params["aggregate"] else None
    agenda = Agenda(aggregate=aggregate, keep=params["keep"], started=time.time(), begun=time.monotonic())
    lease = store.begin("playbook", agenda, pid=call.owner_pid)
    # Only now: whoever was waited for may have taken the boot arguments that lay in the inbox.
    store.agree(replace(agenda, drops=tuple(expected_drops(store, params["drops"]))))
    return lease.id


def _plan(call: Call, system: System, stage: bool) -> tuple[Delivery, Router, dict[str, tuple[Step, ...]]]:
    """Take the drops in, stage them if there is a transaction, and plan."""
    store, state = call.store, system.vrrp_state
    system.read_ahead(links=True, services=True)
    try:
        with call.phases.time("ingest"):
            in_force = store.load()
            delivery = _delivery(call, in_force)
            if stage and delivery.former:
                store.keep_former(delivery.former)
            if stage:
                store.stage(delivery.bags)
        router, committed = _routers(system, state, delivery.bags, in_force)
        system.undone = _undone(call, system, state, in_force)
        plans = {name: converge.plan(name, system, router, committed) for name in SERVICES}
        told = tuple(warning for steps in plans.values() for step in steps for warning in step.warnings)
        return delivery, replace(router, warnings=(*router.warnings, *told)), plans
    finally:
        system.run.forget()
        if stage:
            _note(call, system)


def _note(call: Call, system: System) -> None:
    """Note what this task has spent: a record may go without it, so a full disk does not matter."""
    with suppress(OSError):
        call.store.note(call.phases, system.run.count)


def _agree(store: Store, router: Router, services: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    """Write down what the rest of the transaction has to do, and what its record is to say."""
    found = {"pending": router.pending, "warnings": warnings}
    store.agree(replace(store.lease().agenda, services=services, left=services, **found))


def _delivery(call: Call, in_force: dict[str, Bag]) -> Delivery:
    store, params = call.store, call.params
    if params["state"] == "committed":
        return Delivery(in_force, ())
    delivery = deliver(store, in_force, params["drops"], params["aggregate"], params["along"])
    if not call.check_mode:
        # Whatever fails from now on fails with all of them.
        store.agree(replace(store.lease().agenda, drops=delivery.drops, along=delivery.along))
    return delivery


def _routers(system: System, state: VrrpState, bags: dict[str, Bag], in_force: dict[str, Bag]) -> tuple[Router, Router]:
    """Return the router wanted and the one in force: the same object when they do not differ in what is judged."""
    with system.phases.time("model"):
        router = build(bags, system.nics, state)
        same = all(bags.get(name) == in_force.get(name) for name in BAGS if name not in ABOUT_MACHINES)
        return router, router if same else build(in_force, system.nics, state)


def _undone(call: Call, system: System, state: VrrpState, in_force: dict[str, Bag]) -> tuple[Router, ...]:
    """Return the routers of transactions that were given up; one that cannot be built was never applied."""
    found = []
    try:
        for bags in call.store.undone(in_force):
            with suppress(DropError):
                found.append(build(bags, system.nics, state))
    except DatabagError as error:
        # The disk has damaged it, and most likely the power was lost: no connection is older than that.
        system.run.log(f"what was given up cannot be read, what came in by it is not cut: {error}")
    return tuple(found)


def run_refuse(call: Call) -> dict[str, Any]:
    """Give the staged databags up and keep the drops as failed, with the reason."""
    with _as_vr_error():
        drops = call.store.resume(call.params["transaction"]).agenda.files
        give_up(call.store, call.params["reason"])
    return {"changed": True, "drops": list(drops)}


def _result(plans: Mapping[str, tuple[Step, ...]], with_diff: bool, databags: Sequence[str] = ()) -> dict[str, Any]:
    """Return the result; a diff only when it is asked for, because rulesets are large."""
    steps = [f"{name}: {step.summary}" for name, found in plans.items() for step in found]
    result = {"changed": bool(steps or databags), "steps": steps[:MAX_STEPS]}
    if not with_diff:
        return result
    diff = [
        {"before_header": name, "after_header": step.summary, "before": step.before, "after": step.after}
        for name, found in plans.items()
        for step in found
    ]
    return {**result, "diff": diff}


def _entry(name: str) -> Callable[[Call], dict[str, Any]]:
    return lambda call: run_service(name, call)


ENTRIES: dict[str, Callable[[Call], dict[str, Any]]] = {
    "vr_plan": run_plan,
    "vr_refuse": run_refuse,
    **{f"vr_{name}": _entry(name) for name in SERVICES},
}
SPECS: dict[str, dict[str, Any]] = {
    "vr_plan": PLAN_SPEC,
    "vr_refuse": REFUSE_SPEC,
    **{f"vr_{name}": TRANSACTION for name in SERVICES},
}
