# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Passwords that wait for their VMs, and the daemon that hands each out until its VM says that it has it.

A password that waits is the file `waiting/<address>,<digest>`. The VM's word renames it into `consumed/`, emptied: what
was handed out once stays so over restarts and reboots, though the databag still holds it (C14).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    Step,
    Unit,
    Wanted,
)

STATE = "/var/lib/cloudstack-passwords"
WAITING, CONSUMED = "waiting", "consumed"
LISTEN = "/etc/cloudstack-passwords/listen"
HEADER = "# Owned by cloudstack.virtual_router (metadata): do not edit."
UNIT = USER = "cloudstack-passwords"
PORT = 8080


@dataclass(frozen=True, slots=True)
class StorePasswords(Step):
    """Let passwords wait, each by its file name, and remove files; no password is ever shown (M2)."""

    passwords: tuple[tuple[str, str], ...] = field(repr=False)
    gone: tuple[str, ...]

    @property
    def summary(self) -> str:
        addresses = ", ".join(name.partition(",")[0] for name, _password in self.passwords)
        parts = [f"store a password for {addresses}" if addresses else ""]
        parts += [f"remove {len(self.gone)} that are replaced or without a VM" if self.gone else ""]
        return ", ".join(part for part in parts if part)


def file_name(address: str, password: str) -> str:
    """Return the name under which a password waits: equal names are equal passwords of one VM."""
    digest = hashlib.sha256(f"{address}\0{password}".encode()).hexdigest()
    return f"{address},{digest}"


def compare(wanted: Mapping[str, str], waiting: Iterable[str], consumed: Iterable[str]) -> list[Step]:
    """Return the step from the files that are there to the passwords of the databag that nobody has fetched yet."""
    names = {file_name(address, password): password for address, password in wanted.items()}
    there, done = set(waiting), set(consumed)
    new = tuple((name, password) for name, password in names.items() if name not in there and name not in done)
    gone = [f"{WAITING}/{name}" for name in sorted(there) if name not in names or name in done]
    gone += [f"{CONSUMED}/{name}" for name in sorted(done) if name not in names]
    return [StorePasswords(new, tuple(gone))] if new or gone else []


def wanted(router: Router) -> Wanted:
    """Return where the daemon listens, and that it runs where VMs are served."""
    listen = router.service_addresses
    link = router.pair_link
    pair = [] if link is None else [f"{link.own} pair"]
    content = "".join(f"{line}\n" for line in (HEADER, *(_place(router, ip) for ip in listen), *pair))
    return Wanted(
        files=(File(LISTEN, content, effect=Effect.RELOAD),),
        units=(Unit(UNIT, running=bool(listen)),),
    )


def _place(router: Router, ip: str) -> str:
    """Return a line of the list: an address to listen on, and whether VRRP moves it."""
    return f"{ip} shared" if any(str(virtual.interface.ip) == ip for virtual in router.virtual_addresses) else ip


def sockets(router: Router) -> frozenset[tuple[str, int]]:
    """Return the addresses and ports that the daemon listens on."""
    return frozenset((ip, PORT) for ip in router.service_addresses)
