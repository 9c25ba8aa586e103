# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From whom, and what, a router takes as the word of the other router of its pair.

VRRP version 3 and conntrackd have no authentication, and VMs are on the same segments: what a VM can be known by, and
what no router of ours sends, counts for nothing. Who of the rest is the other router: `templates/redundancy`.
"""

from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.redundancy import PairLink
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import (
    NamedSet,
    merge_networks,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.redundancy import (
    BUMP,
    INNER,
    PRIORITY,
    WIRE_PORT,
)

VERSION_AND_TYPE = 0x31
"""The first byte of an advertisement of VRRP version 3 (RFC 5798, section 5.2); a pair speaks nothing else."""
ELECTIONS, STATES = "224.0.0.18", "225.0.0.50"
"""The groups of VRRP, and of what conntrackd and the password servers tell each other."""


def sets(router: Router) -> tuple[NamedSet, ...]:
    """Return where the other router may be heard, from which addresses, and who is a VM by address or by MAC."""
    link = router.pair_link
    hosts = () if link is None else router.hosts
    macs = tuple(dict.fromkeys(host.mac for host in hosts))
    return (
        NamedSet("vrrp_nics", "ifname", () if link is None else _nics(link)),
        NamedSet("pair_members", "ifname . ipv4_addr", () if link is None else _members(router, link), interval=True),
        NamedSet("vm_addresses", "ipv4_addr", tuple(dict.fromkeys(str(host.ip) for host in hosts))),
        NamedSet("vm_macs", "ether_addr", macs),
    )


def rules(router: Router) -> tuple[str, ...]:
    """Return what is taken from the other router: elections, connection states, and who belongs to their groups."""
    link = router.pair_link
    if link is None:
        return ()
    # What only changes who is a member, and answers nothing else (RFC 2236): a switch asks, whatever its address.
    found = [
        "ip protocol 2 ip daddr 224.0.0.0/4 accept",
        "ip saddr @vm_addresses drop",
        "ether saddr @vm_macs drop",
        "iifname . ip saddr != @pair_members drop",
        "ip saddr @guest_addresses drop",
        f"iifname {link.name} ip protocol 112 ip daddr {ELECTIONS} @th,0,24 {{ {_advertisements(router)} }} accept",
        f"iifname {link.name} ip daddr {STATES} udp dport {{ 3780, 3781 }} accept",
    ]
    if link.relayed:
        found.append(f"iifname != {link.name} ip daddr {ELECTIONS} udp dport {WIRE_PORT} accept")
    return tuple(found)


def _nics(link: PairLink) -> tuple[str, ...]:
    """Return the link of the pair, and the NICs that carry it."""
    return tuple(dict.fromkeys([link.name, *(device.name for device in link.wires)]))


def _members(router: Router, link: PairLink) -> tuple[str, ...]:
    """Return which addresses a router of the pair can have, by NIC."""
    guests = {device.name: device for device in router.by_role(Role.GUEST)}
    found = [f"{link.name} . {INNER}"] if link.relayed else []
    for name in _nics(link):
        networks = guests[name].networks if name in guests else ()
        found += [f"{name} . {network}" for network in merge_networks(map(str, networks))]
    return tuple(found)


def _advertisements(router: Router) -> str:
    """Return the first three bytes of all that a pair advertises: version and type, virtual router id, and priority.

    A planned handover is priority 0 (RFC 5798, section 5.2.4), bumpup_priority.sh adds BUMP.
    """
    head = VERSION_AND_TYPE << 16 | router.settings.vrrp_id << 8
    return ", ".join(f"{head | priority:#08x}" for priority in (0, PRIORITY, PRIORITY + BUMP))
