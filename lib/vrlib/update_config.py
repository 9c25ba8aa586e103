# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take one drop: update_config.py [--check] [--diff] NAME [false].

NAME is a file in /var/cache/cloud; with ``false`` it is not kept once it is taken (contract.md). A name that was taken
before is no error and does nothing. ``--check`` and ``--diff`` print what would change, and change nothing.
"""

from __future__ import annotations

from vrlib import command as vr
from vrlib import converge
from vrlib.queue import take, turn


def main(args: list[str]) -> None:
    """Take the drop and print a line about it."""
    options = tuple(arg for arg in args if arg in ("--check", "--diff"))
    words = [arg for arg in args if arg not in options]
    if len(words) not in (1, 2):
        raise vr.CommandError("usage: update_config.py [--check] [--diff] NAME [false]")
    name = vr.check_name(words[0])
    if options:
        print(_preview(name))
    else:
        record = take(converge.Request(name, keep=words[1:] != ["false"]), vr.LIMIT)
        print(converge.summary(record) if record else f"{name}: already processed")


def _preview(name: str) -> str:
    """Return what the drop would change."""
    with turn(vr.LIMIT) as left:
        if not vr.is_due(name):
            return f"{name}: already processed"
        return converge.preview(converge.Request(name, options=("--check", "--diff")), left) or "no change"
