# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Converge one service: plan, check, apply, verify. Every service takes this one way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import execute
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.system import System
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step


class VerifyError(Exception):
    """What was applied is not what the router has now."""


@dataclass(frozen=True)
class Outcome:
    """What a service did: its steps, and the seconds that each phase took."""

    steps: tuple[Step, ...] = ()
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Tell whether the plan was not empty."""
        return bool(self.steps)


def plan(name: str, system: System, router: Router, committed: Router) -> Outcome:
    """Return the steps from what is live to what the router shall be; changes nothing."""
    started = time.monotonic()
    steps = tuple(SERVICES[name](system, router, committed))
    return Outcome(steps, {"plan": time.monotonic() - started})


def converge(name: str, system: System, router: Router, committed: Router) -> Outcome:
    """Bring the service to its wanted state and read it back.

    `committed` is the router of the databags in force: what it admitted and `router` does not is cut.
    Raises CommandError when a daemon refuses, VerifyError when the router is not as planned afterwards.
    """
    outcome = plan(name, system, router, committed)
    if not outcome.changed:
        return outcome
    marks = [time.monotonic()]
    execute.check(outcome.steps, system)
    marks.append(time.monotonic())
    execute.apply(outcome.steps, system)
    marks.append(time.monotonic())
    _verify(name, system, router, committed)
    marks.append(time.monotonic())
    spans = (after - before for before, after in pairwise(marks))
    return Outcome(outcome.steps, outcome.phases | dict(zip(("check", "apply", "verify"), spans, strict=True)))


def _verify(name: str, system: System, router: Router, committed: Router) -> None:
    """Plan again: what is left over was not applied, or did not stay (B3)."""
    left = [step for step in plan(name, system, router, committed).steps if not step.moot_at_verify]
    if left:
        raise VerifyError(f"{name}: not as planned after it was applied: " + "; ".join(s.summary for s in left[:5]))
