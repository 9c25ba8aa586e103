# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The site-to-site VPN of the `site2sitevpn` databag: one tunnel per peer, as IKE and the packet filter need it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

if TYPE_CHECKING:
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Device

VERSIONS = {"ikev1": 1, "ikev2": 2}
GROUPS = ("modp2048", "modp1536", "modp1024")
"""What old data mean by an IKE policy without a group; the API of today asks for one."""
DAY, HOUR = 86400, 3600
"""The management server's own lifetimes of IKE and ESP, in seconds."""
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A connection to one peer; `address` is None where the peer is a DNS name. Lifetimes are in seconds.

    `local_id` is the public address that both ends know. `local_address` is where this router has it: without a public
    network that is an address of a tier, and a device upstream translates. `version` 0 takes both versions of IKE.
    """

    peer: str
    address: IPv4Address | None
    local_id: IPv4Address
    local_address: IPv4Address
    device: str
    local_networks: tuple[IPv4Network, ...]
    remote_networks: tuple[IPv4Network, ...]
    psk: str = field(repr=False)
    ike_proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    ike_lifetime: int = DAY
    esp_lifetime: int = HOUR
    version: int = 0
    dpd: bool = False
    encap: bool = False
    passive: bool = False
    split: bool = False

    @property
    def name(self) -> str:
        """Return what the daemon calls it: a dot would end a name there (strongswan.conf(5))."""
        plain = self.peer.replace(".", "_")
        if len(plain) > LONGEST_NAME:
            plain = f"{plain[:64]}_{hashlib.sha256(self.peer.encode()).hexdigest()[:16]}"
        return f"s2s-{plain}"

    @property
    def children(self) -> tuple[tuple[str, tuple[IPv4Network, ...]], ...]:
        """Return the CHILD_SAs by name, with the remote networks of each.

        A quick mode of IKEv1 carries one network (RFC 2409, section 5.5): one child for many would be the first (H1).
        IKE of any version may end as IKEv1.
        """
        if self.split or self.version != VERSIONS["ikev2"]:
            return tuple((f"{self.name}-{n}", (net,)) for n, net in enumerate(self.remote_networks, start=1))
        return ((f"{self.name}-1", self.remote_networks),)


@dataclass(frozen=True, slots=True)
class Vpn:
    """All tunnels, in the order of their peers."""

    tunnels: tuple[Tunnel, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The VPN that can work now, what waits for an address, and what cannot be done."""

    vpn: Vpn
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def site_to_site(bags: Mapping[str, Any], found: Sequence[Device], *, public_network: bool = True) -> Found:
    """Return the tunnels of the databag; one whose own address is on no NIC is pending (H5).

    Without a public network the router answers by its address in the tier with the lowest network id.
    """
    tunnels, pending, warnings = [], [], []
    for peer, record in sorted(bags.get("site2sitevpn", {}).items()):
        if peer == "id":
            continue
        label = f"site-to-site VPN to {peer}"
        local, remote = (_networks(record.get(field)) for field in ("local_guest_cidr", "peer_guest_cidr_list"))
        public = IPv4Address(record["local_public_ip"])
        place = _place(public, found, public_network)
        if ":" in peer:
            warnings.append(f"{label}: it has an IPv6 address, no tunnel is made")
        elif not local or not remote:
            warnings.append(f"{label}: it has no IPv4 networks, no tunnel is made")
        elif place is None:
            pending.append(f"{label}: {public}: no such address yet")
        else:
            tunnels.append(_tunnel(peer, record, public, place, (local, remote)))
    return Found(Vpn(tuple(tunnels)), tuple(pending), tuple(warnings))


def _place(public: IPv4Address, found: Sequence[Device], public_network: bool) -> tuple[Device, IPv4Address] | None:
    holder = next((d for d in found if any(a.ip == public for a in d.addresses)), None)
    if holder is not None:
        return holder, public
    tiers = [d for d in found if d.role.value == "guest" and d.addresses] if not public_network else []
    lowest = min(tiers, key=lambda tier: tier.network_id, default=None)
    return None if lowest is None else (lowest, lowest.addresses[0].ip)


def _tunnel(
    peer: str,
    record: Mapping[str, Any],
    public: IPv4Address,
    place: tuple[Device, IPv4Address],
    networks: tuple[tuple[IPv4Network, ...], tuple[IPv4Network, ...]],
) -> Tunnel:
    device, local_address = place
    return Tunnel(
        peer=peer,
        address=values.address(peer),
        local_id=public,
        local_address=local_address,
        device=device.name,
        local_networks=networks[0],
        remote_networks=networks[1],
        psk=record["ipsec_psk"],
        ike_proposals=_proposals(record["ike_policy"], GROUPS),
        esp_proposals=_proposals(record["esp_policy"]),
        ike_lifetime=int(record.get("ike_lifetime") or DAY),
        esp_lifetime=int(record.get("esp_lifetime") or HOUR),
        version=VERSIONS.get(str(record.get("ike_version", "")).lower(), 0),
        **{name: values.flag(record.get(name)) for name in ("dpd", "encap", "passive")},
        split=values.flag(record.get("split_connections")),
    )


def _networks(cidrs: Any) -> tuple[IPv4Network, ...]:
    """Return the IPv4 networks of a comma list, each once, in its order; blanks and empty places are skipped."""
    networks = (values.network(word) for word in values.words(cidrs))
    return tuple(dict.fromkeys(network for network in networks if network is not None))


def _proposals(policies: str, groups: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return proposals in strongSwan's words; `groups` are for those without one. No group of ESP means no PFS."""
    found = []
    for policy in values.words(policies):
        ciphers, _semicolon, group = policy.partition(";")
        found.append("-".join((ciphers, group) if group else (ciphers, *groups)))
    return tuple(found)
