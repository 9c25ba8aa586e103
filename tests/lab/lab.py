# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab: segments, hosts and routers that belong together, made and removed as one.

``with Lab("name") as lab:`` removes what an earlier run of the same name left, and at the end everything it made.
``up()`` and ``down()`` do the same for a lab that outlives the program (molecule); ``Lab.attach`` finds it again.
Labs of different names share nothing: every namespace and container carries the lab's name, and no device is ever in
the machine's own network namespace.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import wires
from tests.lab.access import forget_keys, host_variables
from tests.lab.host import Host
from tests.lab.podman import SPACE, STATE, Podman
from tests.lab.process import LabError
from tests.lab.router import IMAGE, Router

Nics = Mapping[str, tuple[str, str]]


class Lab:
    """Hold the parts of one lab by their names."""

    def __init__(
        self,
        name: str,
        image: str = IMAGE,
        mounts: Mapping[str, Path] | None = None,
        kind: type[Router] = Router,
    ) -> None:
        """Choose the name; nothing is made yet.

        ``mounts`` are directories of this machine, by the paths under which routers see them, read-only. ``kind`` is
        what routers are: containers, or emulated machines (tests/emulated).
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,30}", name):
            raise LabError(f"lab name {name!r}: expected small letters, digits, hyphens and underscores")
        self.name, self.image, self.mounts, self.kind = name, image, mounts or {}, kind
        self.podman = Podman(self.prefix.rstrip("."))
        self.segments: list[str] = []
        self.hosts: dict[str, Host] = {}
        self.routers: dict[str, Router] = {}
        self._ports: dict[str, int] = {}

    # The dot is not allowed in names of labs: no lab's names start like another's.
    @property
    def prefix(self) -> str:
        """Return what all names of this lab start with."""
        return f"lab{SPACE}.{self.name}."

    @property
    def bridges(self) -> str:
        """Return the namespace that holds the bridges."""
        return self.namespace("wires")

    @property
    def _state(self) -> Path:
        return STATE / f"{self.prefix}json"

    @property
    def _inventory(self) -> Path:
        return STATE / f"{self.prefix}inventory.json"

    def namespace(self, part: str) -> str:
        """Return the name of a part's network namespace."""
        return f"{self.prefix}{part}"

    def port_number(self, owner: str, nic: str) -> str:
        """Return a short name, unique in this lab, for a bridge's end of a NIC's wire."""
        number = self._ports.setdefault(f"{owner}.{nic}", len(self._ports) + 1)
        return f"p{number}"

    def __enter__(self) -> Lab:
        """Bring the empty lab up."""
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove everything, whatever happened."""
        self.down()

    def up(self) -> None:
        """Remove what an earlier run left, and make the namespace of the wires."""
        self.down()
        self.podman.open()
        wires.add_namespace(self.bridges, ipv6=False)

    def down(self) -> None:
        """Remove all containers, namespaces and mounts of this lab's name."""
        self._close()
        self.podman.open()
        listed = self.podman.run("ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^{re.escape(self.prefix)}")
        for name in listed.stdout.split():
            self.podman.run("rm", "--force", "--time", "0", "--volumes", name)
        for namespace in wires.namespaces(self.prefix):
            wires.delete_namespace(namespace)
        self.podman.close()
        for router in self.routers.values():
            router.discard()
        forget_keys(self.name)
        self._state.unlink(missing_ok=True)
        self._inventory.unlink(missing_ok=True)
        self.segments, self.hosts, self.routers, self._ports = [], {}, {}, {}

    def segment(self, name: str) -> str:
        """Make a layer 2 network and return its name."""
        wires.add_bridge(self.bridges, name)
        self.segments.append(name)
        return name

    def host(
        self,
        name: str,
        segment: str,
        ip: str | Sequence[str] = (),
        gateway: str | None = None,
        mac: str | None = None,
    ) -> Host:
        """Make a host with ``eth0`` on a segment; ``ip`` is ``10.1.1.11/24``, several of them, or none (DHCP)."""
        self._check_new(name)
        host = Host(self, name)
        wires.add_namespace(host.namespace, ipv6=True)
        self.hosts[name] = host
        host.add_nic("eth0", segment, mac or self.mac(name), [ip] if isinstance(ip, str) else ip)
        if gateway is not None:
            host.add_route("default", gateway)
        return host

    def router(
        self,
        name: str,
        cmdline: Mapping[str, Any] | str | None = None,
        nics: Nics | None = None,
        files: Mapping[str, bytes] | None = None,
        *,
        start: bool = True,
    ) -> Router:
        """Make a router: boot arguments (text, or the cmd_line.json as a dictionary), NICs ``{name: (segment, MAC)}``.

        ``files`` are put into the container before it boots, by their absolute paths.
        """
        self._check_new(name)
        router = self.kind(self, name, dict(nics or {}))
        self.routers[name] = router
        router.create(cmdline, dict(files or {}))
        if start:
            router.start()
        return router

    def mac(self, name: str) -> str:
        """Return a locally administered MAC that depends on the lab and the name only."""
        digest = hashlib.sha256(f"{self.name}.{name}".encode()).hexdigest()
        return "02:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))

    def save(self) -> None:
        """Write down what this lab has, for ``attach``."""
        facts = {
            "segments": self.segments,
            "hosts": {name: host.nics for name, host in self.hosts.items()},
            "routers": {name: router.nics for name, router in self.routers.items()},
            "ports": self._ports,
            "image": self.image,
        }
        self._state.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        self._inventory.write_text(self.inventory(), encoding="utf-8")

    @classmethod
    def attach(cls, name: str) -> Lab:
        """Find a lab that another program brought up and saved."""
        lab = cls(name)
        try:
            facts = json.loads(lab._state.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise LabError(f"lab {name} is not up: python -m tests.lab up <topology>") from error
        lab.image, lab.segments, lab._ports = facts["image"], facts["segments"], facts["ports"]
        for part, nics in facts["hosts"].items():
            lab.hosts[part] = Host(lab, part, {nic: (segment, mac) for nic, (segment, mac) in nics.items()})
        for part, nics in facts["routers"].items():
            lab.routers[part] = Router(lab, part, {nic: (segment, mac) for nic, (segment, mac) in nics.items()})
        return lab

    def inventory(self) -> str:
        """Return an Ansible inventory (YAML, written as JSON) of the routers in group ``routers``."""
        hosts = {name: host_variables(self.name, name) for name in self.routers}
        return json.dumps({"all": {"children": {"routers": {"hosts": hosts}}}}, indent=1)

    def detach(self) -> None:
        """Save the lab and end this program's probers; the lab stays."""
        self.save()
        self._close()

    def _close(self) -> None:
        for host in self.hosts.values():
            host.close()
        for router in self.routers.values():
            router.close()

    def _check_new(self, name: str) -> None:
        if name in self.hosts or name in self.routers or name == "wires":
            raise LabError(f"{name!r} is already a part of lab {self.name}")
