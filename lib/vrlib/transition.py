# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry out a transition by hand: configure_router.py --primary | --backup | --fault.

The same as keepalived does at an election, and only that: who is primary is keepalived's decision, and the watchdog
puts a router right that is not what keepalived says.
"""

from __future__ import annotations

import os

from vrlib import command as vr

GOALS = {"--primary": "primary", "--backup": "backup", "--fault": "fault"}


def main(args: list[str]) -> None:
    """Become vr-transition."""
    if len(args) != 1 or args[0] not in GOALS:
        raise vr.CommandError("usage: configure_router.py --primary | --backup | --fault")
    command = vr.at(f"{vr.PROGRAMS}/vr-transition")
    os.execv(command, [command, GOALS[args[0]]])  # noqa: S606 - our own command, no shell
