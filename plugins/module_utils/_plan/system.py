# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The router as a host: its name, resolvers, management access and housekeeping."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    RemoveFile,
    Run,
    SetRootPassword,
    Step,
    Unit,
    Wanted,
    WriteFile,
)

HEADER = "# Owned by cloudstack.virtual_router (system): do not edit."
TIMER_FILE = "/etc/systemd/system/logrotate.timer.d/cloudstack.conf"
PASSWORD_MARK = "/var/lib/cloudstack/root-password.digest"
SHADOW = "/etc/shadow"


@dataclass(frozen=True, slots=True)
class Given:
    """What the hypervisor's agent and the system have left: SSH keys, and root's line of /etc/shadow."""

    ssh_keys: tuple[str, ...] = ()
    root_shadow: str = ""
    password_mark: str = ""


def wanted(router: Router, render: Callable[..., str], given: Given) -> Wanted:
    """Return the files of the host; nothing is listened on before the control address is known."""
    settings = router.settings
    control = [str(a.ip) for device in router.by_role(Role.CONTROL) for a in device.addresses]
    keys = dict.fromkeys((*settings.ssh_keys, *given.ssh_keys))
    sshd = render("sshd/cloudstack.conf.j2", header=HEADER, addresses=control)
    own = [str(a.ip) for device in router.by_role(Role.GUEST) for a in device.addresses[:1]]
    files = [
        File("/etc/hostname", f"{settings.name}\n"),
        File("/etc/hosts", render("system/hosts.j2", header=HEADER, name=settings.name, addresses=own)),
        File("/etc/resolv.conf", _resolvers(router, render)),
        File("/root/.ssh/authorized_keys", "".join(f"{key}\n" for key in keys), mode=0o600),
        File("/etc/ssh/sshd_config.d/cloudstack.conf", sshd, effect=Effect.RELOAD),
    ]
    return Wanted(
        files=tuple(files),
        knobs=(("/proc/sys/kernel/hostname", settings.name),),
        units=(Unit("ssh", running=bool(control)),),
    )


def _resolvers(router: Router, render: Callable[..., str]) -> str:
    """Return resolv.conf; what only IPv6 reaches is left out where there is none, as each try costs seconds."""
    six = router.settings.resolvers6 if router.with_ipv6() else ()
    return render("system/resolv.conf.j2", header=HEADER, settings=router.settings, resolvers6=six)


def timer(router: Router) -> Wanted:
    """Return when logs are rotated: `logrotatefrequency` is a calendar expression of systemd.time(7)."""
    calendar = router.settings.logrotate_calendar
    if calendar is None:
        return Wanted()
    text = f"{HEADER}\n[Timer]\nOnCalendar=\nOnCalendar={calendar}\n"
    return Wanted(files=(File(TIMER_FILE, text),))


def timer_steps(router: Router, changes: Sequence[Step], *, present: bool) -> list[Step]:
    """Return what makes systemd take a changed timer; one that nobody wants any more goes (`present`: it is there)."""
    removed = [RemoveFile(TIMER_FILE)] if present and router.settings.logrotate_calendar is None else []
    if not removed and not any(isinstance(step, WriteFile) and step.file.path == TIMER_FILE for step in changes):
        return []
    reload_units = Run(("systemctl", "daemon-reload"), "reload the unit files")
    return [*removed, reload_units, Run(("systemctl", "restart", "logrotate.timer"), "restart logrotate.timer")]


def password_steps(router: Router, given: Given) -> list[Step]:
    """Return the change of root's password, if the one in place is not the one that was given.

    The mark is a digest over the password and the hash it became, so that both a new password and a changed hash are
    seen without trying the password each time.
    """
    password = router.settings.root_password
    if password is None or given.password_mark == password_mark(password, given.root_shadow):
        return []
    return [SetRootPassword(password)]


def password_mark(password: str, root_shadow: str) -> str:
    """Return the digest that stands for a password in place."""
    return hashlib.sha256(f"{root_shadow}\0{password}".encode()).hexdigest()
