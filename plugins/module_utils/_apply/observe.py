# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what is live of the files, kernel settings and units that a service wants."""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Wanted


def observe(host: Host, wanted: Wanted) -> Live:
    """Return what is there; what is missing is left out."""
    return Live(
        files=files.read_all(file.path for file in wanted.files),
        knobs=files.read_knobs(path for path, _value in wanted.knobs),
        active=host.active if wanted.units else frozenset(),
    )
