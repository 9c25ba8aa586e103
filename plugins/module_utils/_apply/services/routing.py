# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Routing: read the files of radvd and FRR, and plan."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import advertising, bgp
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import RemoveFile, Step


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan who tells VMs of the router, and who tells peers; one that never had either costs two looks at files."""
    return [*_advertising(host, router), *_bgp(host, router)]


def _advertising(host: Host, router: Router) -> list[Step]:
    present = files.read(advertising.CONFIG)
    if present is None and not advertising.guests(router):
        return []
    wanted = advertising.wanted(router, host.render)
    steps = compare(wanted, observe(host, wanted))
    return steps if wanted.files else [*steps, RemoveFile(advertising.CONFIG)]


def _bgp(host: Host, router: Router) -> list[Step]:
    """Plan FRR; on a router that has never had a peer its files stay those of the package."""
    if not bgp.neighbors(router):
        present = files.read(bgp.CONFIG)
        if present is None or bgp.HEADER not in present.content:
            return []
    wanted = bgp.wanted(router, host.render)
    return compare(wanted, observe(host, wanted))


SERVICE = Service(plan)
