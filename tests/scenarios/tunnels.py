# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Peers of site-to-site VPN: strongSwan in containers, configured here by hand, and branches behind them.

The lab's kernel has no ESP: strongSwan does it by itself (kernel-libipsec, RFC 3948 over ``ipsec0``), on both sides.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import ask_all, ping, tcp
from tests.lab.router import Router
from tests.scenarios import vpcs
from tests.scenarios.networks import FIXTURES
from tests.scenarios.states import apply_together, ordered
from tests.scenarios.vpcs import VMS, VPC_CIDR, Vpc

WEB1, WEB2, APP1 = (VMS[name][1] for name in ("web1", "web2", "app1"))
ALICE, BOB = "203.0.113.41", "203.0.113.42"
SOON = 20.0
"""Seconds within which a tunnel without traffic is up (H7)."""
HERE = "192.0.2.90"
"""The source NAT address of the VPC, where its VPN gateway is."""
USERLAND = """charon-systemd {
	plugins {
		kernel-libipsec {
			load = yes
		}
	}
}
"""
PEER_FILES = {"/etc/strongswan.d/zz-lab.conf": USERLAND.encode()}
LAB_FILES = {
    **PEER_FILES,
    "/etc/swanctl/cloudstack.json": json.dumps({"protected_devices": ["ipsec0"]}).encode(),
}
"""What makes a container without the kernel's ESP a VPN gateway; no router has these."""
STATE = {True: "0:IPsec SA found;Site-to-site VPN have connected&"}
STATE[False] = "11:IPsec SA not found;Site-to-site VPN have not connected&"


@dataclass(frozen=True)
class Peer:
    """A gateway in the internet with networks behind it, 10.N.0.0/24 each, and a host at .5 of each."""

    machine: Router
    branch: Host
    address: str
    numbers: tuple[int, ...]

    @property
    def networks(self) -> list[str]:
        """Return its networks in CIDR notation."""
        return [f"10.{number}.0.0/24" for number in self.numbers]

    def configure(self, **changed: Any) -> None:
        """Write charon's configuration, and have it loaded; see `configuration`."""
        self.machine.put("/etc/swanctl/conf.d/peer.conf", configuration(self, **changed), 0o600)
        self.machine.exec("systemctl", "start", "strongswan")
        self.machine.exec("swanctl", "--load-all", "--noprompt")

    def sas(self) -> str:
        """Return what its charon lists."""
        return self.machine.exec("swanctl", "--list-sas").stdout


def configuration(
    peer: Peer,
    *,
    version: int = 2,
    psk: str = '"secret"',
    ike: str = "aes256-sha256-modp2048",
    esp: str = "aes256-sha256-modp2048",
    per_child: int = 100,
    start: bool = False,
    name: str = "",
    here: str = HERE,
    vpc: str = VPC_CIDR,
) -> str:
    """Return a swanctl.conf of somebody else: `per_child` is the number of networks in one child."""
    groups = [peer.networks[at : at + per_child] for at in range(0, len(peer.networks), per_child)]
    children = "".join(
        f"net-{n} {{\nlocal_ts = {', '.join(group)}\nremote_ts = {vpc}\nesp_proposals = {esp}\n"
        f"start_action = {'start' if start else 'none'}\n}}\n"
        for n, group in enumerate(groups)
    )
    return (
        f"connections {{\nrouter {{\nversion = {version}\nlocal_addrs = {peer.address}\nremote_addrs = {here}\n"
        f"proposals = {ike}\nlocal {{\nauth = psk\nid = {name or peer.address}\n}}\n"
        f"remote {{\nauth = psk\nid = {here}\n}}\n"
        f"children {{\n{children}}}\n}}\n}}\nsecrets {{\nike-router {{\nid = {here}\nsecret = {psk}\n}}\n}}\n"
    )


def add_peer(
    lab: Lab, name: str, address: str, *numbers: int, vpc: str = VPC_CIDR, files: Mapping[str, bytes] = PEER_FILES
) -> Peer:
    """Make a peer in the internet of the lab; its charon runs once it is configured."""
    segment = f"{name}lan"
    lab.segment(segment)
    nics = {"eth0": ("internet", lab.mac(f"{name}.0")), "eth1": (segment, lab.mac(f"{name}.1"))}
    machine = lab.router(name, None, nics, files)
    branch = lab.host(f"{name}branch", segment)
    for number in numbers:
        branch.add_address(f"10.{number}.0.5/24")
        branch.ip("route", "replace", vpc, "via", f"10.{number}.0.1")
    machine.wait_systemd()
    lines = [f"ip address add {address}/24 dev eth0", "ip link set eth0 up", "ip link set eth1 up"]
    lines += [f"ip address add 10.{number}.0.1/24 dev eth1" for number in numbers]
    lines += ["ip route add 192.0.2.0/24 via 203.0.113.241", "sysctl -qw net.ipv4.ip_forward=1", "nft flush ruleset"]
    lines += ["systemctl stop cloudstack-boot.path cloudstack-boot.service"]
    machine.shell("set -e\n" + "\n".join(lines))
    branch.probe.serve(tcp=(22, 80), udp=(53,))
    return Peer(machine, branch, address, numbers)


def gateway_with_tunnels(lab: Lab) -> Vpc:
    """Make the VPC of the fixtures with a router that does ESP by itself; no drop is sent yet."""
    return vpcs.vpc(lab, files=LAB_FILES)


def drop(peer: Peer, **changed: Any) -> dict[str, Any]:
    """Return the drop that the management server sends of a peer."""
    fields = {
        "local_public_ip": HERE,
        "local_guest_cidr": VPC_CIDR,
        "local_public_gateway": "192.0.2.1",
        "peer_gateway_ip": peer.address,
        "peer_guest_cidr_list": ",".join(peer.networks),
        "esp_policy": "aes256-sha256;modp2048",
        "ike_policy": "aes256-sha256;modp2048",
        "ipsec_psk": "secret",
        "ike_version": "ikev2",
        "ike_lifetime": 86400,
        "esp_lifetime": 3600,
        "create": True,
        "dpd": True,
        "passive": False,
        "encap": False,
        "split_connections": False,
        "type": "site2sitevpn",
        "delete_from_processed_cache": False,
    }
    return {**fields, **changed}


def connected(router: Router, address: str) -> bool:
    """Tell what the management server is told."""
    said = router.command(f"checkbatchs2svpn.sh {address}").stdout
    return {f"{address}:{text}": answer for answer, text in STATE.items()}[said]


def wait(condition: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait until something is so; return the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - started


def spis(router: Router, name: str = "s2s-203_0_113_41") -> list[str]:
    """Return the SPIs of a connection's child SAs, and of its IKE SA."""
    listed = router.exec("swanctl", "--list-sas", "--raw").stdout
    found: list[str] = []
    for sa in listed.splitlines():
        if f"list-sa event {{{name} " in sa:
            found += re.findall(r"(?:spi-in|initiator-spi|responder-spi)=\w+", sa)
    return found


@dataclass
class Watch:
    """Count what passes the provider's side of the public segment, by nft in the gateway's network."""

    gateway: Host
    networks: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Count from now on: packets in the clear from or to each network, IKE, and ESP in UDP."""
        rules = [
            f"{side} {network} counter name clear"
            for network in (VPC_CIDR, *self.networks)
            for side in ("ip saddr", "ip daddr")
        ]
        rules += [
            "udp dport 500 counter name ike",
            "udp dport 4500 counter name nat_t",
            "meta l4proto 50 counter name raw_esp",
        ]
        lines = "".join(f"add rule netdev watch seen {rule}\n" for rule in rules)
        text = "".join(f"add counter netdev watch {name}\n" for name in ("clear", "ike", "nat_t", "raw_esp"))
        hook = "type filter hook ingress device eth0 priority -500;"
        script = f"table netdev watch\ndelete table netdev watch\nadd table netdev watch\n{text}"
        self.gateway.run("nft", script + f"add chain netdev watch seen {{ {hook} }}\n{lines}")

    def counts(self) -> Mapping[str, int]:
        """Return packets by kind since the start."""
        listed = json.loads(self.gateway.run("nft", "-j", "list", "counters", "table", "netdev", "watch").stdout)
        found = (item["counter"] for item in listed["nftables"] if "counter" in item)
        return {counter["name"]: counter["packets"] for counter in found}


@dataclass(frozen=True)
class Site:
    """The VPC, its two peers, and what the provider sees."""

    vpc: Vpc
    alice: Peer
    bob: Peer
    watch: Watch

    @property
    def router(self) -> Router:
        """Return the router of the VPC."""
        return self.vpc.router

    def send(self, peer: Peer, **changed: Any) -> None:
        """Send the drop of a peer."""
        self.vpc.change("site_2_site_vpn", drop(peer, **changed))

    def remove(self) -> None:
        """Take all tunnels away."""
        for peer in (self.alice, self.bob):
            self.send(peer, create=False)
            peer.machine.exec("swanctl", "--terminate", "--ike", "router", "--force", check=False)

    def open(self, peer: Peer | None = None, **changed: Any) -> None:
        """Configure both ends of a tunnel and wait until it is up."""
        other = peer or self.alice
        other.configure()
        self.send(other, **changed)
        wait(lambda: connected(self.router, other.address), SOON, f"{other.address} is connected")


@contextmanager
def made(name: str) -> Iterator[Site]:
    """Bring the site up, with all drops of the fixtures applied and no tunnel."""
    with Lab(name) as lab:
        vpc = gateway_with_tunnels(lab)
        alice = add_peer(lab, "alice", ALICE, 41)
        bob = add_peer(lab, "bob", BOB, 42, 43, 44)
        vpc.router.wait_boot()
        directory = FIXTURES / "vpc"
        apply_together(vpc.router, "VR-all.cfg", directory, ordered(directory))
        watch = Watch(lab.hosts["gateway1"], [*alice.networks, *bob.networks])
        yield Site(vpc, alice, bob, watch)


def both_ways(site: Site, branch: str = "10.41.0.5", peer: Peer | None = None) -> None:
    """See TCP and ping pass both ways, with their own addresses."""
    there = (peer or site.alice).branch
    results = ask_all(
        [
            (site.vpc.hosts["web1"], tcp(branch, 22)),
            (site.vpc.hosts["app1"], tcp(branch, 80)),
            (there, tcp(WEB1, 22)),
            (site.vpc.hosts["web1"], ping(branch)),
            (there, ping(APP1)),
        ]
    )
    assert all(results), results
    assert [result.seen_from for result in results[:2]] == [WEB1, APP1]
    assert results[2].seen_from is not None
    assert results[2].seen_from.startswith("10.")
