# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The router as a module call sees it: how to run, render and log, and what was read from it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import network, redundancy, units
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.generation import Transactions
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.log import write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.nics import nics
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.phases import Phases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic, Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer

Made = TypeVar("Made")


@dataclass
class Host:
    """What every service gets to work with."""

    render: Renderer
    run: Runner = field(default_factory=lambda: Runner(log=write_log))
    phases: Phases = field(default_factory=Phases)
    transactions: Transactions = field(default_factory=Transactions, init=False)
    undone: tuple[Router, ...] = field(default=(), init=False)
    """What may have been in force for a while, and was given up: what came in by it is to be cut."""
    _made: dict[str, tuple[Router, Any]] = field(default_factory=dict, init=False)

    @cached_property
    def nics(self) -> list[Nic]:
        """Return the NICs that are plugged in, read once until `forget`."""
        return nics()

    @cached_property
    def active(self) -> frozenset[str]:
        """Return the names of the services of systemd that are active, read once until `forget`."""
        return units.active(self.run)

    def read_ahead(self, *, links: bool, services: bool) -> None:
        """Have listed what a plan will look at, while this process reads and computes: there may be two cores."""
        if links:
            self.run.ahead(*network.READ)
        if services:
            self.run.ahead(units.LIST)

    @property
    def vrrp_state(self) -> VrrpState:
        """Return what VRRP has made of the router by now; nothing is known before keepalived's first word."""
        return redundancy.read_state(self.run.log)

    def once(self, name: str, router: Router, make: Callable[[], Made]) -> Made:
        """Return what a service of that name makes from a router, made once: verifying plans the same router again."""
        if name not in self._made or self._made[name][0] is not router:
            self._made[name] = (router, make())
        made: Made = self._made[name][1]
        return made

    def start_over(self) -> None:
        """Drop all that is known, also of what was loaded: it may have failed half way."""
        self.forget()
        self.transactions = Transactions()

    def forget(self) -> None:
        """Drop what was read, because it was changed."""
        self.run.forget()
        for name in ("nics", "active"):
            self.__dict__.pop(name, None)
