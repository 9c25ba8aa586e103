# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge drops and plan every service: the work of vr_plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.log import about
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, as_vr_error, result
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.drops import Delivery, deliver
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.routers import routers, undone
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.service import CUTS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.transaction import (
    abort,
    begun,
    commit,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step


def run_plan(call: Call) -> dict[str, Any]:
    """Take the drops in and plan every service; see the documentation of vr_plan for the result."""
    store, host = call.store, call.host()
    staged, databags = call.params["state"] == "staged", list[str]()
    with as_vr_error():
        lock = None if call.check_mode else begun(call)
        try:
            delivery, router, plans = _plan(call, host, lock is not None)
            left_out = (f"{name}: taken before the boot arguments, does not fit them" for name in delivery.left_out)
            told = (*left_out, *router.warnings)
            services = tuple(name for name, steps in plans.items() if steps)
            if lock and staged:
                _agree(store, router, services, told)
                if not services:
                    databags, lock = commit(store), None
            elif lock and _cuts(services):
                store.agree(replace(store.lock().agenda, cuts=_cuts(services)))
            elif lock:
                store.forget_undone()
        except BaseException as error:
            if lock and staged:
                abort(store, " ".join(str(error).split()) or type(error).__name__)
            raise
    return result(plans, call.diff, databags) | {
        "transaction": lock,
        "services": list(services),
        "drops": list(delivery.drops),
        "waiting": list(delivery.waiting),
        "kind": router.settings.kind.value,
        "pending": list(router.pending),
        "router_warnings": list(told),
    }


def _plan(call: Call, host: Host, stage: bool) -> tuple[Delivery, Router, dict[str, tuple[Step, ...]]]:
    """Take the drops in, stage them if there is a transaction, and plan."""
    store, state = call.store, host.vrrp_state
    host.read_ahead(links=True, services=True)
    try:
        with call.phases.time("ingest"):
            in_force = store.load()
            delivery = _delivery(call, in_force)
            if stage and delivery.former:
                store.keep_former(delivery.former)
            if stage:
                store.stage(delivery.bags)
        router, committed = routers(host, state, delivery.bags, in_force)
        host.undone = undone(call, host, state, in_force)
        plans = {name: converge.plan(name, host, router, committed) for name in SERVICES}
        told = tuple(warning for steps in plans.values() for step in steps for warning in step.warnings)
        return delivery, replace(router, warnings=(*router.warnings, *told)), plans
    finally:
        host.run.forget()
        if stage:
            call.note(host)


def _agree(store: Store, router: Router, services: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    """Write down what the rest of the transaction has to do, and what its record is to say."""
    found = {"pending": router.pending, "warnings": warnings}
    store.agree(replace(store.lock().agenda, services=services, left=services, cuts=_cuts(services), **found))


def _cuts(services: tuple[str, ...]) -> tuple[str, ...]:
    """Return which services have to cut what a transaction that was given up has let in: the last one forgets it."""
    return tuple(name for name in services if name in CUTS)


def _delivery(call: Call, in_force: dict[str, Bag]) -> Delivery:
    store, params = call.store, call.params
    if params["state"] == "committed":
        return Delivery(in_force, ())
    delivery = deliver(store, in_force, params["drops"], params["aggregate"], params["waiting"])
    if not call.check_mode:
        # Whatever fails from now on fails with all of them.
        agenda = replace(store.lock().agenda, drops=delivery.drops, waiting=delivery.waiting)
        store.agree(agenda)
        about(drops=agenda.files)
    return delivery
