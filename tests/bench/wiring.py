# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wire the router that the drops of this package are about."""

from __future__ import annotations

from tests.bench import drops
from tests.lab.lab import Lab
from tests.lab.router import Router


def booted(lab: Lab) -> Router:
    """Return the router, booted, with a NIC on each of three new segments: guest, control, public."""
    macs = {"guest": lab.mac("guest"), "control": lab.mac("control"), "public": drops.PUBLIC_MAC}
    nics = {f"eth{number}": (lab.segment(segment), mac) for number, (segment, mac) in enumerate(macs.items())}
    router = lab.router("r1", drops.CMDLINE, nics)
    router.wait_boot()
    return router
