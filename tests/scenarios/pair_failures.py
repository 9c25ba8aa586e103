# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can happen to one router of a pair, as blocks: it happens at the beginning, and is over at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path

from tests.lab.host import Host
from tests.lab.probes import Answer
from tests.lab.process import LabError, wait_for
from tests.lab.router import Router
from tests.scenarios.pair import Pair


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


class Watch:
    """What is advertised on the guest segment, as a VM hears it: `sender`, `priority`, `time` (monotonic, seconds)."""

    def __init__(self, host: Host) -> None:
        """Begin to listen on a host."""
        self._probe = host.probe
        self._handle = self._probe.call("vrrp_watch")["handle"]

    @property
    def seen(self) -> list[Answer]:
        """Return all advertisements so far."""
        seen: list[Answer] = self._probe.call("watched", handle=self._handle)["seen"]
        return seen

    @property
    def silence(self) -> float:
        """Return the longest time between two of them, in seconds."""
        times = [each["time"] for each in self.seen]
        return max(after - before for before, after in pairwise(times))

    def stop(self) -> None:
        """Listen no more."""
        self._probe.call("watch_stop", handle=self._handle)


@contextmanager
def advertisements(pair: Pair) -> Iterator[Watch]:
    """Watch the election of the pair."""
    watch = Watch(pair.vms["db"])
    try:
        yield watch
    finally:
        watch.stop()


@contextmanager
def frozen(router: Router, watch: Watch) -> Iterator[None]:
    """Stop every process of the primary, as a live migration does, just before it advertises: the worst moment."""
    wait_for(lambda: len(watch.seen) > 1, 60, "advertisements")
    _freeze_late(router, watch)
    try:
        yield
    finally:
        freeze(router, frozen=False)


def _freeze_late(router: Router, watch: Watch) -> None:
    """Freeze when at least half of the pause after an advertisement has passed; the next one may always be faster."""
    for _ in range(100):
        *_, before, last = (each["time"] for each in watch.seen)
        due = last + (last - before)
        time.sleep(max(due - 0.15 * (last - before) - time.monotonic(), 0))
        freeze(router, frozen=True)
        stopped = time.monotonic()
        if watch.seen[-1]["time"] == last and stopped - last > (last - before) / 2:
            return
        freeze(router, frozen=False)
        time.sleep(last - before)
    raise LabError(f"{router.name}: no freeze just before an advertisement")


def freeze(router: Router, *, frozen: bool) -> None:
    """Stop or continue all processes at once (cgroup v2, cgroup.freeze); podman takes its time for the same."""
    Path(f"/proc/{router.pid}/root/sys/fs/cgroup/cgroup.freeze").write_text(str(int(frozen)), encoding="ascii")


FAILURES: dict[str, tuple[Callable[[Pair, Router], AbstractContextManager[None]], float | None]] = {
    "planned handover": (hand_over, 0.1),
    "keepalived killed": (kill, None),
    "guest cable cut": (lambda pair, router: cut(pair, router, "eth0"), None),
    "guest and public cables cut": (lambda pair, router: cut(pair, router, "eth0", "eth2", "eth3"), None),
    "power lost": (power_off, None),
}
"""What happens to the primary, and the longest gap allowed in seconds (None: that of an election)."""
