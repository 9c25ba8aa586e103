# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure a command on a router once, and say what it cost."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import drops
from tests.lab.router import Router

MEASURE = """
import resource, subprocess, sys, time
started = time.monotonic()
done = subprocess.run(sys.argv[1:], capture_output=True)
spent = time.monotonic() - started
print(spent, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, done.returncode)
print(done.stderr.decode()[-300:])
"""


EMPTY_PLAY = "- hosts: all\n  gather_facts: false\n  tasks: []\n"
PLAYBOOK = "/opt/cloudstack/venv/bin/ansible-playbook"
EMPTY_SECONDS = 0.41
"""What an empty playbook took, cold, on the machine for which the goals were set: it says how fast this machine is."""

HEADER = f"{'what':<52} {'s':>6} {'goal':>5} {'MiB':>5} {'runs':>4}  services changed"


@dataclass(frozen=True)
class Figure:
    """Seconds of wall-clock time, MiB of the largest process, and processes that the services started."""

    what: str
    seconds: float
    memory: int
    commands: int
    phases: str
    goal: float | None = None

    def markdown(self, empty: float) -> str:
        """Return the row of a Markdown table; `empty` is how long an empty playbook takes on this machine."""
        goal = f"{self.goal:.2f}" if self.goal else ""
        scaled = self.seconds * EMPTY_SECONDS / empty
        return f"| {self.what} | {self.seconds:.2f} | {scaled:.2f} | {goal} | {self.memory} | {self.commands} |"

    @property
    def row(self) -> str:
        goal = f"{self.goal:5.2f}" if self.goal else "     "
        return f"{self.what:<52} {self.seconds:6.2f} {goal} {self.memory:5d} {self.commands:4d}  {self.phases}"


def measure(router: Router, what: str, *command: str, goal: float | None = None) -> Figure:
    """Run a command on the router once and return its figure; a failure ends the benchmark."""
    before = len(router.read("/var/log/cloudstack/router.log").splitlines())
    output = router.exec("/usr/bin/python3", "-c", MEASURE, *command, timeout=600).stdout
    seconds, memory, code = output.split()[:3]
    if code != "0":
        raise SystemExit(f"{what}: failed: {output}")
    log = "\n".join(router.read("/var/log/cloudstack/router.log").splitlines()[before:])
    commands = len(re.findall(r"\(\d+ ms, exit status", log))
    phases = "; ".join(re.findall(r"(\w+): \d+ steps, \d+ commands: (?:.*)", log))
    figure = Figure(what, float(seconds), int(memory), commands, phases, goal)
    print(figure.row, flush=True)
    return figure


def choose_way(router: Router, *, cold: bool) -> None:
    """Stop the resident parent, or wait until it has loaded everything."""
    units = ("cloudstack-converge.socket", "cloudstack-converge.service")
    if cold:
        router.exec("systemctl", "stop", *units)
        return
    for _attempt in range(600):
        if "PLAY RECAP" in router.exec("journalctl", "--no-pager", "--unit", units[1]).stdout:
            return
        time.sleep(0.1)
    raise SystemExit(f"{units[1]} is not ready after a minute")


def send(router: Router, prefix: str, body: dict[str, Any]) -> tuple[str, ...]:
    """Put a drop into the inbox and return the command that takes it."""
    file = drops.name(prefix)
    router.send(file, body)
    return ("/opt/cloud/bin/update_config.py", file)


def send_aggregate(router: Router, bodies: list[tuple[str, dict[str, Any]]]) -> tuple[str, ...]:
    """Put an aggregate into the inbox and return the command that takes it."""
    file, content = drops.aggregate(bodies)
    router.send(file, content)
    return ("/opt/cloud/bin/vr_cfg.sh", "-c", f"/var/cache/cloud/{file}")


def middle(found: Sequence[Figure]) -> Figure:
    """Return the figure in the middle of several of the same kind."""
    return sorted(found, key=lambda figure: figure.seconds)[len(found) // 2]


def median(router: Router, what: str, goal: float | None, *command: str) -> Figure:
    """Measure five times and return the figure in the middle."""
    return middle([measure(router, what, *command, goal=goal) for _ in range(5)])


def empty_playbook(router: Router) -> Figure:
    """Measure what Ansible itself costs, on this machine and now; every table begins with it."""
    router.put("/tmp/empty.yml", EMPTY_PLAY)
    return median(router, "empty playbook", None, PLAYBOOK, "-i", "localhost,", "-c", "local", "/tmp/empty.yml")
