# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read and write the passwords that wait for their VMs."""

from __future__ import annotations

import os
import pwd

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.files import sync_directory
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.passwords import (
    CONSUMED,
    STATE,
    USER,
    WAITING,
    StorePasswords,
)


def names(folder: str, state: str = STATE) -> list[str]:
    """Return the file names of one of the two folders."""
    try:
        return os.listdir(f"{state}/{folder}")
    except FileNotFoundError:
        return []


def store(step: StorePasswords, state: str = STATE, user: str = USER) -> None:
    """Write the new passwords, then remove the old: at no moment is a VM told that there is none.

    Not after a power cut either: the new ones are on the disk, with their names, before an old one goes.
    """
    owner = pwd.getpwnam(user)
    for folder in (state, f"{state}/{WAITING}", f"{state}/{CONSUMED}"):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    for name, password in step.passwords:
        draft = f"{state}/{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(password.encode())
            os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
            os.fchmod(file.fileno(), 0o600)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, f"{state}/{WAITING}/{name}")
    if step.passwords:
        sync_directory(f"{state}/{WAITING}")
    for name in step.gone:
        _forget(f"{state}/{name}")


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return  # A VM said that it has its password, and the daemon moved it, since the plan was made.
