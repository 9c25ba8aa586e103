# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""See which TCP sockets the router listens on."""

from __future__ import annotations

import time

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.listeners import (
    AwaitListeners,
    Socket,
    parse,
)

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
WAIT = 5.0
"""How long a daemon may take to open its sockets after it was told to, in seconds."""


def live() -> frozenset[Socket]:
    """Return the sockets that somebody listens on."""
    found: frozenset[Socket] = frozenset()
    for table in TABLES:
        with open(table, encoding="ascii") as lines:
            found |= parse(lines)
    return found


def wait(step: AwaitListeners) -> None:
    """Return as soon as all sockets are there, or when the time is over."""
    deadline = time.monotonic() + WAIT
    while not step.sockets <= live() and time.monotonic() < deadline:
        time.sleep(0.02)
