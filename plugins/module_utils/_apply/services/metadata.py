# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Metadata and passwords: read what is served now, and plan."""

from __future__ import annotations

import os

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import (
    listeners,
    metadata_tree,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import passwords as stored
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import metadata, passwords
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare, together
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.listeners import AwaitListeners, missing
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.metadata import PublishMetadata
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.passwords import StorePasswords
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Step, Wanted


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan the data first and the daemons that serve it after, so that none answers without."""
    web, door = metadata.wanted(router, host.render), passwords.wanted(router)
    live = observe(host, Wanted(files=(*web.files, *door.files), units=(*web.units, *door.units)))
    sockets = listeners.live()
    daemons: list[Step] = []
    waits: list[Step] = []
    for wanted, unit, places in (
        (web, metadata.WEB, metadata.sockets(router)),
        (door, passwords.UNIT, passwords.sockets(router)),
    ):
        steps = compare(wanted, live)
        daemons += steps
        waits += missing(unit, places, sockets, unit in live.active, steps)
    return [*_data(host, router), *metadata.certificate(_has_certificate()), *together(daemons), *waits]


def _data(host: Host, router: Router) -> list[Step]:
    serves = bool(router.service_addresses)
    links = metadata_tree.links()
    vms = host.once("metadata", router, lambda: metadata.vms(router.vm_data if serves else {}))
    waiting, consumed = stored.names(passwords.WAITING), stored.names(passwords.CONSUMED)
    return [
        *metadata.compare(vms, links, metadata_tree.damaged(vms.values(), links)),
        *passwords.compare(router.passwords if serves else {}, waiting, consumed),
    ]


def _has_certificate() -> bool:
    return os.path.exists(metadata.CERTIFICATE) and os.path.exists(metadata.KEY)


def _publish_metadata(step: PublishMetadata, host: Host) -> None:
    metadata_tree.publish(step)
    host.run.log(step.summary)


def _store_passwords(step: StorePasswords, host: Host) -> None:
    stored.store(step)
    host.run.log(step.summary)


def _await_listeners(step: AwaitListeners, _host: Host) -> None:
    listeners.wait(step)


SERVICE = Service(
    plan,
    handlers={
        PublishMetadata: _publish_metadata,
        StorePasswords: _store_passwords,
        AwaitListeners: _await_listeners,
    },
)
