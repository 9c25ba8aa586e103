# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Know which NICs are plugged in; apart from network.py, so that a command that asks no more starts at once."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic

NAME = re.compile(r"eth\d+")
SYSFS = "/sys/class/net"


def nics(root: str = SYSFS) -> list[Nic]:
    """Return the NICs (ethN) that are plugged in, from sysfs: a look at files, where ip(8) would be a process."""
    found = []
    for name in sorted(filter(NAME.fullmatch, os.listdir(root))):
        # One that is being unplugged is gone.
        with suppress(FileNotFoundError), open(f"{root}/{name}/address", encoding="ascii") as file:
            found.append(Nic(name, file.read().strip()))
    return found
