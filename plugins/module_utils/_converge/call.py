# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of a module: its parameters, and how its errors and its result are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.converge import VerifyError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
    DatabagError,
    DropError,
    TransactionError,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.phases import Phases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.tables import TableError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step

MAX_STEPS = 50
"""How many steps a result names; the log has all of them."""


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

    def host(self) -> Host:
        """Return the router; in check mode nothing is written to its log either."""
        host = Host(self.render, phases=self.phases)
        if self.check_mode:
            host.run.log = lambda _line: None
        return host

    def note(self, host: Host) -> None:
        """Note what this task has spent: a record may go without it, so a full disk does not matter."""
        with suppress(OSError):
            self.store.note(self.phases, host.run.count)


@contextmanager
def as_vr_error() -> Iterator[None]:
    """Raise what one line explains as VrError."""
    try:
        yield
    except (
        DropError,
        RefusedError,
        DatabagError,
        TransactionError,
        CommandError,
        VerifyError,
        TableError,
        OSError,
    ) as error:
        raise VrError(" ".join(str(error).split())) from error


def result(plans: Mapping[str, tuple[Step, ...]], with_diff: bool, databags: Sequence[str] = ()) -> dict[str, Any]:
    """Return the result; a diff only when it is asked for, because rulesets are large."""
    steps = [f"{name}: {step.summary}" for name, found in plans.items() for step in found]
    told = {"changed": bool(steps or databags), "steps": steps[:MAX_STEPS]}
    if not with_diff:
        return told
    diff = [
        {"before_header": name, "after_header": step.summary, "before": step.before, "after": step.after}
        for name, found in plans.items()
        for step in found
    ]
    return {**told, "diff": diff}
