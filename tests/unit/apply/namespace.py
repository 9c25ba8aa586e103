# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A network namespace of its own, to try things on a real kernel."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@dataclass
class Namespace:
    """Run commands in the namespace; an instance stands in for a Runner."""

    name: str

    def __call__(self, argv: Sequence[str], stdin: str | None = None, check: bool = True) -> str:
        return Runner()(("ip", "netns", "exec", self.name, *argv), stdin=stdin, check=check)

    def ip(self, line: str) -> str:
        """Run `ip` with the words of a line."""
        return self(("ip", *line.split()))

    def plug(self, name: str, mac: str) -> None:
        """Add a NIC whose other end is up; the NIC itself is down, as a new one is."""
        self.ip(f"link add {name} address {mac} type veth peer name x{name}")
        self.ip(f"link set x{name} up")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace for the time of a block."""
    name = f"vr-unit-{uuid.uuid4().hex[:8]}"
    subprocess.run(("ip", "netns", "add", name), check=True)
    try:
        found = Namespace(name)
        found.ip("link set lo up")
        yield found
    finally:
        subprocess.run(("ip", "netns", "del", name), check=True)
