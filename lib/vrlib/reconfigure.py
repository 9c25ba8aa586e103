# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Converge again without a drop: configure.py NAME.

The management server runs this as ``configure.py monitor_service.json`` after the drop of that kind (contract.md). A
converge always looks at every service, so the name is checked and otherwise of no interest.
"""

from __future__ import annotations

from vrlib import command as vr
from vrlib import converge
from vrlib.queue import turn


def main(args: list[str]) -> None:
    """Converge from the databags and print a line about it."""
    if len(args) > 1:
        raise vr.CommandError("usage: configure.py [NAME]")
    for name in args:
        vr.check_name(name)
    with turn(vr.LIMIT) as left:
        print(converge.summary(converge.converge(converge.FROM_DATABAGS, left)))
