# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make this router one of a pair, or a single one: set_redundant.py --enable | --disable.

That is a boot argument like any other, so it comes in as a drop of boot arguments: whole or not at all.
"""

from __future__ import annotations

import json

from vrlib import command as vr
from vrlib import converge
from vrlib.queue import turn


def main(args: list[str]) -> None:
    """Send the boot arguments in force again, with or without the one that makes a pair."""
    if args not in (["--enable"], ["--disable"]):
        raise vr.CommandError("usage: set_redundant.py --enable | --disable")
    with turn(vr.LIMIT) as left:
        arguments = _arguments()
        arguments.pop("redundant_router", None)
        if args == ["--enable"]:
            arguments["redundant_router"] = "1"
        drop = {"type": "cmdline", "cmd_line": arguments}
        vr.write_atomically(vr.at(f"{vr.INBOX}/{vr.CMD_LINE}"), json.dumps(drop).encode())
        print(converge.summary(converge.converge(converge.Request(vr.CMD_LINE), left)))


def _arguments() -> dict[str, str]:
    """Return the boot arguments in force."""
    path = f"{vr.DATABAGS}/cmdline.json"
    try:
        with open(vr.at(path), encoding="utf-8") as file:
            return dict(json.load(file)["config"])
    except (OSError, ValueError, KeyError, TypeError):
        raise vr.CommandError(f"{path}: expected the boot arguments of this router") from None
