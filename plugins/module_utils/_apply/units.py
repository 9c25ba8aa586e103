# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the state of systemd units."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner

LIST = (
    "systemctl",
    "list-units",
    "--type=service,timer",
    "--state=active,reloading",
    "--plain",
    "--no-legend",
    "--full",
)


def active(run: Runner) -> frozenset[str]:
    """Return the names of all active services, without their suffix, and of all active timers.

    It is one call, because each costs what it costs for one unit.
    """
    lines = run(LIST).splitlines()
    return frozenset(line.split(maxsplit=1)[0].removesuffix(".service") for line in lines if line)
