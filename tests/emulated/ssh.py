# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Go into a router as the management server does: over ssh to port 3922, from the control network."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.lab.access import private_key
from tests.lab.host import Host
from tests.lab.process import CommandError, run

PORT = "3922"


@dataclass(frozen=True)
class Ssh:
    """The way from a host to root of a router, with the lab's key."""

    host: Host
    address: str

    def run(
        self, command: str, *options: str, check: bool = True, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell there; ``options`` of ssh come before the usual ones, and so win.

        Keys add up (ssh_config(5), IdentityFile): the lab's own is left out where an option names one.
        """
        keys = {} if any("IdentityFile=" in option for option in options) else {"IdentityFile": self._key}
        usual = {
            **keys,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "ConnectTimeout": "30",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in usual.items() for word in ("-o", f"{name}={value}")]
        target = ("-p", PORT, f"root@{self.address}")
        enter = ("ip", "netns", "exec", self.host.namespace)
        argv = [*enter, "ssh", "-F", "/dev/null", *options, *words, *target, command]
        done = run(*argv, check=False, timeout=300, stdin=stdin)
        if check and done.returncode:
            raise CommandError(["ssh", self.address, command], done.returncode, done.stdout, done.stderr)
        return done

    @property
    def _key(self) -> str:
        return str(private_key(self.host.lab.name))

    def copy(self, content: bytes, path: str) -> None:
        """Write a file there, as scp does: it can be seen half written."""
        self.run(f"cat > {path}", stdin=content)
