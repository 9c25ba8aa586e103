# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The router as data: what every service plans from.

All classes are frozen and hold normalised values only. Nothing here knows databags, Ansible or the system.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.bgp import Bgp
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.ipv6 import Ipv6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import LoadBalancer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.metadata import Items
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.monitoring import Monitoring
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.redundancy import (
    PairLink,
    VirtualAddress,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Vpn

TABLE_BASE = 100
"""Routing table and connection mark of ethN are 100 + N, so neither is ever 0 (D10)."""


class Kind(Enum):
    """What a router serves; the value is `type` of the boot arguments."""

    ISOLATED = "router"
    VPC = "vpcrouter"
    SHARED = "dhcpsrvr"
    INTERNAL_LB = "ilbvm"

    @property
    def routes(self) -> bool:
        """Tell whether packets are forwarded between NICs."""
        return self in (Kind.ISOLATED, Kind.VPC)

    @property
    def serves_vms(self) -> bool:
        """Tell whether VMs get addresses, names, metadata and passwords here; a load balancer only balances."""
        return self is not Kind.INTERNAL_LB


class Role(Enum):
    """What a NIC is for."""

    GUEST = "guest"
    CONTROL = "control"
    PUBLIC = "public"
    PRIVATE_GATEWAY = "private_gateway"


class VrrpState(Enum):
    """What VRRP has made of this router of a pair; the value is what checkrouter.sh prints."""

    PRIMARY = "PRIMARY"
    BACKUP = "BACKUP"
    FAULT = "FAULT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface that is plugged in now."""

    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class Address:
    """An address wanted on a device; `gateway` is the next hop of its subnet, if it has one."""

    interface: IPv4Interface
    source_nat: bool = False
    gateway: IPv4Address | None = None

    @property
    def ip(self) -> IPv4Address:
        """Return the address without its prefix length."""
        return self.interface.ip

    @property
    def network(self) -> IPv4Network:
        """Return the subnet."""
        return self.interface.network


@dataclass(frozen=True, slots=True)
class Device:
    """A NIC with a role. The first address is the primary one; `mtu` is in bytes."""

    name: str
    role: Role
    addresses: tuple[Address, ...]
    mtu: int = 1500
    network_id: int = 0
    source_nat: bool = False
    dns: tuple[str, ...] = ()
    domain: str | None = None
    is_gateway: bool = True
    six: Ipv6 | None = None

    @property
    def number(self) -> int:
        """Return N of ethN."""
        return int(self.name.removeprefix("eth"))

    @property
    def table(self) -> int:
        """Return the number of the routing table, which is also the mark of its connections."""
        return TABLE_BASE + self.number

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """Return the subnets of the device, each once, in address order."""
        return tuple(dict.fromkeys(address.network for address in self.addresses))

    @property
    def gateway(self) -> IPv4Address | None:
        """Return the next hop of the primary subnet."""
        return next((address.gateway for address in self.addresses if address.gateway), None)


@dataclass(frozen=True, slots=True)
class Ports:
    """An inclusive port range."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Match:
    """What a filter rule applies to; `None` and an empty tuple mean anything.

    `protocol` is tcp, udp, icmp or a protocol number as text. The CIDRs are validated, host bits cleared.
    """

    protocol: str | None = None
    ports: Ports | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the user: `label` is the databag's id, so that messages can name it."""

    match: Match
    allow: bool
    label: str


@dataclass(frozen=True, slots=True)
class RuleList:
    """Ordered rules, first match decides, then `default_allow`."""

    rules: tuple[Rule, ...] = ()
    default_allow: bool = False


NO_ACL = (RuleList(), RuleList(default_allow=True))
"""Ingress and egress of a VPC's device without an ACL of its own: nothing enters, everything leaves."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port forward. `None` as protocol means tcp and udp; `None` as ports means all of them, unshifted."""

    public_ip: IPv4Address
    internal_ip: IPv4Address
    protocol: str | None = None
    public_ports: Ports | None = None
    internal_ports: Ports | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticNat:
    """A one-to-one NAT of a public address to a VM."""

    public_ip: IPv4Address
    internal_ip: IPv4Address


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of the user through a gateway that must be in a connected subnet."""

    network: IPv4Network
    gateway: IPv4Address
    device: str


@dataclass(frozen=True, slots=True)
class DhcpHost:
    """A static lease: one per MAC and network (F5, F8). `lease_time` in seconds, 0 is infinite."""

    mac: str
    ip: IPv4Address
    name: str
    device: str
    lease_time: int = 0
    default_nic: bool = True


@dataclass(frozen=True, slots=True)
class HostName6:
    """A VM's name for an IPv6 address; the VM takes the address by itself, the router only knows it."""

    ip: IPv6Address
    name: str
    device: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the boot arguments say about the router as a whole; `advert_interval` is in seconds."""

    name: str
    kind: Kind
    domain: str = "cloudnine.internal"
    gateway: IPv4Address | None = None
    resolvers: tuple[str, ...] = ()
    resolvers6: tuple[str, ...] = ()
    external_dns: bool = False
    expose_dns: bool = False
    router_resolver_only: bool = False
    search_domains: tuple[str, ...] = ()
    vpc_cidr: IPv4Network | None = None
    routed: bool = False
    public_network: bool = True
    per_ip_firewall: bool = True
    redundant: bool = False
    disable_rp_filter: bool = False
    management_networks: tuple[IPv4Network, ...] = ()
    management_gateway: IPv4Address | None = None
    ssh_keys: tuple[str, ...] = ()
    root_password: str | None = field(default=None, repr=False)
    pair_password: str | None = field(default=None, repr=False)
    logrotate_calendar: str | None = None
    source_nat_ip: IPv4Address | None = None
    guest_gateway: IPv4Address | None = None
    advert_interval: float = 1.0
    vrrp_id: int = 1


@dataclass(frozen=True, slots=True)
class Away:
    """What was there before the management server started the router, and no drop has spoken of since.

    `leases` are pairs of address and MAC; `tiers` are networks. The leases wait for them.
    """

    leases: frozenset[tuple[str, str]] = frozenset()
    tiers: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Router:
    """Everything that the databags say, resolved to the NICs that are plugged in, and what VRRP says.

    `firewall` is of what enters by a public address, `inbound` of what enters a routed isolated network.
    """

    settings: Settings
    state: VrrpState = VrrpState.UNKNOWN
    devices: tuple[Device, ...] = ()
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    firewall: dict[IPv4Address, RuleList] = field(default_factory=dict)
    inbound: RuleList = RuleList()
    egress: RuleList = RuleList()
    acls: dict[str, tuple[RuleList, RuleList]] = field(default_factory=dict)
    inbound6: RuleList = RuleList()
    egress6: RuleList = RuleList()
    acls6: dict[str, tuple[RuleList, RuleList]] = field(default_factory=dict)
    forwards: tuple[Forward, ...] = ()
    static_nats: tuple[StaticNat, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    names6: tuple[HostName6, ...] = ()
    gateways: dict[IPv4Network, IPv4Address] = field(default_factory=dict)
    vm_data: dict[str, Items] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    load_balancer: LoadBalancer | None = None
    vpn: Vpn = field(default_factory=Vpn)
    bgp: Bgp | None = None
    away: Away = Away()
    monitoring: Monitoring = field(default_factory=Monitoring)

    def by_role(self, *roles: Role) -> tuple[Device, ...]:
        """Return the devices of the given roles in the order of their numbers."""
        return tuple(device for device in self.devices if device.role in roles)

    def with_ipv6(self, *roles: Role) -> tuple[Device, ...]:
        """Return the devices of the given roles, or all, that have IPv6."""
        return tuple(device for device in self.devices if device.six and (not roles or device.role in roles))

    @property
    def served(self) -> tuple[Device, ...]:
        """Return the guest devices on which VMs are served."""
        return self.by_role(Role.GUEST) if self.settings.kind.serves_vms else ()

    @property
    def service_addresses(self) -> tuple[str, ...]:
        """Return where VMs reach the router's own services: its guest addresses, and the shared one of a pair (C11)."""
        shared = {self.guest_address(device) for device in self.served}
        own = {address.ip for device in self.served for address in device.addresses}
        return tuple(str(ip) for ip in sorted(shared | own))

    def device(self, name: str) -> Device | None:
        """Return the device of that name, or None."""
        return next((device for device in self.devices if device.name == name), None)

    def device_of(self, ip: IPv4Address) -> Device | None:
        """Return the device that carries the address, or None."""
        return next((d for d in self.devices if any(a.ip == ip for a in d.addresses)), None)

    def guest_address(self, device: Device) -> IPv4Address:
        """Return the address by which VMs on a guest device know the router: the shared gateway of a redundant pair."""
        shared = self._shared_gateway(device)
        return device.addresses[0].ip if shared is None else shared.ip

    @property
    def active(self) -> bool:
        """Tell whether this router does the work: always, but the primary alone of a pair."""
        return not self.settings.redundant or self.state is VrrpState.PRIMARY

    def is_up(self, device: Device) -> bool:
        """Tell whether a link is wanted up: what both routers of a pair have, the primary alone may show (C18)."""
        return bool(device.addresses) and (self.active or device.role in (Role.GUEST, Role.CONTROL))

    @property
    def virtual_addresses(self) -> tuple[VirtualAddress, ...]:
        """Return the gateway addresses that VRRP moves, in an order that is the same on both routers (C1)."""
        if not self.settings.redundant:
            return ()
        found = [(device, self._shared_gateway(device)) for device in self.by_role(Role.GUEST)]
        shared = [VirtualAddress(device, interface) for device, interface in found if interface is not None]
        return tuple(sorted(shared, key=lambda v: (v.device.network_id, v.interface)))

    @property
    def pair_link(self) -> PairLink | None:
        """Return the link of the pair: by network, as the names of NICs may differ on the other router (C2).

        An isolated network has one guest NIC, and that is it. The tiers of a VPC come and go, to one router after the
        other: whichever of them were chosen, an election would follow when it went, or when a lower one came.
        """
        if not self.virtual_addresses:
            return None
        first = self.virtual_addresses[0]
        wires = tuple(dict.fromkeys(virtual.device for virtual in self.virtual_addresses))
        if self.settings.kind is Kind.VPC:
            own = redundancy.own_address(self.settings.name)
            return PairLink(redundancy.RELAYED, own, redundancy.SPOKEN_FOR, wires)
        own = next(a.ip for a in first.device.addresses if a.network == first.interface.network)
        return PairLink(first.device.name, own, first.interface.ip, wires)

    def _shared_gateway(self, device: Device) -> IPv4Interface | None:
        """Return the gateway address that a guest device shares with the other router, with its prefix length."""
        given = [self.settings.guest_gateway]
        if self.settings.redundant and device.is_gateway:
            given += [address.gateway for address in device.addresses]
        for gateway in given:
            for network in device.networks if gateway is not None else ():
                if gateway in network and all(a.ip != gateway for a in device.addresses):
                    return IPv4Interface(f"{gateway}/{network.prefixlen}")
        return None

    @property
    def primary_public(self) -> Device | None:
        """Return the public device that carries the network's source NAT address and the default route."""
        public = self.by_role(Role.PUBLIC)
        named, gateway = self.settings.source_nat_ip, self.settings.gateway
        for device in public:
            if any(a.ip == named for a in device.addresses) or any(gateway in n for n in device.networks if gateway):
                return device
        return public[0] if public else None
