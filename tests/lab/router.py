# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A router under test: a container of the image, its NICs, and the commands the management server runs on it."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import wires
from tests.lab.access import AUTHORIZED_KEYS, public_key
from tests.lab.facts import Facts
from tests.lab.podman import LIMITS, TAG
from tests.lab.probes import Prober
from tests.lab.process import CommandError, LabError, Word, run

if TYPE_CHECKING:
    from tests.lab.lab import Lab

IMAGE = f"localhost/cloudstack-virtual-router:{TAG}"
CACHE = "/var/cache/cloud"
COMMANDS = "/opt/cloud/bin"
# What sshd gives root: nothing of the environment of the tests reaches a router.
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
)
FLAGS = ("--privileged", "--systemd=always", "--network", "none", "--pids-limit", "0", *LIMITS)


@dataclass(frozen=True)
class Answer:
    """Hold what a command of the management server came to; ``seconds`` is wall-clock time on the router."""

    command: str
    returncode: int
    stdout: str
    stderr: str
    seconds: float


@dataclass
class Router:
    """One router; made by ``Lab.router``."""

    lab: Lab
    name: str
    nics: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (segment, MAC)
    _pid: int | None = None
    _prober: Prober | None = None
    _switched_on: float = 0.0  # wall-clock time; older announcements are of an earlier boot

    @property
    def container(self) -> str:
        """Return the name podman knows it by."""
        return f"{self.lab.prefix}{self.name}"

    @property
    def facts(self) -> Facts:
        """Return the reader of what the router is right now."""
        return Facts(self)

    # Power

    def create(self, cmdline: Mapping[str, Any] | str | None, files: dict[str, bytes]) -> None:
        """Make the container, with its boot arguments and files in place and nothing running."""
        options = ["--name", self.container, "--hostname", self.name, *FLAGS]
        options += [word for there, here in self.lab.mounts.items() for word in ("--volume", f"{here}:{there}:ro")]
        self.lab.podman.run("create", *options, self.lab.image)
        if isinstance(cmdline, str):
            files[f"{CACHE}/cmdline"] = cmdline.encode()
        elif cmdline is not None:
            files[f"{CACHE}/cmd_line.json"] = json.dumps(cmdline).encode()
        files[AUTHORIZED_KEYS] = public_key(self.lab.name)
        self.lab.podman.run("cp", "-", f"{self.container}:/", stdin=_archive(files))

    def start(self) -> None:
        """Switch the router on and plug its NICs; does not wait for the boot."""
        self._pid, self._switched_on = None, time.time()
        self.lab.podman.run("start", self.container)
        for nic, (segment, mac) in self.nics.items():
            self.plug(nic, segment, mac)

    def stop(self) -> None:
        """Shut the router down in good order."""
        self.close()
        self.lab.podman.run("stop", "--time", "20", self.container)

    def power_off(self) -> None:
        """Take the power away: every process is killed at once, nothing is written."""
        self.close()
        self.lab.podman.run("kill", "--signal", "KILL", self.container)
        self.lab.podman.run("wait", self.container)

    def destroy(self) -> None:
        """Remove the router with all it has written, on or off; the lab forgets it."""
        self.close()
        self.lab.podman.run("rm", "--force", "--time", "0", "--volumes", self.container)
        del self.lab.routers[self.name]

    def discard(self) -> None:
        """Remove what it keeps outside of podman, when the lab ends: a container keeps nothing there."""

    def reboot(self, timeout: float = 180) -> None:
        """Have the router reboot itself, plug the same NICs, and wait for the boot: no management server is asked."""
        self.exec("systemctl", "reboot", check=False)
        self.close()
        self.lab.podman.run("wait", self.container)
        self.start()
        self.wait_boot(timeout)

    def bring_arguments(self, text: str, timeout: float = 180) -> None:
        """Write boot arguments as the agent of the hypervisor does, and wait until they are taken."""
        self.put(f"{CACHE}/cmdline", "")
        self.put(f"{CACHE}/cmdline", text)
        end = time.monotonic() + timeout
        while self.exists(f"{CACHE}/cmdline") or not self.exists(f"{CACHE}/boot_up_done"):
            if time.monotonic() > end:
                journal = self.exec("journalctl", "--no-pager", "--unit", "cloudstack-boot", check=False).stdout
                raise LabError(f"{self.name}: boot arguments are not taken after {timeout} s\n{journal}")
            time.sleep(0.05)

    def wait_boot(self, timeout: float = 180) -> float:
        """Wait until the router says that it has booted; return the seconds that took."""
        started = time.monotonic()
        while not self._has_booted():
            if time.monotonic() - started > timeout:
                journal = self.exec("journalctl", "--no-pager", "--boot", "--lines", "60", check=False).stdout
                raise LabError(f"{self.name}: no {CACHE}/boot_up_done after {timeout} s\n{journal}")
            time.sleep(0.05)
        return time.monotonic() - started

    def _has_booted(self) -> bool:
        """Tell whether the announcement of this boot is there: after a power cut the last one's still lies there."""
        try:
            return os.lstat(f"/proc/{self.pid}/root{CACHE}/boot_up_done").st_mtime >= self._switched_on
        except FileNotFoundError:
            return False

    def wait_systemd(self, timeout: float = 120) -> str:
        """Wait until systemd has started everything, whatever came of it; return ``running`` or ``degraded``."""
        started = time.monotonic()
        while True:
            state = self.exec("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded", "maintenance"):
                return state
            if time.monotonic() - started > timeout:
                jobs = self.exec("systemctl", "list-jobs", "--no-pager", check=False).stdout
                raise LabError(f"{self.name}: systemd is {state!r} after {timeout} s\n{jobs}")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """Return the PID of the router's systemd on the machine of the lab."""
        if self._pid is None:
            seen = self.lab.podman.run("inspect", "--format", "{{.State.Pid}}", self.container).stdout.strip()
            if seen == "0":
                raise LabError(f"{self.name} is off")
            self._pid = int(seen)
        return self._pid

    @property
    def is_on(self) -> bool:
        """Tell whether the container runs."""
        try:
            return self.pid > 0 and Path(f"/proc/{self.pid}").is_dir()
        except LabError:
            return False

    # NICs

    def plug(self, nic: str, segment: str, mac: str) -> None:
        """Plug a NIC with this name and MAC into the running router."""
        port = f"{self.lab.port_number(self.name, nic)}.{nic}"
        wires.plug(bridges=self.lab.bridges, segment=segment, port=port, namespace=self.pid, nic=nic, mac=mac)
        self.nics[nic] = (segment, mac)

    def unplug(self, nic: str) -> None:
        """Pull a NIC out of the running router."""
        wires.unplug(bridges=self.lab.bridges, port=f"{self.lab.port_number(self.name, nic)}.{nic}")
        self.nics.pop(nic, None)

    # Commands and files

    def enter(self, timeout: float) -> list[str]:
        """Return the words that run a command in all of the router's namespaces, killed after ``timeout`` seconds.

        This is ``podman exec`` without its 0.1 s; the limit is enforced inside, where the process is.
        """
        limit = ("timeout", "--kill-after=1", str(timeout))
        return ["nsenter", "--target", str(self.pid), "--all", "env", "--ignore-environment", *ENVIRONMENT, *limit]

    def exec(
        self, *command: Word, check: bool = True, timeout: float = 60, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the router."""
        return run(*self.enter(timeout), *command, check=check, timeout=timeout + 5, stdin=stdin)

    def shell(self, text: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a line of shell on the router, as sshd would."""
        return self.exec("sh", "-c", text, check=check, timeout=timeout)

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Write a file on the router, as scp would: it can be seen half written."""
        self.exec("sh", "-c", 'cat > "$1" && chmod "$2" "$1"', "put", path, f"{mode:o}", stdin=content)

    def read(self, path: str) -> str:
        """Return the text of a file on the router."""
        return self.exec("cat", path).stdout

    def exists(self, path: str) -> bool:
        """Tell whether a file is there; costs no process."""
        return os.path.lexists(f"/proc/{self.pid}/root{path}")

    # What the management server does

    def command(self, line: str, *, check: bool = True, timeout: float = 600) -> Answer:
        """Run ``<script> <args>`` of /opt/cloud/bin, split and globbed by a shell as over ssh."""
        started = time.monotonic()
        done = self.shell(f"{COMMANDS}/{line}", check=False, timeout=timeout)
        seconds = time.monotonic() - started
        if check and done.returncode:
            raise CommandError([f"{self.name}:", line], done.returncode, done.stdout, done.stderr)
        return Answer(line, done.returncode, done.stdout, done.stderr, seconds)

    def send(self, name: str, body: bytes | str | Mapping[str, Any]) -> None:
        """Copy a drop to the router, under this name, and run nothing."""
        self.put(f"{CACHE}/{name}", json.dumps(body) if isinstance(body, Mapping) else body)

    def drop(
        self,
        name: str,
        body: bytes | str | Mapping[str, Any],
        *,
        check: bool = True,
        keep: bool = True,
        options: str = "",
        timeout: float = 600,
    ) -> Answer:
        """Send a drop and have it taken over; ``options`` go before the name (``--check --diff``)."""
        self.send(name, body)
        words = ["update_config.py", *options.split(), shlex.quote(name), *([] if keep else ["false"])]
        return self.command(" ".join(words), check=check, timeout=timeout)

    def replay(self, directory: Path, *, check: bool = True) -> list[Answer]:
        """Send the drops of a directory and run its commands, in the order its ORDER file says."""
        return list(self.replay_steps(directory, check=check))

    def replay_steps(self, directory: Path, *, check: bool = True) -> Iterator[Answer]:
        """Do as ``replay`` does, one command at a time, so that a test can act between two of them."""
        for line in (directory / "ORDER").read_text(encoding="utf-8").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "file":
                content = (directory / rest).read_bytes()
                self.send(rest.split("-", 1)[1], with_private_keys(content))
            elif kind == "exec":
                yield self.command(rest, check=check)
            elif line.strip():
                raise LabError(f"{directory}/ORDER: expected file or exec, got {line!r}")

    # Traffic from the router itself

    @property
    def probe(self) -> Prober:
        """Return a prober in the router's own network; it belongs to the boot in which it was first used."""
        if self._prober is None:
            self._prober = Prober(self.name, ["nsenter", f"--net=/proc/{self.pid}/ns/net"])
        return self._prober

    def close(self) -> None:
        """End the prober and forget the PID; the container stays."""
        if self._prober is not None:
            self._prober.close()
        self._prober, self._pid = None, None


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of files by their absolute paths, owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# As the management server's JSON has them, one after the other; line ends are written ``\n``.
_CERTIFICATE_OF_PLACEHOLDER = re.compile(rb'("cert": ?")[^"]*(", ?"key": ?")@PRIVATE_KEY@')


@functools.cache
def _key_pair() -> tuple[bytes, bytes]:
    """Return a generated private key and a certificate for it, as they stand in JSON."""
    wanted = ("-newkey", "rsa:2048", "-noenc", "-subj", "/CN=lab.example", "-days", "30")
    printed = run("openssl", "req", "-x509", *wanted, "-keyout", "/dev/stdout", "-out", "/dev/stdout").stdout
    key, begin, certificate = printed.partition("-----BEGIN CERTIFICATE-----")
    return _as_json(key), _as_json(begin + certificate)


def _as_json(text: str) -> bytes:
    return text.strip().replace("\n", "\\n").encode()


def with_private_keys(content: bytes) -> bytes:
    """Put a generated key where the kept drops have a placeholder, and a certificate for it where theirs is."""
    if b"@PRIVATE_KEY@" not in content:
        return content
    key, certificate = _key_pair()
    return _CERTIFICATE_OF_PLACEHOLDER.sub(lambda found: found[1] + certificate + found[2] + key, content)
