# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run podman where systemd can run in a container: with nothing but cgroup2 below /sys/fs/cgroup.

On a host with pure cgroup v2 that is simply podman. Elsewhere (v1, hybrid) crun refuses to start systemd, so every
call enters a mount namespace of its own in which a fresh cgroup2 is mounted. The namespace is pinned to a file, not
to a process: several programs, one after the other, can use it, and nothing has to be kept running.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.lab.debian import SUITE, USUAL
from tests.lab.process import LabError, Word, run

STATE = Path("/run/cloudstack-lab")
SPACE = os.environ.get("LAB_SPACE", "")
"""Labs, and the router's image, of one space: two checkouts with their own LAB_SPACE do not meet on one machine."""
TAG = "-".join(word for word in (SPACE, SUITE if SUITE != USUAL else "") if word) or "latest"
"""Of the router's image: one for each space and release of Debian."""
# In a container the devices are the host's: no udev. systemd reads these words as it would a kernel's command line.
HOST_UNITS = (
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-modules-load.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
)
INIT = json.dumps(["/sbin/init", *(f"systemd.mask={unit}" for unit in HOST_UNITS)])
"""What a container of a whole machine runs."""
# crun cannot raise limits above those of the caller, and without a pids controller it cannot set that one at all.
LIMITS = ("--ulimit", "nofile=8192:8192", "--ulimit", "nproc=4096:4096")
MOUNT_CGROUP2 = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def host_has_pure_cgroup2() -> bool:
    """Tell whether /sys/fs/cgroup itself is a cgroup2 file system."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    return any(fields[1] == "/sys/fs/cgroup" and fields[2] == "cgroup2" for fields in mounts)


class Podman:
    """Run podman commands for one lab; ``name`` keeps the mount namespaces of labs apart."""

    def __init__(self, name: str) -> None:
        """Remember where the mount namespace would be pinned; nothing happens yet."""
        self.namespace = None if host_has_pure_cgroup2() else STATE / f"{name}.mnt"

    def open(self) -> None:
        """Make the mount namespace if this host needs one and it is not there yet."""
        if self.namespace is None or self._is_pinned():
            return
        _make_private_directory(STATE)
        self.namespace.touch()
        run("unshare", f"--mount={self.namespace}", "sh", "-c", MOUNT_CGROUP2)

    def close(self) -> None:
        """Let the mount namespace go; the kernel frees it with the last process in it."""
        if self.namespace is None or not self.namespace.exists():
            return
        if self._is_pinned():
            run("umount", self.namespace)
        self.namespace.unlink()

    @property
    def enter(self) -> list[str]:
        """Return the words before a command that sees podman's cgroups."""
        return [] if self.namespace is None else ["nsenter", f"--mount={self.namespace}"]

    def argv(self, *words: Word) -> list[str]:
        """Return the command line that runs podman with these words."""
        # Without --wdns the mount namespace's root becomes the working directory, which is what is wanted here.
        return [*self.enter, "podman", *(str(word) for word in words)]

    def run(
        self, *words: Word, check: bool = True, timeout: float = 120, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run podman; see ``process.run``."""
        return run(*self.argv(*words), check=check, timeout=timeout, stdin=stdin)

    def _is_pinned(self) -> bool:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        return any(line.split()[1] == str(self.namespace) for line in mounts)


def _make_private_directory(path: Path) -> None:
    """Make a directory that mounts do not propagate from: the kernel refuses to pin a mount namespace elsewhere."""
    path.mkdir(parents=True, exist_ok=True)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    fields = [line.split() for line in mounts]
    entry = next((parts for parts in fields if parts[4] == str(path)), None)
    if entry is None:
        run("mount", "--bind", path, path)
        run("mount", "--make-private", path)
    elif any(word.startswith("shared:") for word in entry):
        raise LabError(f"{path} is a shared mount, so no mount namespace can be pinned there")
