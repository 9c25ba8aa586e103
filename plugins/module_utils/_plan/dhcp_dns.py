# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""DHCP and DNS for the guests: the files of dnsmasq, and the leases that must go.

The main configuration changes with networks and boot arguments only and needs a restart. VMs and DHCP options
are in files that dnsmasq rereads without losing a query (A16, F7). Each tier of a VPC has a dnsmasq of its own: one
that comes or goes restarts nobody else's, and each asks its own resolvers (F11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.dns import MAX_SERVERS, RESERVED
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Device,
    DhcpHost,
    HostName6,
    Kind,
    Router,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    ReleaseLease,
    RemoveDirectory,
    RemoveFile,
    Run,
    Step,
    Unit,
    Wanted,
)

DIRECTORY = "/etc/dnsmasq.cloudstack"
HOSTS = f"{DIRECTORY}/hosts"
SERVERS = "/etc/dnsmasq.servers"
"""The operator's, written by the role: who is asked for the reverse names of private networks, if anybody."""
LEASE_DIRECTORY = "/var/lib/misc"
TIER = "tier_"
"""What the names of tiers' servers begin with; D-Bus allows neither hyphens nor a digit first in what it is part of."""
HEADER = "# Owned by cloudstack.virtual_router (dhcp_dns): do not edit."
DATA_SERVER = "data-server"
"""The name by which VMs find metadata and passwords (cloud-init, DataSourceCloudStack)."""

INTERFACE = "uk.org.thekelleys.dnsmasq"


@dataclass(frozen=True, slots=True)
class Server:
    """One dnsmasq, and the guest devices it serves: `name` is empty where one serves them all.

    A tier's is named by its network, not by its NIC: NICs change their names (E1).
    """

    name: str = ""
    devices: tuple[Device, ...] = ()

    @property
    def unit(self) -> str:
        """Return the unit without its suffix."""
        return f"dnsmasq@{self.name}" if self.name else "dnsmasq"

    @property
    def config(self) -> str:
        """Return the path of the main configuration."""
        return self.file("dnsmasq.conf") if self.name else "/etc/dnsmasq.conf"

    def file(self, name: str) -> str:
        """Return the path of a file that is this server's alone."""
        return f"{DIRECTORY}/{self.name}/{name}" if self.name else f"{DIRECTORY}/{name}"

    @property
    def lease_file(self) -> str:
        """Return where dnsmasq keeps its leases."""
        return f"{LEASE_DIRECTORY}/dnsmasq.{self.name}.leases" if self.name else f"{LEASE_DIRECTORY}/dnsmasq.leases"

    @property
    def bus_name(self) -> str:
        """Return the name it answers to on D-Bus."""
        return f"{INTERFACE}.{self.name}" if self.name else INTERFACE

    def call(self, *words: str) -> tuple[str, ...]:
        """Return the command that calls a method by D-Bus (dnsmasq DBus-interface document)."""
        return ("busctl", "--system", "call", self.bus_name, "/uk/org/thekelleys/dnsmasq", INTERFACE, *words)

    @property
    def reread(self) -> tuple[str, ...]:
        """Return the command for what SIGHUP does too; this one answers when it is done.

        Tiers are told together, by one systemctl, whose units have the same command.
        """
        return () if self.name else self.call("ClearCache")


WITHHELD = tuple(f"tag:secondary,option:{name}" for name in ("router", "dns-server", "domain-name"))
"""An option without a value is not sent; one that is not mentioned at all is, with dnsmasq's own default (F7)."""
NO_NAME = re.compile(r"ignore|infinite|[0-9]+[a-z]?", re.IGNORECASE)
"""What dnsmasq takes for a lease time, or for a host to ignore, where a name may stand (dnsmasq(8), --dhcp-host)."""


@dataclass(frozen=True, slots=True)
class Option:
    """A DHCP option for the hosts of a network; a secondary NIC gets none that would lead its traffic (F7)."""

    tag: str
    name: str
    values: tuple[str, ...]
    default_nic_only: bool = False

    @property
    def line(self) -> str:
        """Return the option as dnsmasq's options file takes it; without a value the option is not sent (F17)."""
        tags = f"tag:{self.tag},tag:!secondary" if self.default_nic_only else f"tag:{self.tag}"
        return ",".join((tags, f"option:{self.name}", *self.values))


@dataclass(frozen=True, slots=True)
class Range:
    """A subnet with static leases; VMs outside every range are ignored."""

    tag: str
    start: IPv4Address
    netmask: IPv4Address
    broadcast: IPv4Address


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that dnsmasq has given."""

    ip: str
    mac: str


def servers(router: Router) -> tuple[Server, ...]:
    """Return the dnsmasqs of a router: one for each tier of a VPC, else one for all guest devices."""
    if router.settings.kind is not Kind.VPC:
        return (Server(devices=router.served),)
    return tuple(Server(_server_name(device), (device,)) for device in router.served if device.networks)


def _server_name(device: Device) -> str:
    return _tier_name(device.networks[0])


def _tier_name(network: IPv4Network) -> str:
    return f"{TIER}{network.network_address}".replace(".", "_")


def names(router: Router) -> Wanted:
    """Return the file of all names: every server answers for the whole router."""
    return Wanted(files=(File(HOSTS, _lines(_names(router, router.served)), effect=Effect.RELOAD),))


def wanted(router: Router, server: Server, render: Callable[..., str]) -> Wanted:
    """Return the files and the unit of a server; without a guest network dnsmasq does not run.

    Secondary NICs are marked in the main configuration: dnsmasq 2.90 of Debian 12 aborts when it rereads a host whose
    line has a `set:` and that has asked for its lease since. A change among them therefore restarts it.
    """
    guests = server.devices
    leases, options = server.file("dhcp-hosts"), server.file("dhcp-options")
    mine = {device.name for device in guests}
    config = render(
        "dnsmasq/dnsmasq.conf.j2",
        header=HEADER,
        bus_name=server.bus_name if server.name else "",
        interfaces=[device.name for device in guests] if server.name else (),
        listen=() if server.name else sorted(_served(router)),
        ranges=[found for device in guests for found in _ranges(device)],
        secondary=sorted(h.mac for h in router.hosts if h.device in mine and not h.default_nic),
        dns=not router.settings.external_dns,
        domains=_domains(router, guests),
        reverse=_reverse(router, guests),
        servers=SERVERS,
        default_domain=_domain(router, guests[0]) if server.name else router.settings.domain,
        resolvers=_forwarders(router, guests),
        files={"hosts": HOSTS, "dhcp_hosts": leases, "dhcp_options": options, "leases": server.lease_file},
    )
    check = ("dnsmasq", "--test", "--conf-file={}")
    sent = [*WITHHELD, *_option_lines(router, guests)]
    return Wanted(
        files=(
            File(leases, _lines(_dhcp_host(h) for h in router.hosts if h.device in mine), effect=Effect.RELOAD),
            File(options, _lines(sent), effect=Effect.RELOAD, checker=_check_options(sent)),
            File(server.config, config, effect=Effect.RESTART, checker=check),
        ),
        units=(Unit(server.unit, running=bool(guests) and router.active, reload=server.reread),),
    )


def _check_options(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the check of an options file, which `--test` does not read: its lines, each as an argument.

    What dnsmasq refuses while it rereads the file it only tells its log.
    """
    return ("dnsmasq", "--test", "--conf-file=/dev/null", *(f"--dhcp-option={line}" for line in lines))


def removed(router: Router, wanted_paths: Iterable[str], present: Iterable[str]) -> list[Step]:
    """Return the steps that take away what nobody wants of `present`: files of our directories, and leases of tiers.

    The directories of tiers are among it, with a slash at the end. The server of a tier that is gone is stopped first.
    """
    kept = {server.name for server in servers(router)}
    waiting = [Server(_tier_name(network)) for network in router.away.tiers]
    leases = (server.lease_file for server in (*servers(router), *waiting))
    mine = {*wanted_paths, *leases, *(f"{DIRECTORY}/{n}/" for n in kept)}
    stale = sorted(path for path in present if path not in mine)
    owners = sorted({name for path in stale if (name := _owner(path)).startswith(TIER) and name not in kept})
    steps: list[Step] = [Run(("systemctl", "stop", f"{Server(name).unit}.service"), f"stop {name}") for name in owners]
    folders = tuple(path for path in stale if path.endswith("/"))
    files = [path for path in stale if not path.startswith(folders)]
    return [*steps, *(RemoveDirectory(path) for path in folders), *(RemoveFile(path) for path in files)]


def _owner(path: str) -> str:
    """Return the server whose it is: `…/<server>/`, `…/<server>/<file>`, or `dnsmasq.<server>.leases`."""
    directory, _slash, name = path.rpartition("/")
    return name.split(".")[1] if directory == LEASE_DIRECTORY else directory.rpartition("/")[2]


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (HEADER, *lines))


def _served(router: Router) -> set[str]:
    """Return the addresses that DHCP and DNS listen on: guest addresses only (F15)."""
    own = {str(a.ip) for device in router.served for a in device.addresses}
    return own | {str(virtual.interface.ip) for virtual in router.virtual_addresses}


def _ranges(device: Device) -> list[Range]:
    """Return one range per subnet (F6)."""
    return [
        Range(_tag(device, network), network.network_address, network.netmask, network.broadcast_address)
        for network in device.networks
    ]


def _tag(device: Device, network: IPv4Network) -> str:
    return f"{device.name}-{network.network_address}".replace(".", "-")


def _option_lines(router: Router, guests: Iterable[Device]) -> Iterable[str]:
    return (option.line for device in guests for option in _options(router, device))


def _options(router: Router, device: Device) -> list[Option]:
    """Return the options of each subnet of a device: router, DNS, domain, MTU and search list."""
    options = []
    for network in device.networks:
        tag = _tag(device, network)
        domain = _domain(router, device)
        options += [
            Option(tag, "router", _gateway(router, device, network), default_nic_only=True),
            Option(tag, "dns-server", _resolvers(router, device, network), default_nic_only=True),
            Option(tag, "domain-name", (domain,), default_nic_only=True),
            Option(tag, "mtu", (str(device.mtu),)),
        ]
        if router.settings.search_domains:
            options.append(Option(tag, "domain-search", router.settings.search_domains, default_nic_only=True))
    return options


def _gateway(router: Router, device: Device, network: IPv4Network) -> tuple[str, ...]:
    """Return the default gateway of a subnet: the router where it routes, else the gateway the network has."""
    if router.settings.kind.routes and device.is_gateway:
        return (str(_own_address(router, device, network)),)
    given = [a.gateway for a in device.addresses if a.gateway and a.gateway in network]
    known = (router.gateways.get(network), *given, router.settings.gateway)
    return tuple(str(gateway) for gateway in known if gateway is not None and gateway in network)[:1]


def _own_address(router: Router, device: Device, network: IPv4Network) -> IPv4Address:
    shared = router.guest_address(device)
    return shared if shared in network else next(a.ip for a in device.addresses if a.network == network)


def _resolvers(router: Router, device: Device, network: IPv4Network) -> tuple[str, ...]:
    """Return the DNS servers of a subnet: the router first, then the given ones (F10), each once."""
    given = device.dns or router.settings.resolvers
    if router.settings.external_dns:
        return given[:MAX_SERVERS]
    own = str(_own_address(router, device, network))
    every = (own,) if router.settings.router_resolver_only else tuple(dict.fromkeys((own, *given)))
    return every[:MAX_SERVERS]


def _dhcp_host(host: DhcpHost) -> str:
    lease = "infinite" if host.lease_time == 0 else str(max(host.lease_time, 120))
    name = "" if NO_NAME.fullmatch(host.name) or host.name.lower() in RESERVED else host.name
    return ",".join(part for part in (host.mac, str(host.ip), name, lease) if part)


def _names(router: Router, guests: tuple[Device, ...]) -> list[str]:
    """Return the names DNS knows: the VMs, the router, and where each network finds its metadata (F12).

    A router that serves no VMs, an internal load balancer, may be told of some all the same (A3).
    """
    domains = {device.name: _domain(router, device) for device in guests}
    lines = []
    for device in guests:
        domain = domains[device.name]
        for network in device.networks:
            own = _own_address(router, device, network)
            lines += [f"{own} {name} {name}.{domain}" for name in (DATA_SERVER, router.settings.name)]
    named: tuple[DhcpHost | HostName6, ...] = (*router.hosts, *router.names6)
    served = [host for host in named if host.device in domains]
    # A VM that is called like the router would be sent the passwords and data of others.
    taken = {"", DATA_SERVER, router.settings.name.lower(), *RESERVED}
    lines += [f"{h.ip} {h.name} {h.name}.{domains[h.device]}" for h in served if h.name.lower() not in taken]
    return lines


def _domain(router: Router, device: Device) -> str:
    return device.domain or router.settings.domain


def _domains(router: Router, guests: Iterable[Device]) -> list[str]:
    """Return the domains that are answered for here and not asked about elsewhere."""
    return list(dict.fromkeys([*(_domain(router, device) for device in guests), router.settings.domain]))


def _reverse(router: Router, guests: Iterable[Device]) -> list[str]:
    """Return the networks whose reverse names are answered for here: nobody else can know them.

    All of a VPC, so that a tier's server need not be restarted when another tier comes.
    """
    own = [network for device in guests for network in device.networks]
    if router.settings.vpc_cidr:
        own.append(router.settings.vpc_cidr)
    return [str(network) for network in collapse_addresses(own)]


def _forwarders(router: Router, guests: Iterable[Device]) -> tuple[str, ...]:
    """Return who is asked for other names: the resolvers of the tier, else those of the whole router (F11)."""
    own = tuple(dict.fromkeys(resolver for device in guests for resolver in device.dns))
    return own or router.settings.resolvers


def stale_leases(router: Router, server: Server, leases: Iterable[Lease]) -> list[Step]:
    """Return the leases to release: of VMs that are gone, and of addresses that another VM owns now.

    A VM that a start of the router has not told of yet is not gone.
    Without a guest network, or on a backup, dnsmasq does not run and cannot be asked; it will be, once it does.
    """
    if not server.devices or not router.active:
        return []
    mine = {device.name for device in server.devices}
    owners = {str(host.ip): host.mac for host in router.hosts if host.device in mine}
    found = ((lease, lease.mac.lower()) for lease in leases)
    return [
        ReleaseLease(lease.ip, lease.mac, server.name)
        for lease, mac in found
        if owners.get(lease.ip) != mac and (lease.ip in owners or (lease.ip, mac) not in router.away.leases)
    ]


def parse_leases(text: str) -> list[Lease]:
    """Return the IPv4 leases of dnsmasq's lease file: expiry, MAC, address, name, client id."""
    rows = (line.split() for line in text.splitlines())
    return [Lease(ip=row[2], mac=row[1]) for row in rows if len(row) == 5 and "." in row[2]]


def _input_rules(_router: Router) -> tuple[str, ...]:
    return (
        "iifname @guest_nics udp dport 67 accept",
        "iifname . ip saddr @guest_members ip daddr @guest_addresses jump guest_services",
        "iifname @dns_sources ip daddr @guest_addresses meta l4proto { tcp, udp } th dport 53 accept",
    )


def _guest_rules(_router: Router) -> tuple[str, ...]:
    return ("meta l4proto { tcp, udp } th dport 53 accept",)


def _primary_units(router: Router) -> tuple[str, ...]:
    return tuple(f"{server.unit}.service" for server in servers(router) if server.devices)


SHARE = Share(input_rules=_input_rules, guest_rules=_guest_rules, primary_units=_primary_units)
