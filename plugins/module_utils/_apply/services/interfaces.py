# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Links, addresses, routes and policy routing: read the kernel, and plan."""

from __future__ import annotations

import errno
import os

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, network
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.tables import is_open
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import interfaces
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.redundancy import AwaitRelease, relay
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Announce,
    CloseRouter,
    IpBatch,
    Step,
)

LOCKDOWN = "/opt/cloudstack/libexec/lockdown.nft"
"""What a router lets through without a ruleset of its own; the boot unit loads the same."""


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan links, addresses, routes, policy rules and per-NIC kernel settings; VRRP lets go of what leaves first.

    Nothing comes up without a packet filter, and nothing is forwarded: this service is applied before `firewall`.
    """
    wanted = interfaces.wanted(router, os.cpu_count() or 1)
    live = network.observe(host.run)
    released = redundancy.release(host, router)
    gone = [address for step in released if isinstance(step, AwaitRelease) for address in step.addresses]
    changes = interfaces.compare(router, interfaces.without(live, gone))
    pair = relay(router)
    control = tuple(device.name for device in router.by_role(Role.CONTROL))
    return [
        *([CloseRouter(control)] if changes and is_open(host) else []),
        *released,
        *compare(wanted, observe(host, wanted)),
        *compare(pair, observe(host, pair)),
        *changes,
    ]


def _ip_batch(step: IpBatch, host: Host) -> None:
    for line in step.lines:
        host.run.log(f"ip {line}")
    host.run(("ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in step.lines))
    host.forget()


def _announce(step: Announce, host: Host) -> None:
    macs = {nic.name: nic.mac for nic in host.nics}
    network.announce(step.addresses, macs, host.run.log)


def _close_router(step: CloseRouter, host: Host) -> None:
    found = files.read(LOCKDOWN)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), LOCKDOWN)
    control = "".join(f"add element inet {tables.TABLE} control_nics {{ {nic} }}\n" for nic in step.control)
    host.run(("nft", "--file", "-"), stdin=found.content + control)
    host.run.log(step.summary)


SERVICE = Service(
    plan,
    handlers={IpBatch: _ip_batch, Announce: _announce, CloseRouter: _close_router},
    reads_links=True,
    reads_units=False,
)
