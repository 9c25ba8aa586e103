# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can happen to one router of a pair, as blocks: it happens at the beginning, and is over at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.lab.process import run, wait_for
from tests.lab.router import Router
from tests.scenarios.pair import OWN, Pair


@contextmanager
def kill(pair: Pair, router: Router) -> Iterator[None]:
    """Kill keepalived with all its processes; systemd starts it again."""
    router.exec("pkill", "-KILL", "keepalived")
    yield


@contextmanager
def hand_over(pair: Pair, router: Router) -> Iterator[None]:
    """Stop the elector in good order, as before a reboot."""
    router.exec("systemctl", "stop", "keepalived")
    yield
    router.exec("systemctl", "start", "keepalived")


@contextmanager
def cut(pair: Pair, router: Router, *nics: str) -> Iterator[None]:
    """Cut cables."""
    for nic in nics:
        pair.cable(router, nic, plugged=False)
    try:
        yield
    finally:
        for nic in nics:
            pair.cable(router, nic, plugged=True)


@contextmanager
def power_off(pair: Pair, router: Router) -> Iterator[None]:
    """Take the power away, then boot."""
    router.power_off()
    yield
    router.start()
    router.wait_boot()


@contextmanager
def frozen(pair: Pair, router: Router) -> Iterator[None]:
    """Stop every process of the primary, as a live migration does, right after it was heard: VRRP counts from there."""
    wait_for(lambda: _last_heard(pair, router) < 0.15, 4 * pair.interval + 10, "an advertisement just come")
    freeze(pair, router, frozen=True)
    try:
        yield
    finally:
        freeze(pair, router, frozen=False)


def freeze(pair: Pair, router: Router, *, frozen: bool) -> None:
    """Stop or continue all processes at once (cgroup v2, cgroup.freeze); podman takes its time for the same."""
    with open(f"/proc/{router.pid}/cgroup", encoding="ascii") as file:
        scope = next(line.strip().removeprefix("0::") for line in file if line.startswith("0::"))
    group = f"/sys/fs/cgroup{scope.removesuffix('/init.scope')}/cgroup.freeze"
    run(*pair.lab.podman.enter, "tee", group, stdin=str(int(frozen)))


def _last_heard(pair: Pair, router: Router) -> float:
    """Return the seconds since the other router heard an advertisement of this one, by its kernel's set."""
    other = next(found for found in pair.routers.values() if found is not router)
    shown = other.exec("nft", "list", "set", "inet", "cloudstack_pair", "primaries").stdout
    memory = re.search(r"timeout (\w+)", shown)
    left = re.search(rf"{OWN[router.name]} expires (\w+)", shown)
    return _seconds(memory[1]) - _seconds(left[1]) if memory and left else float("inf")


def _seconds(text: str) -> float:
    """Read nft's notation of a time below a minute, such as 3s120ms."""
    found = re.fullmatch(r"(?:(\d+)s)?(?:(\d+)ms)?", text)
    assert found is not None, text
    return int(found[1] or 0) + int(found[2] or 0) / 1000


FAILURES: dict[str, tuple[Callable[[Pair, Router], AbstractContextManager[None]], float | None]] = {
    "planned handover": (hand_over, 0.1),
    "keepalived killed": (kill, None),
    "guest cable cut": (lambda pair, router: cut(pair, router, "eth0"), None),
    "guest and public cables cut": (lambda pair, router: cut(pair, router, "eth0", "eth2", "eth3"), None),
    "power lost": (power_off, None),
}
"""What happens to the primary, and the longest gap allowed in seconds (None: that of an election)."""
