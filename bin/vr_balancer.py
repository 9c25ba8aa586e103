# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Report what haproxy counts; the autoscaling of the management server asks for it."""

from __future__ import annotations

import csv
import ipaddress

import vr_command as vr
from vr_process import tool

ADMIN_SOCKET = "/run/haproxy/admin.sock"
USAGE = "get_haproxy_stats.sh <public ip> <port>"


def sessions(args: list[str]) -> None:
    """Print the number of current connections of the rule's listener; 0 when there is no such rule (contract.md).

    Connections that an earlier configuration accepted end in a process that no longer counts.
    """
    if len(args) != 2 or not _is_address(args[0]) or not (args[1].isascii() and args[1].isdigit()):
        raise vr.CommandError(f"usage: {USAGE}")
    name = f"{args[0].replace('.', '_')}-{int(args[1])}"
    socket = vr.at(ADMIN_SOCKET)
    done = tool(["socat", "-", f"UNIX-CONNECT:{socket}"], stdin="show stat\n")
    if done.returncode != 0:
        raise vr.CommandError(f"haproxy does not answer on {ADMIN_SOCKET}: {done.stderr}")
    rows = csv.DictReader(done.stdout.removeprefix("# ").splitlines())
    found = [row["scur"] for row in rows if (row["pxname"], row["svname"]) == (name, "FRONTEND")]
    print(next(iter(found), "0") or "0")


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
