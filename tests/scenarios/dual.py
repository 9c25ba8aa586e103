# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks whose guests are known outside: routed mode, and IPv6, which is never translated.

One provider carries both families: it is the gateway of the public network, and has a route to each guest network by
the router's public address, as an operator sets it. VMs have IPv4 addresses from the start; those of IPv6 are what the
kernel makes of router advertisements.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.process import LabError
from tests.lab.router import Router
from tests.scenarios.drops import Drop

SERVED_TCP = (22, 25, 80, 443, 6000, 8443)
SERVED_UDP = (53, 123, 5353, 6000)
CLIENT, OTHER = "203.0.113.10", "203.0.113.200"
CLIENT6, OTHER6 = "2001:db8:99::10", "2001:db8:98::10"
"""Two hosts of the internet, each with an address of both families, in networks that rules tell apart."""
OWN, OWN6 = "192.0.2.10", "2001:db8:f::10"
"""The public addresses of the router."""
HOP, HOP6 = "192.0.2.1", "2001:db8:f::1"
"""The provider's addresses in the public network."""
PUBLIC_MAC, CONTROL_MAC = "1e:00:2d:00:00:0a", "0e:00:a9:fe:03:65"


@dataclass(frozen=True)
class Segment:
    """A guest network: segment and NIC of the router, its MAC, both prefixes and the router's addresses there."""

    name: str
    nic: str
    mac: str
    network: str
    network6: str = ""
    network_id: int = 0

    @property
    def router(self) -> str:
        """Return the router's IPv4 address."""
        return self.network.rpartition(".")[0] + ".1"

    @property
    def router6(self) -> str:
        """Return the router's IPv6 address."""
        return self.network6.partition("/")[0] + "1"


GUEST = Segment("guest", "eth0", "02:00:2e:00:00:0a", "10.1.1.0/24", "2001:db8:a:1::/64")
WEB = Segment("web", "eth2", "02:00:09:00:00:02", "10.2.1.0/24", "2001:db8:a:1::/64", 41)
APP = Segment("app", "eth3", "02:00:09:00:00:03", "10.2.2.0/24", "2001:db8:a:2::/64", 42)
VMS: dict[str, tuple[Segment, str, str]] = {
    "vm1": (GUEST, "10.1.1.11", "02:01:00:00:00:0b"),
    "vm2": (GUEST, "10.1.1.12", "02:01:00:00:00:0c"),
    "web1": (WEB, "10.2.1.11", "02:02:00:00:00:0b"),
    "web2": (WEB, "10.2.1.12", "02:02:00:00:00:0c"),
    "app1": (APP, "10.2.2.21", "02:03:00:00:00:15"),
}
"""The VMs of both kinds of network, by name: where they are, their IPv4 addresses, their MACs."""


@dataclass(frozen=True)
class Dual:
    """A network in a lab: its router, and all hosts by name."""

    lab: Lab
    router: Router
    hosts: Mapping[str, Host]

    def change(self, kind: str, body: Drop, *, check: bool = True) -> Any:
        """Send one drop under a name that was never used."""
        _counted[0] += 1
        return self.router.drop(f"{kind}.json.00000000-0000-4000-a000-{_counted[0]:012d}", body, check=check)


_counted = [0]


def eui64(segment: Segment, mac: str) -> str:
    """Return the address that a VM makes of a prefix and its MAC (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    words = [f"{octets[0]:02x}{octets[1]:02x}", f"{octets[2]:02x}ff", f"fe{octets[3]:02x}"]
    words.append(f"{octets[4]:02x}{octets[5]:02x}")
    return segment.network6.partition("::")[0] + ":" + ":".join(f"{int(word, 16):x}" for word in words)


def address6(name: str) -> str:
    """Return the IPv6 address of a VM."""
    segment, _ip, mac = VMS[name]
    return eui64(segment, mac)


def outside(lab: Lab, segments: Sequence[Segment]) -> dict[str, Host]:
    """Make the provider and the internet behind it."""
    for name in ("public", "internet", "control", *(segment.name for segment in segments)):
        lab.segment(name)
    provider = lab.host("provider", "public", (f"{HOP}/24", f"{HOP6}/64"))
    internet = ["203.0.113.1/24", "2001:db8:99::1/64", "2001:db8:98::1/64"]
    provider.add_nic("eth1", "internet", lab.mac("provider.internet"), internet)
    provider.forward()
    for segment in segments:
        provider.add_route(segment.network, OWN)
        if segment.network6:
            provider.add_route(segment.network6, OWN6)
    hosts = {"provider": provider}
    for name, ip, ip6 in (("client", CLIENT, CLIENT6), ("other", OTHER, OTHER6)):
        hosts[name] = lab.host(name, "internet", (f"{ip}/24", f"{ip6}/64"), gateway="203.0.113.1")
        hosts[name].add_route("default", ip6.rpartition("::")[0] + "::1")
    return hosts


@contextmanager
def narrowed(provider: Host, outside6: str, inside6: str) -> Iterator[None]:
    """Let the provider route no IPv6 packet over 1400 octets to a host of the internet, nor to a VM.

    His NICs stay as they are: one that is narrower than the other end of its wire drops what is too large for it,
    unless offloading carries it past, and nobody is told.
    """
    ways = ((outside6, "dev", "eth1"), (inside6, "via", OWN6, "dev", "eth0"))
    for way in ways:
        provider.ip("-6", "route", "add", *way, "mtu", "1400")
    try:
        yield
    finally:
        for way in ways:
            provider.ip("-6", "route", "del", *way)


def guests(lab: Lab, segments: Sequence[Segment]) -> dict[str, Host]:
    """Make the VMs of the segments."""
    found = {}
    for name, (segment, ip, mac) in VMS.items():
        if segment in segments:
            found[name] = lab.host(name, segment.name, f"{ip}/24", gateway=segment.router, mac=mac)
    return found


def make(lab: Lab, cmdline: str, segments: Sequence[Segment], public: str = "eth2") -> Dual:
    """Make everything and switch the router on; `public` is the name of its public NIC."""
    hosts = outside(lab, segments) | guests(lab, segments)
    control = "eth0" if public == "eth1" else "eth1"
    nics = {control: ("control", CONTROL_MAC), public: ("public", PUBLIC_MAC)}
    nics |= {segment.nic: (segment.name, segment.mac) for segment in segments}
    router = lab.router("r1", cmdline, nics)
    for name, host in hosts.items():
        if name != "provider":
            host.probe.serve(tcp=SERVED_TCP, udp=SERVED_UDP)
    router.wait_boot()
    return Dual(lab, router, hosts)


def isolated_cmdline(**extra: str) -> str:
    """Return the boot arguments of an isolated network's router."""
    given = {
        "template": "domP",
        "name": "r-101-VM",
        "eth2ip": OWN,
        "eth2mask": "255.255.255.0",
        "gateway": HOP,
        "eth0ip": GUEST.router,
        "eth0mask": "255.255.255.0",
        "domain": "cs2cloud.internal",
        "cidrsize": "24",
        "dhcprange": GUEST.router,
        "eth1ip": "169.254.3.101",
        "eth1mask": "255.255.0.0",
        "type": "router",
        "disable_rp_filter": "true",
        "dns1": "203.0.113.53",
    }
    return " ".join(f"{name}={value}" for name, value in (given | extra).items())


IPV6_ARGUMENTS = {
    "eth0ip6": GUEST.router6,
    "eth0ip6prelen": "64",
    "eth2ip6": OWN6,
    "eth2ip6prelen": "64",
    "ip6gateway": HOP6,
    "ip6dns1": "2001:db8:53::1",
    "ip6dns2": "2001:db8:53::2",
    "ip6firewall": "true",
}
"""What the boot arguments of an isolated network with IPv6 have in addition."""


def vpc_cmdline(**extra: str) -> str:
    """Return the boot arguments of a VPC's router."""
    given = {
        "template": "domP",
        "name": "r-201-VM",
        "vpccidr": "10.2.0.0/16",
        "domain": "vpc.internal",
        "eth0ip": "169.254.4.201",
        "eth0mask": "255.255.0.0",
        "type": "vpcrouter",
        "source_nat_ip": OWN,
        "has_public_network": "true",
        "disable_rp_filter": "true",
        "dns1": "203.0.113.53",
    }
    return " ".join(f"{name}={value}" for name, value in (given | extra).items())


def public_address(nic: int) -> Drop:
    """Return the drop of the router's public address; it says source NAT in routed mode as well."""
    record = {
        "public_ip": OWN,
        "source_nat": True,
        "add": True,
        "one_to_one_nat": False,
        "first_i_p": True,
        "gateway": HOP,
        "netmask": "255.255.255.0",
        "vif_mac_address": PUBLIC_MAC,
        "nic_dev_id": nic,
        "new_nic": False,
        "nw_type": "Public",
        "is_private_gateway": False,
        "mtu": 1500,
    }
    return {"ip_address": [record], "type": "ips"}


def tier(segment: Segment, *, six: bool = False, add: bool = True, **extra: Any) -> Drop:
    """Return the drop that brings a tier or takes it away; `six` says whether it has IPv6."""
    found: Drop = {
        "add": add,
        "mac_address": segment.mac,
        "device": segment.nic,
        "router_guest_ip": segment.router,
        "router_guest_netmask": "255.255.255.0",
        "router_guest_gateway": segment.router,
        "cidr": "24",
        "dns": "203.0.113.53",
        "domain_name": f"{segment.name}.internal",
        "is_vr_guest_gateway": True,
        "network_id": segment.network_id,
        "mtu": 1500,
        "type": "guestnetwork",
    }
    if six:
        found |= {
            "router_guest_ip6": segment.router6,
            "router_guest_ip6_gateway": segment.router6,
            "router_guest_ip6_cidr": segment.network6,
            "cidr6": segment.network6.partition("/")[2],
            "router_ip6": OWN6,
            "router_ip6_gateway": HOP6,
            "router_ip6_cidr": "2001:db8:f::/64",
        }
    return found | extra


def acl(segment: Segment, ingress: Sequence[Drop], egress: Sequence[Drop], *, six: bool = False) -> Drop:
    """Return the drop of a tier's ACL."""
    found: Drop = {
        "type": "networkacl",
        "device": segment.nic,
        "mac_address": segment.mac,
        "private_gateway_acl": False,
        "nic_ip": segment.router,
        "nic_netmask": "24",
        "ingress_rules": list(ingress),
        "egress_rules": list(egress),
    }
    return found | ({"nic_ip6_cidr": segment.network6} if six else {})


def acl_rule(kind: str, cidr: str = "0.0.0.0/0,::/0", *, allowed: bool = True, **fields: Any) -> Drop:
    """Return a rule of an ACL; a number is a protocol by number, and tcp and udp without ports have all of them."""
    if kind.isdigit():
        return {"type": "protocol", "protocol": int(kind), "cidr": cidr, "allowed": allowed, **fields}
    more = {"first_port": 0, "last_port": 0} if kind in ("tcp", "udp") else {}
    more |= {"icmp_type": -1, "icmp_code": -1} if kind == "icmp" else {}
    return {"type": kind, "cidr": cidr, "allowed": allowed, **more, **fields}


def rule(number: int, protocol: str, ports: tuple[int, int] | None = None, **fields: Any) -> Drop:
    """Return a rule of a routed isolated network; without further fields one that lets everybody in to all VMs."""
    found: Drop = {
        "id": number,
        "protocol": protocol,
        "revoked": False,
        "already_added": False,
        "source_cidr_list": ["0.0.0.0/0"],
        "dest_cidr_list": [],
        "purpose": "Firewall",
        "traffic_type": "Ingress",
        "default_egress_policy": False,
    }
    found |= {"src_port_range": list(ports)} if ports else {}
    found |= {"icmp_type": -1, "icmp_code": -1} if protocol == "icmp" else {}
    return found | fields


def leaving(number: int, protocol: str, policy: bool, ports: tuple[int, int] | None = None, **fields: Any) -> Drop:
    """Return an egress rule under a default policy."""
    given = {"src_ip": "", "traffic_type": "Egress", "default_egress_policy": policy, "source_cidr_list": []}
    return rule(number, protocol, ports, **given, **fields)


POLICY = leaving(0, "all", True)
"""What the server sends where the default is to let everything out; with the other default it sends nothing."""


def rules(*given: Drop, kind: str = "firewallrules") -> Drop:
    """Return the drop of such rules."""
    return {"rules": list(given), "type": kind}


def rule6(number: int, protocol: str, ports: tuple[int, int] | None = None, **fields: Any) -> Drop:
    """Return an ingress rule for IPv6; without further fields one that lets everybody in to all VMs."""
    given = {"source_cidr_list": [], "default_egress_policy": True, "guest_ip6_cidr": GUEST.network6}
    return rule(number, protocol, ports, **{**given, "purpose": "Ipv6Firewall", **fields})


def leaving6(number: int, protocol: str, policy: bool, ports: tuple[int, int] | None = None, **fields: Any) -> Drop:
    """Return an egress rule for IPv6 under a default policy."""
    given = {"src_ip": "", "traffic_type": "Egress", "default_egress_policy": policy}
    return rule6(number, protocol, ports, **{**given, **fields})


POLICY6 = leaving6(0, "all", True)
"""What the server sends at the start of every router with IPv6."""


def solicit(host: Host) -> str:
    """Ask for a router advertisement as a VM does that boots, and return what it says (rdisc6(8))."""
    return host.run("rdisc6", "-1", "-r", "3", "-w", "1000", "eth0").stdout


def configured(dual: Dual, *names: str) -> None:
    """Wait until these VMs have made their IPv6 addresses."""
    for name in names:
        solicit(dual.hosts[name])
        end = time.monotonic() + 5
        while address6(name) not in dual.hosts[name].ip("-6", "address", "show", "dev", "eth0"):
            if time.monotonic() > end:
                raise LabError(f"{name} has no address of {VMS[name][0].network6}")
            time.sleep(0.05)
