# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what VRRP has made of this router, and wait for keepalived."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterable

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError, Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import VrrpState

RELEASE_LIMIT = 3.0
"""How long keepalived may take to reread its configuration, in seconds."""

STATE_FILE = "/run/cloudstack/redundancy/state"
"""Written by the transition script; it does not outlive a boot, before the first election nothing is known."""


TRANSITION_LOCK = "/run/cloudstack/redundancy/lock"
"""Held by a transition from before it writes the state until links and routes are as the state says."""

TRANSITION_LIMIT = 5.0
"""How long a transition is waited for, in seconds; the next transition does not wait longer either."""


def read_state(log: Callable[[str], None], path: str = STATE_FILE, lock: str = TRANSITION_LOCK) -> VrrpState:
    """Return the state that the last transition left, at its end; anything but one of its words counts as unknown."""
    if not _transition_ends(lock):
        log(f"a transition has not ended within {TRANSITION_LIMIT:.0f} s: go by the state that it has written")
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            word = file.read().strip()
    except FileNotFoundError:
        return VrrpState.UNKNOWN
    return VrrpState(word) if word in VrrpState.__members__ else VrrpState.UNKNOWN


def _transition_ends(lock: str) -> bool:
    """Wait until no transition is under way: what it changes at that moment would be planned for, and be gone."""
    end = time.monotonic() + TRANSITION_LIMIT
    try:
        with open(lock, encoding="ascii") as file:
            while time.monotonic() < end:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.01)
                else:
                    return True
    except FileNotFoundError:
        return True
    return False


def await_release(addresses: Iterable[tuple[str, str]], run: Runner) -> None:
    """Wait until none of the addresses, pairs of NIC and address, is there; raises CommandError when one stays."""
    wanted, end = set(addresses), time.monotonic() + RELEASE_LIMIT
    while True:
        links = json.loads(run(("ip", "-json", "address")))
        present = {(link["ifname"], info["local"]) for link in links for info in link["addr_info"]}
        left = sorted(wanted & present)
        if not left:
            return
        if time.monotonic() > end:
            held = ", ".join(f"{ip} on {nic}" for nic, ip in left)
            raise CommandError(("systemctl", "reload", "keepalived"), 0, f"keepalived still holds {held}")
        time.sleep(0.02)
