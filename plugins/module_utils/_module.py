# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules do, whether Ansible runs them on the router or in its own process.

Each entry takes checked parameters and returns a result in Ansible's shape. Errors are VrError, with one line for the
operator; everything else that is raised is a bug.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    JUDGED_BY_HISTORY,
    SERVICES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.system import System, write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    DropError,
    TransactionError,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._ingest import Delivery, deliver, expected_drops
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._outcome import (
    Outcome,
    commit,
    judge_nobody,
    names_of,
    refuse,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._phases import Phases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.tables import TableError

MAX_TRANSITIONS = 5
"""How many elections one service may meet before it gives up."""
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
COMMIT_SPEC: dict[str, Any] = {
    "transaction": {"type": "str", "required": True},
    "drops": {"type": "list", "elements": "str", "default": []},
    "along": {"type": "list", "elements": "str", "default": []},
    "aggregate": {"type": "path"},
    "keep": {"type": "bool", "default": True},
    "reason": {"type": "str"},
    "started": {"type": "float", "default": 0.0},
    "changed": {"type": "list", "elements": "str", "default": []},
    "warnings": {"type": "list", "elements": "str", "default": []},
    "pending": {"type": "list", "elements": "str", "default": []},
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
    """Bring one service to what the (staged) databags say; in check mode, say what would change."""
    with _as_vr_error(), _transaction(call):
        system = call.system()
        try:
            steps = _converge(name, call, system)
        finally:
            if not call.check_mode:
                call.store.note(call.phases, system.run.count)
    if steps and not call.check_mode:
        write_log(f"{name}: {len(steps)} steps, {system.run.count} commands: {call.phases}")
    return _result({name: steps}, call.diff) | {"phases": call.phases.of(name), "commands": system.run.count}


def _converge(name: str, call: Call, system: System) -> tuple[Step, ...]:
    """Plan or converge a service; once more when VRRP changed what the router must be meanwhile."""
    step = converge.plan if call.check_mode else converge.converge
    for _change in range(MAX_TRANSITIONS):
        state = system.vrrp_state
        with call.phases.time("ingest"):
            in_force = call.store.load() if name in JUDGED_BY_HISTORY else None
            bags = call.store.load_staged(in_force)
        router, committed = _routers(system, state, bags, bags if in_force is None else in_force)
        try:
            steps = step(name, system, router, committed)
        except (CommandError, converge.VerifyError, TableError, OSError):
            if system.vrrp_state is state:
                raise
        else:
            if system.vrrp_state is state or not router.settings.redundant:
                return steps
        system.forget()
    raise VrError(f"{name}: this router changed between primary and backup {MAX_TRANSITIONS} times meanwhile")


@contextmanager
def _transaction(call: Call) -> Iterator[None]:
    """Join the play's transaction, or hold one of its own when the module is called by itself."""
    given = call.params.get("transaction")
    if call.check_mode:
        yield
    elif given:
        call.store.resume(given)
        yield
    else:
        call.store.begin("module", pid=call.owner_pid)
        try:
            yield
        finally:
            call.store.end()


def run_plan(call: Call) -> dict[str, Any]:
    """Take the drops in and plan every service; see the documentation of vr_plan for the result."""
    started = time.time()
    store, system = call.store, call.system()
    lease, along = None, ()
    with _as_vr_error():
        if not call.check_mode:
            lease = _join(call)
        try:
            with call.phases.time("ingest"):
                in_force = store.load()
                delivery = _delivery(call, in_force)
                along = delivery.along
                if lease:
                    store.stage(delivery.bags)
            router, committed = _routers(system, system.vrrp_state, delivery.bags, in_force)
            plans = _plans(system, router, committed)
            databags: list[str] = []
            if lease and (any(plans.values()) or call.params["state"] == "committed"):
                store.note(call.phases, system.run.count)
            elif lease:
                databags, lease = _commit_at_once(call, delivery, router, started, system.run.count), None
        except BaseException as error:
            if lease and call.params["state"] == "staged":
                _refuse(call, along, error, started, system.run.count)
            raise
    return _result(plans, call.diff, databags) | {
        "transaction": lease,
        "services": [name for name, steps in plans.items() if steps],
        "drops": list(delivery.drops),
        "along": list(along),
        "kind": router.settings.kind.value,
        "pending": list(router.pending),
        "router_warnings": list(router.warnings),
        "started": started,
    }


def _commit_at_once(call: Call, delivery: Delivery, router: Router, started: float, commands: int) -> list[str]:
    """Put databags into force that leave every service as it is; return their names."""
    names = names_of((*delivery.drops, *delivery.along), call.params["aggregate"])
    found = {"pending": router.pending, "warnings": router.warnings}
    outcome = Outcome(names, started, commands=commands, phases=call.phases, **found)
    return commit(call.store, outcome, keep=call.params["keep"])


def _join(call: Call) -> str:
    """Begin a transaction, or go on with the given one; the way back starts from the committed databags."""
    given = call.params.get("transaction")
    if given:
        call.store.resume(given)
        call.store.discard()
        return str(given)
    return call.store.begin("playbook", pid=call.owner_pid).id


def _delivery(call: Call, in_force: dict[str, Bag]) -> Delivery:
    if call.params["state"] == "committed":
        return Delivery(in_force, ())
    params = call.params
    return deliver(call.store, in_force, params["drops"], params["aggregate"], params["along"])


def _routers(system: System, state: VrrpState, bags: dict[str, Bag], in_force: dict[str, Bag]) -> tuple[Router, Router]:
    """Return the router wanted and the one in force: the same object when no databag differs."""
    with system.phases.time("model"):
        router = build(bags, system.nics, state)
        return router, router if bags == in_force else build(in_force, system.nics, state)


def _plans(system: System, router: Router, committed: Router) -> dict[str, tuple[Step, ...]]:
    return {name: converge.plan(name, system, router, committed) for name in SERVICES}


def _refuse(call: Call, along: Sequence[str], error: BaseException, started: float, commands: int) -> None:
    """End the transaction of drops that were refused, or cannot be judged together."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if along:
        judge_nobody(call.store, along, reason)
        return
    names = names_of(expected_drops(call.store, call.params["drops"]), call.params["aggregate"])
    refuse(call.store, Outcome(names, started, commands=commands, phases=call.phases), reason)


def run_commit(call: Call) -> dict[str, Any]:
    """Make the staged databags the ones in force, or, with a reason, keep the drops as failed."""
    store, params, databags = call.store, call.params, list[str]()
    names = names_of((*params["drops"], *params["along"]), params["aggregate"])
    recorded = {key: params[key] for key in ("changed", "pending", "warnings")}
    outcome = Outcome(names, params["started"], phases=call.phases, **recorded)
    with _as_vr_error():
        store.resume(params["transaction"])
        if not params["reason"]:
            databags = commit(store, outcome, keep=params["keep"])
        elif params["along"]:
            judge_nobody(store, params["along"], params["reason"])
        else:
            refuse(store, outcome, params["reason"])
    return {"changed": bool(databags), "databags": databags}


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
    "vr_commit": run_commit,
    **{f"vr_{name}": _entry(name) for name in SERVICES},
}
SPECS: dict[str, dict[str, Any]] = {
    "vr_plan": PLAN_SPEC,
    "vr_commit": COMMIT_SPEC,
    **{f"vr_{name}": TRANSACTION for name in SERVICES},
}
