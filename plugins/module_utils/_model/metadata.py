# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What VMs ask the router for: `vmdata` and `vmpassword` databags, by the address that a VM asks from.

The lists of the databag are handed on as they are: turning 2,000 VMs into objects would cost more than all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

Items = Sequence[Sequence[str | None]]
"""The data of a VM as the drop had it: folder, file and content of each item."""

CONSUMED = "saved_password"
"""What the management server sends, and the router answers, when there is no password to hand out."""


def vm_data(bags: Mapping[str, Any]) -> dict[str, Items]:
    """Return the data of each VM by its address, IPv6 in the form in which a web server knows its client."""
    bag: Mapping[str, Items] = bags.get("vmdata", {})
    return {_canonical(address): items for address, items in bag.items() if address != "id"}


def passwords(bags: Mapping[str, Any]) -> dict[str, str]:
    """Return the passwords by address of the VM, without the mark that says there is none."""
    bag: Mapping[str, str] = bags.get("vmpassword", {})
    found = ((_canonical(address), password) for address, password in bag.items() if address != "id")
    return {address: password for address, password in found if values.text(password) and password != CONSUMED}


def _canonical(address: str) -> str:
    return str(ip_address(address)) if ":" in address else address
