# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the state of systemd units."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import Runner


def active(run: Runner, names: Iterable[str]) -> frozenset[str]:
    """Return the names of the services that are active; one call of systemctl for all of them."""
    units = [f"{name}.service" for name in names]
    if not units:
        return frozenset()
    output = run(("systemctl", "show", "--property=Id,ActiveState,LoadState", *units))
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in output.split("\n\n"))
    states = [(block["Id"], block["ActiveState"]) for block in blocks if "Id" in block]
    return frozenset(name.removesuffix(".service") for name, state in states if state in ("active", "reloading"))
