# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An emulated machine that boots the disk of `make template`, with the interface of the lab's router.

Commands go through the guest agent, so a router can be looked into whatever its NICs and its packet filter are; a test
of its sshd connects from the ``management`` host instead. qemu runs in the namespace of the lab's bridges, and ends
with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.emulated.sockets import Agent, Monitor
from tests.lab import wires
from tests.lab.process import CommandError, LabError, Word, log, run, wait_for
from tests.lab.router import CACHE, ENVIRONMENT, Router

ROOT = Path(__file__).resolve().parents[2]
DISK = ROOT / "build" / "template" / "cloudstack-virtual-router.qcow2"
WORK = ROOT / "build" / "emulated"
BOOT = 900.0
"""Seconds that a boot may take; emulated, on a machine that does nothing else, it takes two minutes."""
ACCELERATOR = os.environ.get("EMULATED_BY", "tcg")
"""tcg emulates the processor in software; kvm is for who has it."""
HARDWARE = (
    *("qemu-system-x86_64", "-accel", ACCELERATOR, "-machine", "pc", "-smp", "2", "-m", "512"),
    *(
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtio-rng-pci",
    ),
    *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
)


@dataclass
class Machine(Router):
    """One emulated router; made by ``Lab(kind=Machine).router``."""

    snapshot: str | None = None
    """The name of a state in its disk to go on from, instead of a boot."""
    disk_bytes: int = 0
    """The size of its disk; 0: that of the image."""
    _arguments: str = ""
    _monitor: Monitor | None = None
    _agent: Agent | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        """Return the directory of its disk, its sockets and its console."""
        return WORK / self.container

    @property
    def console(self) -> Path:
        """Return the file that its serial console is written to."""
        return self.home / "console"

    # Power

    def create(self, cmdline: Mapping[str, Any] | str | None, files: dict[str, bytes]) -> None:
        """Make its disk, which is a layer above the image's; boot arguments are kept until its agent answers."""
        if files or not (cmdline is None or isinstance(cmdline, str)):
            raise LabError(f"{self.name}: an emulated machine takes boot arguments as one line of text, and no files")
        self._arguments = cmdline or ""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.make_disk(self.home / "disk.qcow2")

    def make_disk(self, path: Path) -> None:
        """Make the disk that it boots from."""
        if not DISK.exists():
            raise LabError(f"{DISK} is not there: make template")
        size = (str(self.disk_bytes),) if self.disk_bytes else ()
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", DISK, path, *size)

    def start(self) -> None:
        """Switch it on with its NICs; boot arguments come when its agent answers, as from a host of CloudStack."""
        self._switched_on = time.time()
        cold = self.snapshot is None
        nics = [word for nic in self.nics for word in self._nic_words(nic)] if cold else []
        self._launch([*nics, *(() if cold else ("-loadvm", str(self.snapshot)))])
        if not cold:
            for nic, (segment, mac) in self.nics.items():
                self.plug(nic, segment, mac)
            self.agent.wait(30)
            # The state's clock stands where it was saved.
            self.agent.ask("guest-set-time", time=time.time_ns())

    def _launch(self, more: list[str]) -> None:
        for name in ("qmp", "agent"):
            (self.home / name).unlink(missing_ok=True)
        sockets = (
            *("-qmp", f"unix:{self.home}/qmp,server=on,wait=off"),
            *("-chardev", f"socket,id=agent,path={self.home}/agent,server=on,wait=off"),
            *("-serial", f"file:{self.console}"),
        )
        # What is in the cache of the lab's machine survives all that a test does to this one.
        disk = f"file={self.home}/disk.qcow2,format=qcow2,if=virtio,cache=unsafe"
        command = ["ip", "netns", "exec", self.lab.bridges, *HARDWARE, *sockets, "-drive", disk, *more]
        log.debug("%s", command)
        with (self.home / "qemu.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_for(self._answers, 60, f"{self.name}: qemu's monitor")
        self._monitor = Monitor(self.home / "qmp")
        self._agent = Agent(self.home / "agent")

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise LabError(f"qemu ended: {(self.home / 'qemu.log').read_text(errors='replace').strip()[-2000:]}")
        return (self.home / "qmp").exists()

    @property
    def monitor(self) -> Monitor:
        """Return the connection to its qemu."""
        if self._monitor is None:
            raise LabError(f"{self.name} is off")
        return self._monitor

    @property
    def agent(self) -> Agent:
        """Return the connection to its guest agent."""
        if self._agent is None:
            raise LabError(f"{self.name} is off")
        return self._agent

    def wait_boot(self, timeout: float = BOOT) -> float:
        """Bring its boot arguments once its agent answers, and wait until they are taken; return the seconds."""
        started = time.monotonic()
        self.agent.wait(timeout)
        if self._arguments:
            self.agent.write(f"{CACHE}/cmdline", self._arguments.strip().encode())
            self._arguments = ""
        while self.exec("test", "-e", f"{CACHE}/boot_up_done", check=False).returncode:
            if time.monotonic() - started > timeout:
                journal = self.exec("journalctl", "--no-pager", "--boot", "--lines", "60", check=False).stdout
                raise LabError(f"{self.name}: no {CACHE}/boot_up_done after {timeout} s\n{journal}")
            # Each look is a process in there, and lines of its journal: what is emulated has better to do.
            time.sleep(3)
        return time.monotonic() - started

    def wait_systemd(self, timeout: float = BOOT) -> str:
        """Wait until systemd has started everything, whatever came of it; return ``running`` or ``degraded``."""
        return self.exec("systemctl", "is-system-running", "--wait", check=False, timeout=timeout).stdout.strip()

    def stop(self) -> None:
        """Press its power button, and wait until it is off."""
        self.monitor.ask("system_powerdown")
        self._wait_off(120)

    def power_off(self) -> None:
        """Take the power away."""
        self.monitor.ask("quit")
        self._wait_off(30)

    def _wait_off(self, seconds: float) -> None:
        if self._process is None:
            raise LabError(f"{self.name} is off")
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name} is not off after {seconds} s") from error
        self.close()

    def reboot(self, timeout: float = BOOT) -> None:
        """Have it reboot itself, and wait for the boot: no management server is asked."""
        before = self.read("/proc/sys/kernel/random/boot_id")
        self.exec("systemctl", "--no-block", "reboot")
        end = time.monotonic() + timeout
        while True:
            self.agent.close()
            self.agent.wait(timeout)
            if self.read("/proc/sys/kernel/random/boot_id") != before:
                break
            if time.monotonic() > end:
                raise LabError(f"{self.name} has not rebooted after {timeout} s")
            time.sleep(1)
        self.wait_boot(timeout)

    def destroy(self) -> None:
        """Remove it with all it has written, on or off; the lab forgets it."""
        if self._process is not None and self._process.poll() is None:
            self.power_off()
        self.close()
        shutil.rmtree(self.home, ignore_errors=True)
        del self.lab.routers[self.name]

    def discard(self) -> None:
        """Remove its disk; what its console said stays until the next machine of this name."""
        (self.home / "disk.qcow2").unlink(missing_ok=True)

    def close(self) -> None:
        """End the connections to it."""
        for connection in (self._monitor, self._agent):
            if connection is not None:
                connection.close()
        self._monitor = self._agent = None

    @property
    def pid(self) -> int:
        """Refuse: its processes are in no namespace of the lab's machine."""
        raise LabError(f"{self.name} is an emulated machine: nothing of it is a process of this one")

    @property
    def processor_seconds(self) -> float:
        """Return how long its qemu has had a processor, all threads together: other work on the machine counts not."""
        if self._process is None:
            raise LabError(f"{self.name} is off")
        # proc(5): after the name, which is in brackets, user's and system's time are the 12th and 13th field.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def is_on(self) -> bool:
        """Tell whether qemu runs."""
        return self._process is not None and self._process.poll() is None

    # NICs

    def _port(self, nic: str) -> str:
        return f"{self.lab.port_number(self.name, nic)}.{nic}"

    def _nic_words(self, nic: str) -> list[str]:
        segment, mac = self.nics[nic]
        wires.plug_tap(bridges=self.lab.bridges, segment=segment, port=self._port(nic))
        network = f"tap,id={nic},ifname={self._port(nic)},script=no,downscript=no"
        return ["-netdev", network, "-device", f"virtio-net-pci,id=nic-{nic},netdev={nic},mac={mac}"]

    def plug(self, nic: str, segment: str, mac: str) -> None:
        """Plug a NIC into the running machine; the kernel gives it the next free name, which is changed to this one."""
        self.nics[nic] = (segment, mac)
        wires.plug_tap(bridges=self.lab.bridges, segment=segment, port=self._port(nic))
        port = {"type": "tap", "id": nic, "ifname": self._port(nic), "script": "no", "downscript": "no"}
        self.monitor.ask("netdev_add", **port)
        self.monitor.ask("device_add", driver="virtio-net-pci", id=f"nic-{nic}", netdev=nic, mac=mac)
        wait_for(lambda: self._has(nic, mac), 60, f"{self.name}: {nic}")

    def _has(self, nic: str, mac: str) -> bool:
        """Tell whether the NIC with this MAC is there, and see to its name: those of a VPC have gaps."""
        shown = self.shell(f"cd /sys/class/net && grep -lx {mac} */address", check=False)
        found = shown.stdout.partition("/")[0]
        if found not in ("", nic):
            self.exec("ip", "link", "set", "dev", found, "name", nic)
        return bool(found)

    def unplug(self, nic: str) -> None:
        """Pull a NIC out of the running machine."""
        self.monitor.ask("device_del", id=f"nic-{nic}")
        wait_for(lambda: not self.exists(f"/sys/class/net/{nic}"), 60, f"{self.name}: {nic} is still there")
        self.monitor.ask("netdev_del", id=nic)
        wires.unplug(bridges=self.lab.bridges, port=self._port(nic))
        self.nics.pop(nic, None)

    # Commands and files

    def exec(
        self, *command: Word, check: bool = True, timeout: float = 120, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine."""
        words = ["/usr/bin/env", "--ignore-environment", *ENVIRONMENT, *(str(word) for word in command)]
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        status, out, err = self.agent.execute(words, data, timeout)
        done = subprocess.CompletedProcess(
            words[6:], status, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check and status:
            raise CommandError([f"{self.name}:", *done.args], status, done.stdout, done.stderr)
        return done

    def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return not self.exec("test", "-e", path, check=False).returncode
