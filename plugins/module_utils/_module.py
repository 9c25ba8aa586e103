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
            if lease:
                store.note(call.phases, system.run.count)
        except BaseException as error:
            if lease and call.params["state"] == "staged":
                if along:
                    _judge_nobody(call, along, str(error))
                else:
                    _refuse(call, error, started, system.run.count)
            raise
    return _result(plans, call.diff) | {
        "transaction": lease,
        "services": [name for name, steps in plans.items() if steps],
        "drops": list(delivery.drops),
        "along": list(along),
        "kind": router.settings.kind.value,
        "pending": list(router.pending),
        "router_warnings": list(router.warnings),
        "started": started,
    }


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


def _refuse(call: Call, error: BaseException, started: float, commands: int) -> None:
    """Keep the refused drops with the reason, and let the next converge in."""
    store = call.store
    reason = " ".join(str(error).split()) or type(error).__name__
    try:
        store.discard()
        names = _names(call.params, expected_drops(store, call.params["drops"]))
        _record(call, names, started, reason, commands)
    finally:
        store.end()


def _judge_nobody(call: Call, along: Sequence[str], reason: str) -> None:
    """Leave all drops where they are: whose fault it was is seen when each is converged alone."""
    try:
        call.store.discard()
        write_log(f"failed with {', '.join(along)} taken along, each is converged alone: {' '.join(reason.split())}")
    finally:
        call.store.end()


def run_commit(call: Call) -> dict[str, Any]:
    """Make the staged databags the ones in force, or, with a reason, keep the drops as failed."""
    store, params = call.store, call.params
    with _as_vr_error():
        store.resume(params["transaction"])
        names = [*_names(params, params["drops"]), *params["along"]]
        if params["reason"] and params["along"]:
            _judge_nobody(call, params["along"], params["reason"])
            return {"changed": False, "databags": []}
        if params["reason"]:
            try:
                store.discard()
                _record(call, names, params["started"], params["reason"])
            finally:
                store.end()
            return {"changed": False, "databags": []}
        # If this fails the transaction goes on: the play puts the previous state back in it.
        with call.phases.time("commit"):
            if params["keep"]:
                for name in names:
                    store.copy_drop(name)
            databags = store.commit()
        _record(call, names, params["started"], None)
        store.end()
    return {"changed": bool(databags), "databags": databags}


def _names(params: Mapping[str, Any], drops: list[str]) -> list[str]:
    """Return the files of the inbox that a converge is about: the drops, and the aggregate they may come in."""
    aggregate = params["aggregate"]
    return [*drops, *([aggregate.rsplit("/", 1)[-1]] if aggregate else [])]


def _record(call: Call, names: list[str], started: float, reason: str | None, commands: int = 0) -> None:
    """Take the drops from the inbox, and write the record that the management server's commands read.

    What this task has spent itself is in `call.phases` and `commands`, what those before it have is in the lease.
    """
    params, store = call.params, call.store
    with call.phases.time("commit"):
        for name in names:
            if reason is None:
                store.remove_drop(name)
            else:
                store.fail(name, _about(name, reason))
    noted = store.noted()
    phases, commands = noted.phases.plus(call.phases), noted.commands + commands
    record = {
        "rc": 0 if reason is None else 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "duration": round(time.time() - started, 3),
        "phases": {name: round(seconds, 4) for name, seconds in phases.items()},
        "commands": commands,
        "drops": len(names),
        **{key: params.get(key) or [] for key in ("changed", "pending", "warnings")},
    }
    for name in names or ["converge"]:
        why = None if reason is None else _about(name, reason)
        store.write_result(name, {"name": name, "reason": why, **record})
        result = f"failed: {reason}" if reason else "done"
        write_log(f"{name}: {result} in {record['duration']:.3f} s, {commands} commands: {phases}")


def _about(name: str, reason: str) -> str:
    """Return a reason that begins with the name of its drop: what a daemon says about its own files names none.

    A service that refuses knows the kind of drop, `load_balancer.json`, but not its file.
    """
    named, _colon, rest = reason.partition(": ")
    return f"{name}: {rest if rest and name.startswith(named) else reason}"


def _result(plans: Mapping[str, tuple[Step, ...]], with_diff: bool) -> dict[str, Any]:
    """Return the result; a diff only when it is asked for, because rulesets are large."""
    steps = [f"{name}: {step.summary}" for name, found in plans.items() for step in found]
    result = {"changed": bool(steps), "steps": steps[:MAX_STEPS]}
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
