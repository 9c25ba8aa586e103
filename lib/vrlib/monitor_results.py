# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Print what the health checks found, for the management server; getRouterMonitorResults.sh."""

from __future__ import annotations

from vrlib import command as vr
from vrlib import health
from vrlib.health_results import TYPES, answer, load


def main(args: list[str]) -> None:
    """Print the results; VMware writes null where there is no argument."""
    if args not in ([], ["null"], ["true"], ["false"]):
        raise vr.CommandError(f"getRouterMonitorResults.sh: {vr.one_line(ascii(args))[:100]}: expected true or false")
    if args == ["true"]:
        health.refresh()
    print(answer({kind: load(kind) for kind in TYPES}))
