# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Boot a VM's Debian, with its own DHCP client and cloud-init, in the network of a host of the lab.

Each guest is a container from an image of Debian's packages; nothing is installed on the lab's machine. Its init is a
script that does what systemd's units do: DHCP, then the stages of cloud-init.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from types import TracebackType

from tests.lab import debian
from tests.lab.host import Host
from tests.lab.podman import LIMITS, SPACE
from tests.lab.process import run

CACHE = Path(__file__).resolve().parents[2] / "build" / "guest"
IMAGE = "localhost/cloudstack-virtual-router-guest"
PACKAGES = ("cloud-init", "iproute2", "isc-dhcp-client", "wget")
# As in templates for CloudStack; of cloud-init's modules those that need neither disks nor packages.
SETTINGS = """\
datasource_list: [CloudStack]
datasource: {CloudStack: {max_wait: 20, timeout: 5}}
network: {config: disabled}
cloud_init_modules: [write-files, set_hostname, users-groups, ssh]
ssh_genkeytypes: []
ssh_deletekeys: false
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user]
"""
BOOT = """\
set -e
dhclient -1 eth0
%s
cloud-init init
cloud-init modules --mode config
cloud-init modules --mode final
"""
STAGES = 30
"""Seconds that a guest may take to boot."""


def image() -> str:
    """Return the name of the guests' image; it is made once, in about 30 seconds."""
    digest = hashlib.sha256(json.dumps([PACKAGES, debian.DPKG_OPTIONS]).encode()).hexdigest()[:12]
    tag = f"{IMAGE}:{SPACE}{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if run("podman", "image", "exists", tag, check=False).returncode:
            tar = CACHE / f"{digest}.tar"
            debian.make_root(tar, PACKAGES)
            run("podman", "import", "--quiet", tar, tag)
            tar.unlink()
    return tag


class Guest:
    """A VM's system in the network of a host, from entering a with-block to its end; it boots once."""

    def __init__(self, host: Host) -> None:
        """Choose the host, whose NIC has no address yet."""
        self.host, self.container, self._podman = host, host.namespace, host.lab.podman

    def __enter__(self) -> Guest:
        """Make the container; nothing of it has booted."""
        self._remove()
        name = ("--name", self.container, "--hostname", "fresh", "--dns", "none", "--no-hosts")
        rights = ("--cgroups", "disabled", "--cap-add", "NET_ADMIN,NET_RAW,SYS_ADMIN", *LIMITS)
        words = ("run", "--detach", "--network", "host", *name, *rights, image(), "sleep", "600")
        # What podman takes for the host's network is that of the host of the lab.
        run("nsenter", f"--net=/run/netns/{self.host.namespace}", *self._podman.argv(*words))
        self._podman.run("exec", "-i", self.container, "tee", "/etc/cloud/cloud.cfg.d/90_lab.cfg", stdin=SETTINGS)
        return self

    def boot(self, between: str = "") -> None:
        """Get an address by DHCP, then let cloud-init do its work; `between` is a script between the two."""
        self._podman.run("exec", self.container, "sh", "-c", BOOT % between, timeout=STAGES)

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return self.run("cat", path)

    def run(self, *command: str) -> str:
        """Run a command of the guest's, and return what it prints."""
        return self._podman.run("exec", self.container, *command).stdout

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the guest."""
        self._remove()

    def _remove(self) -> None:
        self._podman.run("rm", "--force", "--ignore", "--time", "0", self.container)
