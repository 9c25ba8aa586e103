# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Emulated machines that go on from a state after the boot: a test has one in seconds.

The state is kept inside a disk in build/emulated, made once for each image: a machine without NICs that waits for boot
arguments. All machines that go on from it have one machine-id and the same host keys, which those that boot do not.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.emulated.machine import BOOT, DISK, HARDWARE, WORK, Machine
from tests.lab.lab import Lab
from tests.lab.process import LabError

STATE = "booted"


@dataclass
class Restored(Machine):
    """A machine that has booted already when it is switched on for the first time; made by ``Lab(kind=Restored)``."""

    snapshot: str | None = STATE

    def make_disk(self, path: Path) -> None:
        """Copy the disk with the state, which is made if it is not there."""
        shutil.copyfile(booted(), path)

    def start(self) -> None:
        """Switch it on; after the first time it boots as any other."""
        super().start()
        self.snapshot = None


def booted() -> Path:
    """Return the disk with the state."""
    if not DISK.exists():
        raise LabError(f"{DISK} is not there: make template")
    status = DISK.stat()
    facts = repr((HARDWARE, status.st_mtime_ns, status.st_size))
    target = WORK / f"booted-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.qcow2"
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for old in WORK.glob("booted-*.qcow2"):
                old.unlink()
            _make(target)
    return target


def _make(target: Path) -> None:
    with Lab("emulated-state", kind=Machine) as lab:
        machine = lab.router("booting")
        if not isinstance(machine, Machine):
            raise LabError("the lab made another kind of router")
        machine.agent.wait(BOOT)
        state = machine.wait_systemd(BOOT)
        if state != "running":
            failed = machine.exec("systemctl", "--failed", "--no-legend", "--plain").stdout
            raise LabError(f"a machine without boot arguments is {state} after its boot:\n{failed}")
        machine.monitor.human(f"savevm {STATE}")
        machine.power_off()
        (machine.home / "disk.qcow2").rename(target)
