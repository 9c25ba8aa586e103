# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Redundancy: read the daemons' files and units, and plan."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import redundancy as elections
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.redundancy import AwaitRelease
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step, Wanted


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan keepalived, conntrackd and the watchdog."""
    if not _is_paired(router):
        return []
    steps = _compare(host, redundancy.wanted(router, host.render))
    present = [path for path in (redundancy.KEEPALIVED, redundancy.PEERS) if os.path.exists(path)]
    return [*steps, *redundancy.removed(router, present)]


def release(host: Host, router: Router) -> list[Step]:
    """Plan that keepalived lets go of the networks that leave, before their links and addresses are taken away."""
    config = files.read(redundancy.KEEPALIVED) if _is_paired(router) else None
    gone = redundancy.leaving(router, config.content) if config else ()
    if not gone:
        return []
    parts = redundancy.wanted(router, host.render)
    steps = _compare(host, [part for part in parts if any(unit.name == "keepalived" for unit in part.units)])
    return [*steps, redundancy.AwaitRelease(gone)] if steps else []


def _is_paired(router: Router) -> bool:
    """Tell whether the router is one of a pair, or was: all others cost one look at a file."""
    return router.settings.redundant or os.path.exists(redundancy.PAIR)


def _compare(host: Host, parts: Sequence[Wanted]) -> list[Step]:
    """Compare all parts with one look at the system."""
    live = observe(
        host,
        Wanted(
            files=tuple(file for part in parts for file in part.files),
            knobs=tuple(knob for part in parts for knob in part.knobs),
            units=tuple(unit for part in parts for unit in part.units),
        ),
    )
    return [step for part in parts for step in compare(part, live)]


def _await_release(step: AwaitRelease, host: Host) -> None:
    elections.await_release(step.addresses, host.run)
    host.forget()


SERVICE = Service(plan, handlers={AwaitRelease: _await_release})
