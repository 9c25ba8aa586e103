# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell of a daemon that has ended though nobody stopped it; systemd runs this before it starts the daemon again."""

from __future__ import annotations

import json
import os
import time

from vrlib import alerts
from vrlib import command as vr

KEPT = "/run/cloudstack/ended.json"
WINDOW, MANY = 60.0, 10
"""So many ends within so many seconds are no accident: the daemon cannot run."""
PAUSE = 4.0
"""Seconds that a daemon which cannot run waits before it is tried again; less than any unit's TimeoutStopSec."""


def main(args: list[str]) -> None:
    """Write an alert about the unit that is named, by what systemd says of its end (systemd.exec(5))."""
    if len(args) != 1:
        raise vr.CommandError("usage: vr-service-ended UNIT")
    if os.environ.get("SERVICE_RESULT", "success") == "success":
        return
    unit = args[0].partition("@")[0]
    why = f"{os.environ.get('EXIT_CODE', '?')} {os.environ.get('EXIT_STATUS', '?')}"
    alerts.write("ALERT", unit, f"The process {unit} is not running ({why}), restarted")
    if _count(args[0]) >= MANY:
        alerts.write("CRIT", unit, f"The process {unit} recover failed")
        time.sleep(PAUSE)


def _count(unit: str) -> int:
    """Note this end, and return how many there were within the window."""
    with alerts.locked():
        ends = {name: times for name, times in failing().items() if time.time() - times[-1] < 3600}
        ends[unit] = [*ends.get(unit, [])[-MANY:], time.time()]
        keep(ends)
    return sum(time.time() - moment < WINDOW for moment in ends[unit])


def failing() -> dict[str, list[float]]:
    """Return when daemons have ended, by unit; the alerts are to be locked."""
    try:
        with open(vr.at(KEPT), encoding="ascii") as file:
            found: dict[str, list[float]] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found


def keep(ends: dict[str, list[float]]) -> None:
    """Replace what is known of ends."""
    vr.write_atomically(vr.at(KEPT), json.dumps(ends).encode())


def recovered(units: list[str]) -> None:
    """Tell of units that had ended and run now; the health checks call this."""
    back = []
    with alerts.locked():
        ends = failing()
        for unit in units:
            if unit in ends and time.time() - ends[unit][-1] > WINDOW / 6:
                back.append(unit)
                del ends[unit]
        if back:
            keep(ends)
    for unit in back:
        process = unit.partition("@")[0]
        alerts.write("INFO", process, f"The process {process} is recovered successfully")
