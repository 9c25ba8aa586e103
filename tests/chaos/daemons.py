# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let the programs that a converge relies on refuse, or never answer."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab.process import LabError
from tests.lab.router import Router
from tests.scenarios import drops, states
from tests.scenarios.balancer import Balancer, Rule

HANG = None
"""In place of a message: the program sleeps for longer than anybody waits."""


@contextmanager
def failing(
    router: Router, program: str, call: str, message: str | None, *, after: int = 0, times: int = 1
) -> Iterator[None]:
    """Let a program of the router fail calls that look like this: the first `after` pass, the next `times` fail."""
    # A copy per use: the last one may still run.
    base = f"/usr/local/lib/{uuid.uuid4()}"
    count, real, wrapper = f"{base}.count", f"{base}.real", f"{base}.wrapper"
    failure = "exec sleep 600" if message is HANG else f'echo "{message}" >&2; exit 2'
    script = (
        f'#!/bin/sh\ncase "$*" in {call})\n seen=$(cat {count}); echo $((seen + 1)) > {count}\n'
        f' if [ "$seen" -ge {after} ] && [ "$seen" -lt {after + times} ]; then {failure}; fi;;\n'
        f'esac\nexec {real} "$@"\n'
    )
    router.put(wrapper, script, 0o755)
    router.put(count, "0\n", 0o666)
    router.shell(f"cp {program} {real} && mount --bind {wrapper} {program}")
    try:
        yield
    finally:
        router.exec("umount", "--lazy", program)


BROKEN: dict[str, tuple[str, str, str | None]] = {
    "nft refuses the rules": ("/usr/sbin/nft", "--file*", "Error: Could not process rule"),
    "nft hangs": ("/usr/sbin/nft", "--file*", HANG),
    "ip is not permitted": ("/usr/sbin/ip", "-batch*", "RTNETLINK answers: Not permitted"),
    "dnsmasq refuses its file": ("/usr/sbin/dnsmasq", "--test*", "dnsmasq: bad option at line 7"),
    "dnsmasq does not start": ("/usr/sbin/dnsmasq", "*-k*", "dnsmasq: failed to create socket"),
    "haproxy hangs on its check": ("/usr/sbin/haproxy", "-c*", HANG),
    "haproxy does not start": ("/usr/sbin/haproxy", "*-Ws*", "[ALERT] (1) : cannot bind socket"),
}
"""Which call of which program fails, as words of a shell's `case`, and what it says."""


@dataclass
class Tally:
    """What came of the failures; `problems` says what should not have been."""

    sent: int = 0
    refused: int = 0
    changed: int = 0
    stuck: int = 0
    problems: list[str] = field(default_factory=list)


def campaign(router: Router) -> Iterator[Tally]:
    """Change every service while one program is broken: the previous state comes back, with nobody's help."""
    tally = Tally()
    balancer = Balancer(router, [Rule("192.0.2.20", 8088, machines=("10.7.0.11:80",))])
    changes = (
        drops.alias("10.7.77.1", 2),
        drops.ingress(701, "192.0.2.20", ports=(7, 7)),
        drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"),
        json.loads(json.dumps(balancer.body())),
    )
    before = (states.state(router), states.databags(router))
    for what, (program, call, message) in BROKEN.items():
        tally.sent += 1
        started = time.monotonic()
        try:
            with failing(router, program, call, message):
                answer = states.change(router, *changes, check=False)
            tally.refused += answer.returncode == 1 and answer.stderr.count("\n") == 1
            if answer.returncode != 1 or answer.stderr.count("\n") != 1:
                tally.problems.append(f"{what}: {answer}")
            if (states.state(router), states.databags(router)) != before:
                tally.changed += 1
                tally.problems.append(f"{what}: the router is another, {time.monotonic() - started:.0f} s later")
            if repaired := states.repaired(router):
                tally.problems.append(f"{what}: {repaired} had to be repaired")
        except LabError as error:
            tally.stuck += 1
            tally.problems.append(f"{what}: {error}")
        yield tally
