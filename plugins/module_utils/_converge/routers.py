# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the routers that databags describe, as this machine's NICs and VRRP have it now."""

from __future__ import annotations

from contextlib import suppress

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import ABOUT_MACHINES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DatabagError, DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import BAGS, Bag
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState


def routers(host: Host, state: VrrpState, bags: dict[str, Bag], in_force: dict[str, Bag]) -> tuple[Router, Router]:
    """Return the router wanted and the one in force: the same object when they do not differ in what is judged."""
    with host.phases.time("model"):
        router = build(bags, host.nics, state)
        same = all(bags.get(name) == in_force.get(name) for name in BAGS if name not in ABOUT_MACHINES)
        return router, router if same else build(in_force, host.nics, state)


def undone(call: Call, host: Host, state: VrrpState, in_force: dict[str, Bag]) -> tuple[Router, ...]:
    """Return the routers of transactions that were given up; one that cannot be built was never applied."""
    found = []
    try:
        for bags in call.store.undone(in_force):
            with suppress(DropError):
                found.append(build(bags, host.nics, state))
    except DatabagError as error:
        # The disk has damaged it, and most likely the power was lost: no connection is older than that.
        host.run.log(f"what was given up cannot be read, what came in by it is not cut: {error}")
    return tuple(found)
