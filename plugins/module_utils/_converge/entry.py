# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The entry of each module, whether Ansible runs it on the router or in its own process.

Each takes checked parameters and returns a result in Ansible's shape. Errors are VrError, with one line for the
operator; everything else that is raised is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, as_vr_error
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.facts import FACTS_SPEC, run_facts
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.plan import run_plan
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.service import run_service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.transaction import abort

TRANSACTION = {"transaction": {"type": "str"}}
PLAN_SPEC: dict[str, Any] = {
    **TRANSACTION,
    "drops": {"type": "list", "elements": "str", "default": []},
    "waiting": {"type": "list", "elements": "str", "default": []},
    "aggregate": {"type": "path"},
    "keep": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["staged", "committed"], "default": "staged"},
}
ABORT_SPEC: dict[str, Any] = {
    "transaction": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
}


def run_abort(call: Call) -> dict[str, Any]:
    """Give the staged databags up and keep the drops as failed, with the reason."""
    with as_vr_error():
        drops = call.store.resume(call.params["transaction"]).agenda.files
        abort(call.store, call.params["reason"])
    return {"changed": True, "drops": list(drops)}


def _entry(name: str) -> Callable[[Call], dict[str, Any]]:
    return lambda call: run_service(name, call)


ENTRIES: dict[str, Callable[[Call], dict[str, Any]]] = {
    "vr_plan": run_plan,
    "vr_abort": run_abort,
    "vr_facts": run_facts,
    **{f"vr_{name}": _entry(name) for name in SERVICES},
}
SPECS: dict[str, dict[str, Any]] = {
    "vr_plan": PLAN_SPEC,
    "vr_abort": ABORT_SPEC,
    "vr_facts": FACTS_SPEC,
    **{f"vr_{name}": TRANSACTION for name in SERVICES},
}
