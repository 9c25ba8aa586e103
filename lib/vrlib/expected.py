# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Know what the databags expect of the router, computed when they have changed, and kept in memory in between."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from vrlib import command as vr

KEPT = "/run/cloudstack/health/expected.json"
LOCK = "/run/cloudstack/health/expected.lock"
STATE = "/run/cloudstack/redundancy/state"
PROBLEMS = "/run/cloudstack/redundancy/problems"
SYSFS = "/sys/class/net"


def expected() -> dict[str, Any]:
    """Return what is expected; see health.py of the collection."""
    key = _key()
    if found := _kept(key):
        return found
    import fcntl

    os.makedirs(os.path.dirname(vr.at(KEPT)), mode=0o700, exist_ok=True)
    with open(vr.at(LOCK), "a", encoding="ascii") as lock:
        # Both timers of the health checks come at the same moment at times: they would take each other's draft away.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found := _kept(key)):
            found = {"key": key, **_computed()}
            vr.write_atomically(vr.at(KEPT), json.dumps(found).encode())
    return found


def _kept(key: list[str]) -> dict[str, Any]:
    """Return what was computed for this state, nothing if it was not: what is damaged is computed anew."""
    try:
        with open(vr.at(KEPT), encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found if found.get("key") == key else {}


def _key() -> list[str]:
    """Tell this state of databags, NICs, VRRP and code from every other."""
    folder, found = vr.at(vr.DATABAGS), []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            status = entry.stat()
            found.append(f"{entry.name} {status.st_mtime_ns} {status.st_size} {status.st_ino}")
    code = os.stat(__file__)
    return [*found, *sorted(os.listdir(vr.at(SYSFS))), state(), f"{code.st_mtime_ns} {code.st_ino}"]


def state() -> str:
    """Return the word that the last transition left."""
    return vr.text(STATE).strip()


def _computed() -> dict[str, Any]:
    made = router(trusted=False)
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.health import expected as plan

    return plan(made)


def store() -> Any:
    """Return what reads databags and drops."""
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Paths, Store

    return Store(Paths(Path(vr.at("/"))))


def router(bags: dict[str, Any] | None = None, *, trusted: bool = True) -> Any:
    """Return the router that databags describe, the committed ones if none are given; vr.CommandError if none does.

    Those of this release need no check, which is quick. Where they are not ``trusted``, or turn out to be somebody
    else's, they are checked as a converge does it.
    """
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.nics import nics
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
        DatabagError,
        DropError,
    )
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import VrrpState

    word = state()
    vrrp = VrrpState(word) if word in VrrpState.__members__ else VrrpState.UNKNOWN
    known = nics(vr.at(SYSFS))
    try:
        if bags is not None:
            return build(bags, known, vrrp)
        if trusted:
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                return build(store().load(checked=True), known, vrrp)
        return build(store().load(), known, vrrp)
    except (DatabagError, DropError) as error:
        raise vr.CommandError(str(error)) from None
