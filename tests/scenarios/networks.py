# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The networks that the scenarios are played in.

Each public subnet has a gateway of its own, which passes nothing that does not belong to its subnet, as switches and
providers do: a reply that leaves by the wrong NIC is lost, and the test sees it (D2, D3). Behind the gateways is one
internet with hosts at several addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.router import Router

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SHARED_DROPS = Path(__file__).resolve().parents[3] / "shared" / "drops"
"""Drops that the management server's own code wrote; there in the project's CI, not in a clone of a user."""

INTERNET = "203.0.113.10"
ELSEWHERE = "203.0.113.200"
"""Two hosts of the internet: most rules of the fixtures tell them apart."""

SERVED_TCP = (22, 80, 443, 25, 2222, 3306, 8080, 8081, 9000, 9001, 9002, 9003, 9100, 9105, 9110, 6000, 6005)
SERVED_UDP = (53, 123, 4000, 6000, 6005, 30000, 30050)


@dataclass(frozen=True)
class PublicSubnet:
    """A public subnet of the router: NIC, its MAC, and the gateway's address."""

    nic: str
    mac: str
    gateway: str

    @property
    def network(self) -> str:
        """Return the subnet in CIDR notation."""
        return str(IPv4Interface(self.gateway).network)


@dataclass(frozen=True)
class Isolated:
    """An isolated network in a lab: its router, its VMs by name, and the hosts of the internet by address."""

    lab: Lab
    router: Router
    vms: Mapping[str, Host]
    internet: Mapping[str, Host]
    gateways: Mapping[str, Host]
    management: Host


def isolated(
    lab: Lab,
    cmdline: str | None,
    subnets: Sequence[PublicSubnet],
    vms: Mapping[str, tuple[str, str]],
    guest: tuple[str, str],
    internet: Sequence[str] = (INTERNET, ELSEWHERE),
) -> Isolated:
    """Make the network and switch the router on; `vms` are name to (address/length, MAC), `guest` is (gateway, MAC)."""
    for segment in ("guest", "control", "internet", *(subnet.nic for subnet in subnets)):
        lab.segment(segment)
    gateways = {subnet.nic: gateway(lab, number, subnet) for number, subnet in enumerate(subnets, start=1)}
    hosts = {
        address: lab.host(f"inet-{address}".replace(".", "-"), "internet", f"{address}/24") for address in internet
    }
    for host in hosts.values():
        for number, subnet in enumerate(subnets, start=1):
            host.add_route(subnet.network, f"203.0.113.{240 + number}")
    machines = {
        name: lab.host(name, "guest", address, gateway=guest[0], mac=mac) for name, (address, mac) in vms.items()
    }
    management = lab.host("management", "control", "169.254.0.1/16")
    nics = {"eth0": ("guest", guest[1]), "eth1": ("control", lab.mac("r1.control"))}
    nics |= {subnet.nic: (subnet.nic, subnet.mac) for subnet in subnets}
    router = lab.router("r1", cmdline, nics)
    for machine in (*machines.values(), *hosts.values()):
        machine.probe.serve(tcp=SERVED_TCP, udp=SERVED_UDP)
    return Isolated(lab, router, machines, hosts, gateways, management)


def gateway(lab: Lab, number: int, subnet: PublicSubnet) -> Host:
    """Make the gateway of a public subnet, which drops what comes from it with a foreign source address."""
    host = lab.host(f"gateway{number}", subnet.nic, subnet.gateway)
    host.add_nic("eth1", "internet", lab.mac(f"gateway{number}.internet"), [f"203.0.113.{240 + number}/24"])
    host.forward()
    ruleset = (
        "add table inet provider; add chain inet provider forward { type filter hook forward priority 0; };"
        f" add rule inet provider forward iifname eth0 ip saddr != {subnet.network} drop"
    )
    host.run("nft", ruleset)
    return host


FIXTURE_SUBNETS = (
    PublicSubnet("eth2", "1e:00:07:00:00:20", "192.0.2.1/24"),
    PublicSubnet("eth3", "1e:00:07:00:00:30", "198.51.100.1/24"),
    PublicSubnet("eth4", "1e:00:07:00:00:40", "198.18.5.1/24"),
)
FIXTURE_VMS = {
    "web": ("10.7.0.11/24", "02:07:00:00:00:0b"),
    "db": ("10.7.0.12/24", "02:07:00:00:00:0c"),
    "backup": ("10.7.0.13/24", "02:07:00:00:00:0d"),
}


def fixture_network(lab: Lab, arguments: str = "") -> Isolated:
    """Make the network that tests/fixtures/isolated is about; its drops are not sent yet.

    `arguments` are boot arguments that it has in addition.
    """
    cmdline = (FIXTURES / "isolated" / "cmdline.txt").read_text(encoding="utf-8") + arguments
    return isolated(lab, cmdline, FIXTURE_SUBNETS, FIXTURE_VMS, ("10.7.0.1", lab.mac("r1.guest")))


SHARED_SUBNETS = (
    PublicSubnet("eth2", "1e:00:2d:00:00:0a", "192.0.2.1/24"),
    PublicSubnet("eth3", "06:00:2f:00:00:0a", "198.51.100.1/24"),
)
SHARED_VMS = {
    "vm11": ("10.1.1.11/24", "02:01:00:00:00:0b"),
    "vm12": ("10.1.1.12/24", "02:01:00:00:00:0c"),
    "vm21": ("10.1.1.21/24", "02:01:00:00:00:15"),
}
SHARED_INTERNET = ("203.0.113.7", "203.0.113.66", "203.0.113.99", "203.0.113.150", "203.0.113.200")


def shared_network(lab: Lab) -> Isolated:
    """Make the network that the management server's own drops of an isolated network are about."""
    cmdline = (SHARED_DROPS / "cmdline" / "router.txt").read_text(encoding="utf-8")
    guest = ("10.1.1.1", lab.mac("r1.guest"))
    return isolated(lab, cmdline, SHARED_SUBNETS, SHARED_VMS, guest, SHARED_INTERNET)
