# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fetch boot arguments where the hypervisor leaves them for the router to read, instead of writing a file.

KVM's agent writes /var/cache/cloud/cmdline by itself (boot.py). The others keep the arguments where they are read
at every boot, and a boot need not be a start by the management server. Xen has them in its store or on the kernel's
line, VMware in ``machine.id``, Hyper-V in the first pool of its key-value pairs. They are taken as a start when they
are others than those taken before, or when the router was powered off since. A reboot from inside finds the same again,
and keeps its databags (boot_arguments.md).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable

from vrlib import command as vr
from vrlib.process import tool

TAKEN = "/var/lib/cloudstack/channel-taken"
POWERED_OFF = "/var/lib/cloudstack/powered-off"
KERNEL_LINE = "/proc/cmdline"
# Debian's hypervkvpd writes there; a record is a key and a value of fixed length (linux/hyperv.h).
POOL = "/var/lib/hyperv/.kvp_pool_0"
KEY_BYTES, VALUE_BYTES = 512, 2048
POOL_KEY = "cloudstack-vm-userdata"
STORE_KEY = "vm-data/cloudstack/init"
_LIMIT = 10.0
_IS_ROUTER = re.compile(r"(?:^|\s)type=\w+")


def fetch() -> str | None:
    """Return the boot arguments of a start, None when there is none, or no channel says anything."""
    found = next((text for channel in (_kernel_line, _by_hypervisor) if (text := channel())), None)
    if found is None:
        return None
    if _digest(found) == _taken() and not os.path.exists(vr.at(POWERED_OFF)):
        return None
    return found


def remember(text: str) -> None:
    """Write down which arguments a converge has taken; by their digest, because a password may be among them."""
    vr.write_atomically(vr.at(TAKEN), _digest(text).encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _taken() -> str | None:
    try:
        with open(vr.at(TAKEN), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _kernel_line() -> str | None:
    """Return the arguments on the kernel's line: one word, with `%` where blanks are meant."""
    try:
        with open(vr.at(KERNEL_LINE), encoding="utf-8", errors="replace") as file:
            words = file.read().split()
    except FileNotFoundError:
        return None
    texts = [word.replace("%", " ") for word in words if "%" in word]
    return next((text for text in texts if _IS_ROUTER.search(text)), None)


def _by_hypervisor() -> str | None:
    channels: dict[str, Callable[[], str | None]] = {"xen": _store, "vmware": _machine_id, "microsoft": _pool}
    # In a container it names the container: what the machine below is told is not for a router.
    found = tool(["systemd-detect-virt"], _LIMIT).stdout.strip()
    channel = channels.get(found)
    text = channel() if channel else None
    return text if text and _IS_ROUTER.search(text) else None


def _store() -> str | None:
    return _printed(["xenstore-read", STORE_KEY])


def _machine_id() -> str | None:
    return _printed(["vmtoolsd", "--cmd", "machine.id.get"])


def _printed(argv: list[str]) -> str | None:
    """Return what a program prints; one that fails, or is not installed, has nothing to say: the key is not there."""
    try:
        done = tool(argv, _LIMIT)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _pool() -> str | None:
    try:
        with open(vr.at(POOL), "rb") as file:
            content = file.read(4 * 1024 * 1024)
    except FileNotFoundError:
        return None
    size = KEY_BYTES + VALUE_BYTES
    for start in range(0, len(content) - size + 1, size):
        key = content[start : start + KEY_BYTES].rstrip(b"\0")
        if key == POOL_KEY.encode():
            return content[start + KEY_BYTES : start + size].rstrip(b"\0").decode("utf-8", "replace").strip()
    return None
