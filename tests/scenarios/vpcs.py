# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The VPC that the scenarios are played in, and the drops that change it.

Three tiers (web, app, db: the last one on a two-digit device), two public subnets, and two private gateways: behind
`partner` is a network by a static route, and `site` knows the VPC by the gateway's own address only (source NAT).
A static route leads through an appliance inside the web tier.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import ask_all, ping, tcp, udp
from tests.lab.router import Router
from tests.scenarios import states
from tests.scenarios.networks import ELSEWHERE, FIXTURES, INTERNET, PublicSubnet, gateway

Rule = dict[str, Any]
SERVED_TCP = (22, 25, 80, 443, 3306, 5432, 6000, 8080, 8443, 9000, 9005)
SERVED_UDP = (53, 514, 4000, 5353)
VPC_CIDR = "10.9.0.0/16"


@dataclass(frozen=True)
class Tier:
    """A tier as the drops describe it: NIC, MAC, and the router's address in it (a /24)."""

    name: str
    nic: str
    mac: str
    router: str
    network_id: int

    @property
    def network(self) -> str:
        """Return the network in CIDR notation."""
        return f"{self.router.rpartition('.')[0]}.0/24"


WEB = Tier("web", "eth2", "02:00:09:00:00:02", "10.9.1.1", 901)
APP = Tier("app", "eth3", "02:00:09:00:00:03", "10.9.2.1", 902)
DB = Tier("db", "eth13", "02:00:09:00:00:13", "10.9.3.1", 903)
TIERS = (WEB, APP, DB)
LATE = Tier("late", "eth7", "02:00:09:00:00:07", "10.9.7.1", 907)
"""A tier that the fixtures do not have; its NIC is plugged by who wants it."""
PARTNER = Tier("partner", "eth4", "02:00:09:00:00:04", "172.19.0.2", 0)
SITE = Tier("site", "eth6", "02:00:09:00:00:06", "172.29.0.1", 0)
"""Private gateways; at `site` the router is the gateway itself."""
PUBLIC = (
    PublicSubnet("eth1", "1e:00:09:00:00:10", "192.0.2.1/24"),
    PublicSubnet("eth5", "1e:00:09:00:00:50", "198.51.100.1/24"),
)
VMS = {
    "web1": (WEB, "10.9.1.11"),
    "web2": (WEB, "10.9.1.12"),
    "app1": (APP, "10.9.2.21"),
    "db1": (DB, "10.9.3.31"),
}
PEER, BEHIND, AT_SITE, LAN = "172.19.0.9", "172.18.0.5", "172.29.0.9", "10.90.0.5"
"""On the partner's network, behind its router, at the site, and behind the appliance in the web tier."""
ADDRESS = {
    **{name: address for name, (_tier, address) in VMS.items()},
    "peer": PEER,
    "behind": BEHIND,
    "atsite": AT_SITE,
    "lan": LAN,
    "internet": INTERNET,
    "elsewhere": ELSEWHERE,
}
MAC = {name: f"02:09:{int(ip.split('.')[2]):02x}:00:00:{int(ip.split('.')[3]):02x}" for name, (_, ip) in VMS.items()}


@dataclass(frozen=True)
class Vpc:
    """A VPC in a lab: its router, and everything else by name."""

    lab: Lab
    router: Router
    hosts: Mapping[str, Host]

    def change(self, kind: str, body: Mapping[str, Any]) -> None:
        """Send one drop; a refusal is an error."""
        _counted[0] += 1
        self.router.drop(f"{kind}.json.00000000-0000-4000-9000-{_counted[0]:012d}", body)

    def acl(self, tier: Tier, ingress: Sequence[Rule], egress: Sequence[Rule]) -> None:
        """Give a tier or a private gateway another ACL."""
        self.change("network_acl", network_acl(tier, ingress, egress))

    def acls(self, lists: Mapping[Tier, tuple[Sequence[Rule], Sequence[Rule]]]) -> None:
        """Give several of them other ACLs, ingress and egress, in one converge."""
        states.change(self.router, *(network_acl(side, *both) for side, both in lists.items()))


_counted = [0]


def nics() -> dict[str, tuple[str, str]]:
    """Return the NICs of the router: name to (segment, MAC)."""
    found = {"eth0": ("control", "0e:00:a9:fe:09:09")}
    found |= {subnet.nic: (subnet.nic, subnet.mac) for subnet in PUBLIC}
    return found | {tier.nic: (tier.name, tier.mac) for tier in (*TIERS, PARTNER, SITE)}


def cmdline(**extra: str) -> str:
    """Return the boot arguments, changed where asked for."""
    words = (FIXTURES / "vpc" / "cmdline.txt").read_text(encoding="utf-8").split()
    return " ".join(f"{k}={v}" for k, v in (dict(word.split("=", 1) for word in words) | extra).items())


def vpc(lab: Lab, arguments: str | None = None, files: Mapping[str, bytes] | None = None) -> Vpc:
    """Make the networks and switch the router on, with these files in it; no drop is sent yet."""
    for segment in ("control", "internet", "behind", "lan", *(part.nic for part in PUBLIC)):
        lab.segment(segment)
    for tier in (*TIERS, LATE, PARTNER, SITE):
        lab.segment(tier.name)
    hosts = {name: lab.host(name, "internet", f"{ADDRESS[name]}/24") for name in ("internet", "elsewhere")}
    for number, subnet in enumerate(PUBLIC, start=1):
        gateway(lab, number, subnet)
        for host in hosts.values():
            host.add_route(subnet.network, f"203.0.113.{240 + number}")
    for name, (tier, address) in VMS.items():
        hosts[name] = lab.host(name, tier.name, f"{address}/24", gateway=tier.router, mac=MAC[name])
    hosts["late1"] = lab.host("late1", LATE.name, "10.9.7.11/24", LATE.router, "02:09:07:00:00:07")
    hosts |= _partners(lab)
    hosts["management"] = lab.host("management", "control", "169.254.0.1/16")
    router = lab.router("r1", arguments or cmdline(), nics(), files)
    for host in hosts.values():
        host.probe.serve(tcp=SERVED_TCP, udp=SERVED_UDP)
    return Vpc(lab, router, hosts)


def _partners(lab: Lab) -> dict[str, Host]:
    """Make what is beyond the private gateways and behind the appliance."""
    peer = lab.host("peer", PARTNER.name, f"{PEER}/24", gateway="172.19.0.1")
    peer.add_route(VPC_CIDR, PARTNER.router)
    border = lab.host("border", PARTNER.name, "172.19.0.1/24", gateway=PARTNER.router)
    border.add_nic("eth1", "behind", lab.mac("border.behind"), ["172.18.0.1/24"])
    border.forward()
    behind = lab.host("behind", "behind", f"{BEHIND}/24", gateway="172.18.0.1")
    site = lab.host("atsite", SITE.name, f"{AT_SITE}/24")
    appliance = lab.host("appliance", WEB.name, "10.9.1.250/24", gateway=WEB.router)
    appliance.add_nic("eth1", "lan", lab.mac("appliance.lan"), ["10.90.0.1/24"])
    appliance.forward()
    lan = lab.host("lan", "lan", f"{LAN}/24", gateway="10.90.0.1")
    return {"peer": peer, "behind": behind, "atsite": site, "lan": lan}


# Drops


def _drop(kind: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "type": kind, "delete_from_processed_cache": False}


def rule(kind: str, cidr: str = "0.0.0.0/0,::/0", *, allowed: bool = True, ports: Any = None, **more: int) -> Rule:
    """Return an item of an ACL; `kind` is tcp, udp, icmp, all, or a protocol number; `ports` one or (first, last)."""
    found: Rule = {"type": kind, "cidr": cidr, "allowed": allowed, **more}
    if kind.isdigit():
        found |= {"type": "protocol", "protocol": int(kind)}
    if kind in ("tcp", "udp"):
        first, last = ports if isinstance(ports, tuple) else (ports or 0, ports or 0)
        found |= {"first_port": first, "last_port": last}
    if kind == "icmp":
        found = {"icmp_type": -1, "icmp_code": -1, **found}
    return found


ALL = rule("all")
NONE = rule("all", allowed=False)


def network_acl(tier: Tier, ingress: Sequence[Rule], egress: Sequence[Rule]) -> dict[str, Any]:
    """Return the ACL of a tier or of a private gateway."""
    return _drop(
        "networkacl",
        device=tier.nic,
        mac_address=tier.mac,
        private_gateway_acl=tier in (PARTNER, SITE),
        nic_ip=tier.router,
        nic_netmask="24",
        ingress_rules=list(ingress),
        egress_rules=list(egress),
    )


def guest_network(tier: Tier, *, add: bool = True, **changed: Any) -> dict[str, Any]:
    """Return the drop that brings a tier or takes it away."""
    fields = {
        "add": add,
        "mac_address": tier.mac,
        "device": tier.nic,
        "router_guest_ip": tier.router,
        "router_guest_netmask": "255.255.255.0",
        "router_guest_gateway": tier.router,
        "cidr": "24",
        "dns": "203.0.113.53,203.0.113.54",
        "domain_name": f"{tier.name}.lab.internal",
        "is_vr_guest_gateway": True,
        "network_id": tier.network_id,
        "mtu": 1500,
    }
    return _drop("guestnetwork", **(fields | changed))


def address(ip: str, subnet: PublicSubnet, *, add: bool = True, source_nat: bool = False) -> dict[str, Any]:
    """Return the drop of one public address."""
    record = {
        "public_ip": ip,
        "source_nat": source_nat,
        "add": add,
        "one_to_one_nat": False,
        "first_i_p": source_nat,
        "gateway": subnet.gateway.partition("/")[0],
        "netmask": "255.255.255.0",
        "vif_mac_address": subnet.mac,
        "nic_dev_id": int(subnet.nic.removeprefix("eth")),
        "new_nic": False,
        "nw_type": "Public",
        "is_private_gateway": False,
        "mtu": 1500,
    }
    return _drop("ips", ip_address=[record])


def private_gateway(side: Tier, hop: str, *, source_nat: bool = False, add: bool = True) -> dict[str, Any]:
    """Return the drop of a private gateway; `hop` is the gateway of its network, or "None"."""
    record = {
        "public_ip": side.router,
        "source_nat": source_nat,
        "add": add,
        "one_to_one_nat": False,
        "first_i_p": False,
        "gateway": hop,
        "netmask": "255.255.255.0",
        "vif_mac_address": side.mac,
        "nic_dev_id": int(side.nic.removeprefix("eth")),
        "new_nic": False,
        "nw_type": "Public",
        "is_private_gateway": True,
    }
    return _drop("ips", ip_address=[record])


def static_routes(*routes: tuple[str, str], revoked: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Return the drop with the whole list of static routes, (network, next hop) each."""
    given = [{"revoke": False, "network": network, "gateway": hop} for network, hop in routes]
    given += [{"revoke": True, "network": network, "gateway": hop} for network, hop in revoked]
    return _drop("staticroutes", routes=given)


def dhcp_entry(name: str, *, remove: bool = False) -> dict[str, Any]:
    """Return the drop with the DHCP entry of a VM."""
    tier, ip = VMS[name]
    return _drop(
        "dhcpentry",
        host_name=name,
        mac_address=MAC[name],
        ipv4_address=ip,
        ipv6_duid=f"00:03:00:01:{MAC[name]}",
        dns_addresses=tier.router,
        default_gateway=tier.router,
        default_entry=True,
        lease_time=0,
        remove=remove,
    )


def static_nat(public_ip: str, name: str, *, revoke: bool = False) -> dict[str, Any]:
    """Return the drop of one static NAT."""
    fields = {"revoke": revoke, "source_ip_address": public_ip, "source_port_range": "0:0"}
    return _drop("staticnatrules", rules=[{**fields, "destination_ip_address": ADDRESS[name]}])


def forward(
    public_ip: str,
    ports: str,
    name: str,
    inner: str = "",
    protocol: str = "tcp",
    sources: str = "",
    *,
    revoke: bool = False,
) -> Rule:
    """Return one port forward; ports are `first:last` or `any`."""
    return {
        "revoke": revoke,
        "protocol": protocol,
        "source_ip_address": public_ip,
        "source_port_range": ports,
        "destination_ip_address": ADDRESS[name],
        "destination_port_range": inner or ports,
        "source_cidr_list": sources,
    }


def forwards(*rules: Rule) -> dict[str, Any]:
    """Return the drop of port forwards."""
    return _drop("forwardrules", rules=list(rules))


# Who reaches whom

INSIDE = ("web1", "app1", "peer", "behind")
PAIRS = [(source, target) for source in INSIDE for target in INSIDE if {source, target} != {"peer", "behind"}]
PAIRS = [pair for pair in PAIRS if pair[0] != pair[1]]
PAIRS += [pair for vm in ("web1", "app1") for pair in ((vm, "internet"), ("internet", vm))]
"""Every ordered pair of places whose packets cross the router: tiers, a private gateway, behind it, the internet."""
ENTRANCE = {"web1": "192.0.2.91", "app1": "198.51.100.90"}
"""The public addresses by which the internet reaches VMs, by static NAT."""
GRE = 47


def aim(source: str, target: str) -> str:
    """Return the address by which one place reaches another."""
    return ENTRANCE[target] if source in ("internet", "elsewhere") else ADDRESS[target]


def reached(vpc: Vpc, pairs: Sequence[tuple[str, str]]) -> dict[str, set[tuple[str, str]]]:
    """Return the pairs that get through and back, by protocol."""
    probes = {
        "tcp": [tcp(aim(*pair), 6000) for pair in pairs],
        "udp": [udp(aim(*pair), 5353) for pair in pairs],
        "icmp": [ping(aim(*pair)) for pair in pairs],
    }
    questions = [
        (vpc.hosts[pair[0]], probe) for asked in probes.values() for pair, probe in zip(pairs, asked, strict=True)
    ]
    results = iter(ask_all(questions))
    found = {protocol: {pair for pair in pairs if next(results)} for protocol in probes}
    return {**found, "gre": arrived(vpc, pairs)}


def reached_by_udp(vpc: Vpc, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs that get through and back, where one protocol stands for all."""
    results = ask_all([(vpc.hosts[source], udp(aim(source, target), 5353)) for source, target in pairs])
    return {pair for pair, result in zip(pairs, results, strict=True) if result}


def arrived(vpc: Vpc, pairs: Sequence[tuple[str, str]], protocol: int = GRE) -> set[tuple[str, str]]:
    """Return the pairs between which a packet of a protocol without ports passes.

    One direction after the other: what passed one way is a known connection, and the way back needs no rule.
    """
    found = set()
    ways = [p for p in pairs if p[0] < p[1]], [p for p in pairs if p[0] > p[1]]
    for way in filter(None, ways):
        vpc.router.exec("conntrack", "-D", "-p", str(protocol), check=False)
        tokens = {pair: secrets.token_hex(16) for pair in way}
        waiting = {pair: vpc.hosts[pair[1]].probe.call("expect", token=tokens[pair])["handle"] for pair in way}
        for source, target in way:
            payload = "00000000" + tokens[(source, target)]
            vpc.hosts[source].probe.call("send_raw", dst=aim(source, target), protocol=protocol, payload=payload)
        time.sleep(0.3)
        for pair, handle in waiting.items():
            if vpc.hosts[pair[1]].probe.call("expected", handle=handle, timeout=0.05)["verdict"] == "open":
                found.add(pair)
    return found
