# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service is: one record each, put together in services/__init__.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

Planner = Callable[[Host, Router, Router], list[Step]]
"""What is live, the router wanted and the router of the databags in force, to the steps that are missing."""
Handler = Callable[[Any, Host], None]
"""Carries out a step of one class, or lets a daemon judge it beforehand."""


@dataclass(frozen=True)
class Service:
    """A service: how it is planned, and how steps are checked and carried out that no other service has.

    Everything else (verify, diff, check mode) is the same for all of them. `judges_history`: it looks at the router
    of the databags in force, which is the wanted one for the others. `reads_links`, `reads_units`: what is listed
    ahead for it, while the databags are read.
    """

    plan: Planner
    handlers: Mapping[type[Step], Handler] = field(default_factory=dict)
    checks: Mapping[type[Step], Handler] = field(default_factory=dict)
    judges_history: bool = False
    reads_links: bool = False
    reads_units: bool = True
