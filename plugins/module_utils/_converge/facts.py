# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell what the databags in force say of a router, as facts; there is no secret among them."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, as_vr_error
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rows import TOPICS, tables

FACTS_SPEC: dict[str, Any] = {
    "gather_subset": {"type": "list", "elements": "str", "choices": ["all", *TOPICS], "default": ["all"]},
}


def run_facts(call: Call) -> dict[str, Any]:
    """Return the tables that are asked for, by topic. Nothing on the router changes, and no converge is waited for."""
    asked = set(call.params["gather_subset"])
    with as_vr_error():
        host = call.host()
        router = build(call.store.load(), host.nics, host.vrrp_state)
        found = tables(router)
    chosen = {topic: rows for topic, rows in found.items() if "all" in asked or topic in asked}
    return {"changed": False, "ansible_facts": {"cloudstack_router": chosen}}
