# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host itself: read the keys and the password in place, and plan."""

from __future__ import annotations

import os

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.observe import observe
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.shadow import root_shadow
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import system
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File, SetRootPassword, Step

AGENT_KEYS = "/var/cache/cloud/authorized_keys"


def plan(host: Host, router: Router, _committed: Router) -> list[Step]:
    """Plan the host: name, resolvers, SSH, root's password, log rotation."""
    given = _given()
    wanted = system.wanted(router, host.render, given)
    timer = system.timer(router)
    changes = compare(wanted, observe(host, wanted)) + compare(timer, observe(host, timer))
    timed = system.timer_steps(router, changes, present=os.path.exists(system.TIMER_FILE))
    return [*changes, *timed, *system.password_steps(router, given)]


def _given() -> system.Given:
    keys = files.read(AGENT_KEYS)
    mark = files.read(system.PASSWORD_MARK)
    return system.Given(
        ssh_keys=tuple(line.strip() for line in (keys.content if keys else "").splitlines() if line.strip()),
        root_shadow=root_shadow(),
        password_mark=mark.content.strip() if mark else "",
    )


def _set_root_password(step: SetRootPassword, host: Host) -> None:
    host.run(("chpasswd",), stdin=f"root:{step.password}\n")
    mark = system.password_mark(step.password, root_shadow())
    files.replace(File(system.PASSWORD_MARK, f"{mark}\n", mode=0o600))


SERVICE = Service(plan, handlers={SetRootPassword: _set_root_password})
