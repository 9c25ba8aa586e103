# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose requests for metadata and passwords are answered: those of an address that come from its VM's MAC address.

Both are known of each VM with a DHCP entry, so a VM that takes a neighbour's address gets none of its data. An address
without an entry, such as a secondary one, is nobody's: it is answered with what is published for it. The table is one
of its own, so that a VM that comes or goes touches no other rule.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.tables import BINDING_TABLE, home
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File

PATH = f"{home(BINDING_TABLE)}/bindings.nft"
HEADER = "# Owned by cloudstack.virtual_router (dhcp_dns): do not edit."


def wanted(router: Router, render: Callable[..., str]) -> File | None:
    """Return the text of the table; None where no VM is served."""
    if not router.served:
        return None
    addresses = dict.fromkeys(f"{host.device} . {host.ip}" for host in router.hosts)
    pairs = dict.fromkeys(f"{host.device} . {host.ip} . {host.mac.lower()}" for host in router.hosts)
    text = render(
        "nftables/bindings.nft.j2",
        header=HEADER,
        table=BINDING_TABLE,
        addresses=tuple(addresses),
        pairs=tuple(pairs),
        services=router.service_addresses,
    )
    return File(PATH, text, 0o600)
