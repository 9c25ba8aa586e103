# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Report what haproxy counts; the autoscaling of the management server asks for it."""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Iterable

from vrlib import command as vr
from vrlib.process import tool

ADMIN_SOCKET = "/run/haproxy/admin.sock"
USAGE = "get_haproxy_stats.sh <public ip> <port>"


def sessions(args: list[str]) -> None:
    """Print how many connections each server of a rule that is up has now on average, rounded down (contract.md).

    It is 0 when none is up, or there is no such rule: the autoscaling compares it with a threshold per VM. A server
    that is not checked is in no known state, so it does not count. Connections that an earlier configuration accepted
    end in a process that no longer counts.
    """
    if len(args) != 2 or not _is_address(args[0]) or not (args[1].isascii() and args[1].isdigit()):
        raise vr.CommandError(f"usage: {USAGE}")
    name = f"{args[0].replace('.', '_')}-{int(args[1])}"
    socket = vr.at(ADMIN_SOCKET)
    done = tool(["socat", "-", f"UNIX-CONNECT:{socket}"], stdin="show stat\n")
    if done.returncode != 0:
        raise vr.CommandError(f"haproxy does not answer on {ADMIN_SOCKET}: {done.stderr}")
    rows = csv.DictReader(done.stdout.removeprefix("# ").splitlines())
    sessions = [int(row["scur"] or 0) for row in servers(rows) if row["pxname"] == name and is_up(row)]
    print(sum(sessions) // len(sessions) if sessions else 0)


def servers(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows of haproxy's statistics that are about VMs."""
    return [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]


def is_up(row: dict[str, str]) -> bool:
    """Tell whether a VM is up: one that fails its checks is "UP 1/2" until it is down (Management Guide, 9.1, 17)."""
    return row["status"].split()[:1] == ["UP"]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
