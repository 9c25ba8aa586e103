# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Converge one service: plan, check, apply, verify. Every service takes this one way."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import execute
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    CHECKS,
    HANDLERS,
    SERVICES,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step


class VerifyError(Exception):
    """What was applied is not what the router has now."""


def plan(name: str, host: Host, router: Router, committed: Router) -> tuple[Step, ...]:
    """Return the steps from what is live to what the router shall be; changes nothing."""
    with host.phases.time(f"{name}.plan"):
        return tuple(SERVICES[name].plan(host, router, committed))


def converge(name: str, host: Host, router: Router, committed: Router) -> tuple[Step, ...]:
    """Bring the service to its wanted state, read it back, and return the steps that it took.

    `committed` is the router of the databags in force: what it admitted and `router` does not is cut.
    Raises CommandError when a daemon refuses, VerifyError when the router is not as planned afterwards.
    """
    steps = plan(name, host, router, committed)
    if steps:
        with host.phases.time(f"{name}.check"):
            execute.check(steps, host, CHECKS)
        with host.phases.time(f"{name}.apply"):
            execute.apply(steps, host, HANDLERS)
        with host.phases.time(f"{name}.verify"):
            _verify(name, host, router, committed)
    return steps


def _verify(name: str, host: Host, router: Router, committed: Router) -> None:
    """Plan again: what is left over was not applied, or did not stay (B3)."""
    left = [step for step in SERVICES[name].plan(host, router, committed) if not step.moot_at_verify]
    if left:
        raise VerifyError(f"{name}: not as planned after it was applied: " + "; ".join(s.summary for s in left[:5]))
