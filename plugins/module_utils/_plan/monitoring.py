# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health checks: when they run, which is for timers of systemd."""

from __future__ import annotations

from collections.abc import Set

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    File,
    RemoveFile,
    Run,
    Step,
    Wanted,
)

KINDS = ("basic", "advanced")
HEADER = "# Owned by cloudstack.virtual_router (monitoring): do not edit."


def timer(kind: str) -> str:
    """Return the name of the timer of a type of checks."""
    return f"cloudstack-health-{kind}.timer"


def interval_file(kind: str) -> str:
    """Return the file that gives a timer its interval; without it the timer does not start."""
    return f"/etc/systemd/system/{timer(kind)}.d/interval.conf"


def wanted(router: Router) -> Wanted:
    """Return the intervals of the checks that run; a randomised delay keeps the routers of a host apart."""
    minutes = {kind: router.monitoring.interval(kind) for kind in KINDS}
    return Wanted(
        files=tuple(
            File(interval_file(kind), f"{HEADER}\n[Timer]\nOnActiveSec=30s\nOnUnitActiveSec={number}min\n")
            for kind, number in minutes.items()
            if number
        )
    )


def compare(router: Router, live: Live, present: Set[str]) -> list[Step]:
    """Return the steps from the live timers to the wanted ones; `present` are the files that are there.

    A drop that repeats what is known restarts no timer: each refresh would put the next run off.
    """
    target = wanted(router)
    paths = {file.path for file in target.files}
    gone = [kind for kind in KINDS if interval_file(kind) not in paths]
    writes = files.compare(target, live)
    removals = [RemoveFile(interval_file(kind)) for kind in gone if interval_file(kind) in present]
    stops = [timer(kind) for kind in gone if timer(kind) in live.active]
    changed = [step.file.path for step in writes if hasattr(step, "file")]
    starts = [
        timer(kind)
        for kind in KINDS
        if kind not in gone and (interval_file(kind) in changed or timer(kind) not in live.active)
    ]
    found: list[Step] = [*writes, *removals]
    if found:
        found.append(Run(("systemctl", "daemon-reload"), "reload the unit files"))
    if stops:
        found.append(Run(("systemctl", "stop", *stops), f"stop {', '.join(stops)}"))
    if starts:
        found.append(Run(("systemctl", "restart", *starts), f"restart {', '.join(starts)}"))
    return found
