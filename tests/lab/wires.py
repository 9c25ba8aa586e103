# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Network namespaces, bridges and veth pairs, by the commands an operator could type."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.lab.process import CommandError, LabError, run

NETNS = Path("/run/netns")
# "interface names are up to 15 bytes" (IFNAMSIZ); a longer one is cut to this and a digest by nobody: it is an error.
NAME_LIMIT = 15


def add_namespace(name: str, *, ipv6: bool) -> None:
    """Make a network namespace that drops nothing for the way it came in."""
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    settings = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
    if not ipv6:
        # Bridges must be wires, not stations: no link-local addresses, no solicitations of their own.
        settings += ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
    else:
        # An address is usable at once: duplicate address detection takes a second.
        settings += ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"]
    # Not the whole port range of a router is blocked to tests, and unprivileged ping is not what is tested.
    run("ip", "netns", "exec", name, "sysctl", "-q", "-w", *settings)


def delete_namespace(name: str) -> None:
    """Remove a namespace with its devices, and end what still runs in it (all of it was started by a lab)."""
    if not (NETNS / name).exists():
        return
    for word in run("ip", "netns", "pids", name, check=False).stdout.split():
        if int(word) != os.getpid():
            end_process(int(word))
    run("ip", "netns", "delete", name)


def end_process(pid: int) -> None:
    """Kill one process; that it has ended in the meantime is what was wanted."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def namespaces(prefix: str) -> list[str]:
    """List the named network namespaces that start with a prefix."""
    return sorted(path.name for path in NETNS.glob(f"{prefix}*")) if NETNS.exists() else []


def add_bridge(namespace: str, name: str) -> None:
    """Make a bridge that forwards from the first moment and to every port: no spanning tree, no snooping."""
    _check_name(name)
    settings = ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
    run("ip", "-n", namespace, "link", "add", name, "type", "bridge", *settings)
    # The largest frame any NIC may send; a bridge otherwise takes the smallest MTU of its ports.
    run("ip", "-n", namespace, "link", "set", name, "mtu", 9000, "up")


def plug(*, bridges: str, segment: str, port: str, namespace: str | int, nic: str, mac: str) -> None:
    """Make a NIC with a name and a MAC in a namespace (a name, or the PID of a process in it), wired to a bridge."""
    for name in (port, nic):
        _check_name(name)
    unplug(bridges=bridges, port=port)
    # Jumbo frames are the network's to carry: the NIC's own MTU is set by who configures it.
    peer = ("peer", "name", nic, "address", mac, "mtu", 1500, "netns", namespace)
    run("ip", "-n", bridges, "link", "add", port, "mtu", 9000, "type", "veth", *peer)
    run("ip", "-n", bridges, "link", "set", port, "master", segment, "up")


def plug_tap(*, bridges: str, segment: str, port: str) -> None:
    """Make a bridge's port that a process opens as a TAP device: the NIC of an emulated machine."""
    _check_name(port)
    unplug(bridges=bridges, port=port)
    run("ip", "-n", bridges, "tuntap", "add", "dev", port, "mode", "tap")
    run("ip", "-n", bridges, "link", "set", port, "mtu", 9000, "master", segment, "up")


def unplug(*, bridges: str, port: str) -> None:
    """Take a NIC away by removing its wire; one that is not there is fine."""
    try:
        run("ip", "-n", bridges, "link", "delete", port)
    except CommandError as error:
        if "Cannot find device" not in error.stderr:
            raise


def _check_name(name: str) -> None:
    if not name or len(name) > NAME_LIMIT:
        raise LabError(f"interface name {name!r}: expected 1 to {NAME_LIMIT} characters")
