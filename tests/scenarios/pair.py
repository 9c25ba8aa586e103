# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An isolated network with a pair of routers, and everything that can happen to one of them.

Both routers have the same MAC on the first public NIC and different ones on the second, as CloudStack gives them (C8).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.process import LabError, run
from tests.lab.router import Router
from tests.scenarios.networks import INTERNET, PublicSubnet, gateway

GATEWAY = "10.1.1.1"
OWN = {"r1": "10.1.1.84", "r2": "10.1.1.85", "r3": "10.1.1.86"}
FIRST = ("r1", "r2")
"""The pair at the beginning; the other one is there to replace one of them."""
SOURCE_NAT, STATIC, FAR = "192.0.2.10", "192.0.2.11", "198.51.100.20"
"""The address of source NAT and of the forward to `web`, that of static NAT to `db`, and the one to `far`."""
VMS = {"web": "10.1.1.11", "db": "10.1.1.12", "far": "10.1.1.13"}
SUBNETS = (
    PublicSubnet("eth2", "1e:00:2d:00:00:0a", "192.0.2.1/24"),
    PublicSubnet("eth3", "06:00:2f:00:00:00", "198.51.100.1/24"),
)
SERVED = 7000
"""The TCP port that VMs and the internet serve."""


def cmdline(name: str, interval: float) -> str:
    """Return the boot arguments of one of the routers, in the management server's order, with its wrong last state."""
    number = name[-1]
    return (
        f" template=domP name=r-10{number}-VM eth2ip={SOURCE_NAT} eth2mask=255.255.255.0 gateway=192.0.2.1"
        f" publicMtu=1500 eth0ip={OWN[name]} eth0mask=255.255.255.0 privateMtu=1500 redundant_router=1"
        f" advert_int={interval:g} redundant_state=PRIMARY guestgw={GATEWAY} guestbrd=10.1.1.255 guestcidrsize=24"
        f" domain=lab.internal cidrsize=24 dhcprange={GATEWAY} eth1ip=169.254.3.10{number} eth1mask=255.255.0.0"
        " redundant_state=PRIMARY type=router disable_rp_filter=true dns1=203.0.113.10 logrotatefrequency=*:00:00"
    )


def drops(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the drops of the network for one of the routers: only the MACs of the second public NIC differ."""
    for subnet, addresses in zip(SUBNETS, ((SOURCE_NAT, STATIC), (FAR,)), strict=True):
        records = [
            {
                "public_ip": ip,
                "source_nat": ip == addresses[0],
                "add": True,
                "one_to_one_nat": False,
                "first_i_p": ip == addresses[0],
                "gateway": subnet.gateway.split("/")[0],
                "netmask": "255.255.255.0",
                "vif_mac_address": public_mac(name, subnet),
                "nic_dev_id": int(subnet.nic[-1]),
                "new_nic": False,
                "nw_type": "Public",
                "is_private_gateway": False,
                "mtu": 1500,
            }
            for ip in addresses
        ]
        yield f"ip_associations.json.{subnet.nic}", {"ip_address": records, "type": "ips"}
    egress = _firewall_rule(0, "", "all", "Egress") | {"default_egress_policy": True, "source_cidr_list": []}
    yield "firewall_rules.json.out", {"rules": [egress], "type": "firewallrules"}
    for number, ip in enumerate((SOURCE_NAT, STATIC, FAR), start=1):
        rules = [_firewall_rule(10 * number, ip, "tcp"), _firewall_rule(10 * number + 1, ip, "icmp")]
        yield f"firewall_rules.json.in{number}", {"rules": rules, "type": "firewallrules"}
    yield "forwarding_rules.json.web", {"rules": [forward(2222)], "type": "forwardrules"}
    static = [
        {"revoke": False, "source_ip_address": ip, "source_port_range": "0:0", "destination_ip_address": VMS[vm]}
        for ip, vm in ((STATIC, "db"), (FAR, "far"))
    ]
    yield "staticnat_rules.json.all", {"rules": static, "type": "staticnatrules"}
    for vm in VMS:
        yield f"vm_dhcp_entry.json.{vm}", dhcp_entry(vm, VMS[vm], vm_mac(vm))


def forward(port: int, *, revoke: bool = False) -> dict[str, Any]:
    """Return the forward of a port of the source NAT address to the served port of `web`."""
    return {
        "revoke": revoke,
        "protocol": "tcp",
        "source_ip_address": SOURCE_NAT,
        "source_port_range": f"{port}:{port}",
        "destination_ip_address": VMS["web"],
        "destination_port_range": f"{SERVED}:{SERVED}",
        "source_cidr_list": "",
    }


def dhcp_entry(name: str, ip: str, mac: str, *, remove: bool = False) -> dict[str, Any]:
    """Return the drop of a VM's lease."""
    return {
        "host_name": name,
        "mac_address": mac,
        "ipv4_address": ip,
        "default_gateway": GATEWAY,
        "default_entry": True,
        "lease_time": 0,
        "remove": remove,
        "type": "dhcpentry",
    }


def _firewall_rule(number: int, ip: str, protocol: str, traffic: str = "Ingress") -> dict[str, Any]:
    match = {"tcp": {"src_port_range": [1, 65535]}, "icmp": {"icmp_type": -1, "icmp_code": -1}}.get(protocol, {})
    return {
        "id": number,
        "src_ip": ip,
        "protocol": protocol,
        "revoked": False,
        "already_added": False,
        "source_cidr_list": ["0.0.0.0/0"],
        "dest_cidr_list": [],
        "purpose": "Firewall",
        "traffic_type": traffic,
        "default_egress_policy": False,
        **match,
    }


def vm_mac(vm: str) -> str:
    """Return the MAC of a VM."""
    return "02:01:00:00:00:" + f"{int(VMS[vm].rsplit('.', 1)[1]):02x}"


def public_mac(name: str, subnet: PublicSubnet) -> str:
    """Return the MAC of a public NIC: the first one's is the same on both routers."""
    return subnet.mac if subnet.nic == "eth2" else f"{subnet.mac[:-1]}{name[-1]}"


@dataclass
class Pair:
    """The pair in a lab, its VMs, and a host of the internet."""

    lab: Lab
    interval: float
    routers: dict[str, Router]
    vms: dict[str, Host]
    internet: Host
    cut: set[tuple[str, str]] = field(default_factory=set)

    @property
    def bound(self) -> float:
        """Return the longest gap that a failover may make, in seconds."""
        return 3.7 * self.interval + 0.1

    def states(self) -> dict[str, str]:
        """Return what checkrouter.sh says on each router that is on: `PRIMARY` and so on."""
        return {name: status(router) for name, router in self.routers.items() if is_on(router)}

    @property
    def primary(self) -> Router:
        """Return the one primary."""
        found = [name for name, state in self.states().items() if state == "PRIMARY"]
        if len(found) != 1:
            raise LabError(f"expected one primary: {self.states()}")
        return self.routers[found[0]]

    @property
    def backup(self) -> Router:
        """Return the router that is not the primary."""
        primary = self.primary
        return next(router for router in self.routers.values() if router is not primary)

    def settle(self, wanted: tuple[str, ...] = ("BACKUP", "PRIMARY"), timeout: float = 60) -> float:
        """Wait until the states are these and stay so for an advertisement interval; return the seconds it took."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if tuple(sorted(self.states().values())) == wanted:
                took = time.monotonic() - started
                time.sleep(max(self.interval, 0.3))
                if tuple(sorted(self.states().values())) == wanted:
                    return took
            time.sleep(0.2)
        logs = {n: r.exec("tail", "-30", LOG, check=False).stdout for n, r in self.routers.items() if is_on(r)}
        raise LabError(f"states {self.states()} after {timeout} s, expected {wanted}\n" + "\n".join(logs.values()))

    def owners(self, nic: str = "eth2") -> list[str]:
        """Return the routers whose link of this name is up."""
        return [n for n, router in self.routers.items() if is_on(router) and is_up(router, nic)]

    def remove(self, router: Router) -> None:
        """Destroy one of the two as it is."""
        router.destroy()
        del self.routers[router.name]

    # What can happen

    def cable(self, router: Router, nic: str, *, plugged: bool) -> None:
        """Cut a cable, or put it back: the NIC stays and loses its carrier."""
        run("ip", "-n", self.lab.bridges, "link", "set", self._port(router, nic), "up" if plugged else "down")

    def plug_again(self, router: Router, nic: str, seconds: float) -> None:
        """Cut a cable for a moment that does not depend on how fast the tests run."""
        link = f"ip link set {self._port(router, nic)}"
        run("ip", "netns", "exec", self.lab.bridges, "sh", "-c", f"{link} down; sleep {seconds:g}; {link} up")

    def _port(self, router: Router, nic: str) -> str:
        return f"{self.lab.port_number(router.name, nic)}.{nic}"

    @contextmanager
    def partition(self, loss: float = 1.0, *, silent: Iterable[str] = FIRST) -> Iterator[None]:
        """Lose a share of what routers say to each other on the VRRP link, by default both; VMs are not affected."""
        names = tuple(silent)
        rule = f"numgen random mod 1000 < {round(loss * 1000)} " if loss < 1 else ""
        matches = [f"ip saddr {OWN[name]} ip daddr {{ 224.0.0.18, 225.0.0.50 }} {rule}drop" for name in names]
        table = f"bridge cut_{'_'.join(names)}"
        made = f"add table {table}; add chain {table} forward {{ type filter hook forward priority 0; }};"
        rules = "".join(f" add rule {table} forward {match};" for match in matches)
        run("ip", "netns", "exec", self.lab.bridges, "nft", made + rules)
        try:
            yield
        finally:
            run("ip", "netns", "exec", self.lab.bridges, "nft", f"delete table {table}")


LOG = "/var/log/cloudstack/redundancy.log"


def is_on(router: Router) -> bool:
    """Tell whether the machine runs."""
    return router.is_on


def is_up(router: Router, nic: str) -> bool:
    """Tell whether a link is up, as an administrator sets it."""
    return "UP" in router.facts.links()[nic]["flags"]


def status(router: Router) -> str:
    """Return the word of checkrouter.sh."""
    return router.exec("/opt/cloud/bin/checkrouter.sh").stdout.splitlines()[0].removeprefix("Status: ")


def make(lab: Lab, interval: float = 1.0, *, start: bool = True) -> Pair:
    """Make the network; both routers boot at the same time, nothing is configured but their boot arguments."""
    for segment in ("guest", "control", "internet", *(subnet.nic for subnet in SUBNETS)):
        lab.segment(segment)
    for number, subnet in enumerate(SUBNETS, start=1):
        gateway(lab, number, subnet)
    internet = lab.host("internet", "internet", f"{INTERNET}/24")
    for number, subnet in enumerate(SUBNETS, start=1):
        internet.add_route(subnet.network, f"203.0.113.{240 + number}")
    vms = {vm: lab.host(vm, "guest", f"{ip}/24", gateway=GATEWAY, mac=vm_mac(vm)) for vm, ip in VMS.items()}
    routers = {name: lab.router(name, cmdline(name, interval), nics(lab, name), start=start) for name in FIRST}
    for host in (internet, *vms.values()):
        host.probe.serve(tcp=[SERVED])
    return Pair(lab, interval, routers, vms, internet)


@contextmanager
def attached(name: str) -> Iterator[Pair]:
    """Find a pair, of any kind, that another program brought up; all its machines but the outer ones are VMs."""
    lab = Lab.attach(name)
    outer = ("internet", "gateway1", "gateway2", "site")
    vms = {part: host for part, host in lab.hosts.items() if part not in outer}
    pair = Pair(lab, 1.0, dict(lab.routers), vms, lab.hosts["internet"])
    try:
        pair.settle()
        yield pair
    finally:
        lab.detach()


def nics(lab: Lab, name: str) -> dict[str, tuple[str, str]]:
    """Return the NICs of one of the routers."""
    inner = {nic: (segment, lab.mac(f"{name}.{segment}")) for nic, segment in (("eth0", "guest"), ("eth1", "control"))}
    return inner | {subnet.nic: (subnet.nic, public_mac(name, subnet)) for subnet in SUBNETS}


@contextmanager
def running(name: str, interval: float = 1.0) -> Iterator[Pair]:
    """Bring up a lab with a pair, have it elect and take all drops, and take the lab down at the end."""
    with Lab(name) as lab:
        pair = make(lab, interval)
        for router in pair.routers.values():
            router.wait_boot()
        pair.settle()
        configure(pair)
        pair.settle()
        yield pair


def configure(pair: Pair) -> None:
    """Send all drops, to each router one after the other."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(send_all, pair.routers.values()))


def send_all(router: Router) -> None:
    """Send a router all its drops."""
    for drop, body in drops(router.name):
        router.drop(drop, body)


def add(pair: Pair, name: str) -> Router:
    """Make one more router for the pair, which has lost one; it boots and gets all drops."""
    router = pair.lab.router(name, cmdline(name, pair.interval), nics(pair.lab, name))
    pair.routers[name] = router
    router.wait_boot()
    send_all(router)
    return router


def known(router: Router) -> int:
    """Return how many established connections a router knows from the other one."""
    return router.exec("conntrackd", "-e").stdout.count("ESTABLISHED")


def transitions(router: Router) -> int:
    """Return how many transitions have ended since the log began."""
    return router.exec("cat", LOG).stdout.count(": done in ")


def elections(router: Router) -> int:
    """Return how many of the transitions were not just a primary that takes over again."""
    return transitions(router) - router.exec("cat", LOG).stdout.count("again: done in ")


def started(router: Router, unit: str) -> str:
    """Return the PID of a unit's daemon."""
    return router.facts.unit(f"{unit}.service")["MainPID"]


def active(router: Router, unit: str) -> bool:
    """Tell whether a unit is active."""
    return router.facts.unit(f"{unit}.service")["ActiveState"] == "active"
