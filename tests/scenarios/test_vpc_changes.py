# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A VPC that changes under traffic: tiers, rules, routes and NICs that come and go, and what is lost (nothing)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from tests.lab.host import Host
from tests.lab.probes import PingStream, TcpStream, ask, dhcp_lease, ping, tcp
from tests.scenarios import states, vpcs
from tests.scenarios.vpcs import (
    ADDRESS,
    ALL,
    APP,
    BEHIND,
    LATE,
    NONE,
    PARTNER,
    PEER,
    PUBLIC,
    WEB,
    Vpc,
    forward,
    forwards,
    rule,
    static_nat,
    static_routes,
)

ROUTES = (("172.18.0.0/16", "172.19.0.1"), ("10.90.0.0/16", "10.9.1.250"))
DAEMONS = ("nginx", "cloudstack-passwords", "ssh", *(f"dnsmasq@tier_10_9_{n}_0" for n in (1, 2, 3)))
CHANGES = [
    "a tier is added",
    "its ACL is set",
    "its VM is added",
    "a rule is added to another tier",
    "a rule of another tier is removed",
    "a static route is added",
    "static routes are removed",
    "a forward is added",
    "a forward is revoked",
    "static NAT is added",
    "static NAT is revoked",
    "a public address is added",
    "a public address is released",
    "the tier is removed",
]
LATE_VM = {
    "host_name": "late1",
    "mac_address": "02:09:07:00:00:07",
    "ipv4_address": "10.9.7.11",
    "default_gateway": LATE.router,
    "default_entry": True,
    "lease_time": 0,
    "remove": False,
    "type": "dhcpentry",
}


def bodies(vpc: Vpc) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the drop of each change: its kind and content."""
    acl_of_db = vpcs.network_acl(vpcs.DB, [rule("tcp", ports=5432), rule("udp", ports=53), NONE], [ALL])
    return {
        "a tier is added": ("guest_network", vpcs.guest_network(LATE)),
        "its ACL is set": ("network_acl", vpcs.network_acl(LATE, [ALL], [ALL])),
        "its VM is added": ("vm_dhcp_entry", LATE_VM),
        "a rule is added to another tier": ("network_acl", acl_of_db),
        "a rule of another tier is removed": (
            "network_acl",
            {**acl_of_db, "ingress_rules": acl_of_db["ingress_rules"][1:]},
        ),
        "a static route is added": ("static_routes", static_routes(*ROUTES, ("172.17.0.0/16", "172.19.0.1"))),
        "static routes are removed": ("static_routes", static_routes(ROUTES[0])),
        "a forward is added": ("forwarding_rules", forwards(forward("192.0.2.92", "7777:7777", "web2"))),
        "a forward is revoked": ("forwarding_rules", forwards(forward("192.0.2.92", "7777:7777", "web2", revoke=True))),
        "static NAT is added": ("staticnat_rules", static_nat("192.0.2.92", "db1")),
        "static NAT is revoked": ("staticnat_rules", static_nat("192.0.2.92", "db1", revoke=True)),
        "a public address is added": ("ip_associations", vpcs.address("192.0.2.99", PUBLIC[0])),
        "a public address is released": ("ip_associations", vpcs.address("192.0.2.99", PUBLIC[0], add=False)),
        "the tier is removed": ("guest_network", vpcs.guest_network(LATE, add=False)),
    }


def addresses(vpc: Vpc) -> dict[str, list[str]]:
    """Return the addresses of the NICs that no change here is about."""
    return {nic: vpc.router.facts.addresses(nic) for nic in ("eth0", "eth2", "eth3", "eth4", "eth5", "eth6", "eth13")}


def test_changes_lose_no_packet_restart_no_daemon_and_leave_the_other_nics_alone(vpc: Vpc) -> None:
    """Streams by static NAT, a forward, a private gateway, from tier to tier and out go on through every change."""
    hosts, router = vpc.hosts, vpc.router
    router.plug(LATE.nic, LATE.name, LATE.mac)
    before, nics = states.state(router), addresses(vpc)
    units = router.facts.snapshot(("/opt/cloud/bin",), DAEMONS)
    streams: dict[str, PingStream | TcpStream] = {
        "ping from tier to tier": PingStream(hosts["web1"], ADDRESS["app1"]),
        "ping to static NAT": PingStream(hosts["internet"], "192.0.2.91"),
        "ping to the private gateway": PingStream(hosts["web1"], PEER),
        "ping to a static route": PingStream(hosts["app1"], BEHIND),
        "tcp from tier to tier": TcpStream(hosts["web1"], ADDRESS["app1"], 8080),
        "tcp to static NAT": TcpStream(hosts["internet"], "192.0.2.91", 22),
        "tcp to a forward": TcpStream(hosts["internet"], "192.0.2.92", 2222),
        "tcp out": TcpStream(hosts["app1"], ADDRESS["internet"], 443),
    }
    drops = bodies(vpc)
    with contextlib.ExitStack() as stack:
        for stream in streams.values():
            stack.enter_context(stream)
        for change in CHANGES:
            vpc.change(*drops[change])
            if change == "its VM is added":
                assert dhcp_lease(hosts["late1"]) is not None
                assert ask(hosts["late1"], tcp(ADDRESS["internet"], 22)).seen_from == "192.0.2.90"
            assert router.facts.snapshot(("/opt/cloud/bin",), DAEMONS) == units, change
            assert addresses(vpc) == nics, change
    assert {name: (s.lost, s.figures.get("error", "")) for name, s in streams.items()} == dict.fromkeys(
        streams, (0, "")
    )
    assert min(stream.sent for stream in streams.values()) > 500
    vpc.change("static_routes", static_routes(*ROUTES))
    vpc.change("network_acl", _fixture("007-network_acl"))
    router.unplug(LATE.nic)
    router.command(states.CONVERGE)
    states.assert_same(before_without(before, LATE.nic), states.state(router))


def _fixture(start: str) -> dict[str, Any]:
    """Return a drop of the fixtures by how its file's name begins."""
    (path,) = (vpcs.FIXTURES / "vpc").glob(f"{start}*")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def before_without(state: list[str], nic: str) -> list[str]:
    """Leave out the link of a NIC that was pulled since."""
    return [line for line in state if not line.startswith(f"link {nic} ")]


def test_a_removed_tier_takes_everything_with_it(vpc: Vpc) -> None:
    """Addresses, rules, routes, DHCP, ACL, VMs; and added again it knows nothing of the last time."""
    router = vpc.router
    router.plug(LATE.nic, LATE.name, LATE.mac)
    router.command(states.CONVERGE)
    before = states.state(router)
    bags = states.databags(router)
    vpc.change("guest_network", vpcs.guest_network(LATE))
    vpc.acl(LATE, [ALL], [ALL])
    vpc.change("vm_dhcp_entry", LATE_VM)
    vpc.change("vm_metadata", {"vm_ip_address": "10.9.7.11", "vm_metadata": [["metadata", "vm-id", "1"]],
                               "type": "vmdata"})  # fmt: skip
    vpc.change("vm_password", {"ip_address": "10.9.7.11", "password": "canary", "type": "vmpassword"})
    vpc.change("static_routes", static_routes(*ROUTES, ("10.91.0.0/16", "10.9.7.250")))
    assert router.facts.unit("dnsmasq@tier_10_9_7_0")["ActiveState"] == "active"
    vpc.change("guest_network", vpcs.guest_network(LATE, add=False))
    assert states.record(router, last_record(router))["warnings"], "the route that leads nowhere now"
    vpc.change("static_routes", static_routes(*ROUTES))
    states.assert_same(before, states.state(router))
    emptied = {path for path, digest in states.databags(router).items() if bags.get(path) != digest}
    assert emptied <= {"/etc/cloudstack/vmdata.json", "/etc/cloudstack/vmpassword.json"}, "made, and empty by now"
    assert router.facts.unit("dnsmasq@tier_10_9_7_0")["ActiveState"] == "inactive"
    places = ("/etc/dnsmasq.cloudstack", "/var/lib/misc", "/var/www", "/var/lib/cloudstack-passwords")
    assert router.exec("find", *places, "-path", "*10?9?7*", check=False).stdout == ""


def last_record(router: Any) -> str:
    """Return the name of the newest result record."""
    return router.shell("ls -t /var/lib/cloudstack/results | head -1").stdout.strip().removesuffix(".json")


def test_a_tier_whose_nic_is_not_there_is_pending_and_picked_up_when_it_is_plugged(vpc: Vpc) -> None:
    router = vpc.router
    router.unplug(LATE.nic)
    vpc.change("guest_network", vpcs.guest_network(LATE))
    vpc.acl(LATE, [ALL], [ALL])
    (reported,) = states.record(router, last_record(router))["pending"]
    assert LATE.mac in reported
    assert "10.9.7.1" in reported
    assert ask(vpc.hosts["web1"], tcp(ADDRESS["app1"], 8080)), "nothing else is held up"
    router.plug(LATE.nic, LATE.name, LATE.mac)
    assert set(states.repaired(router)) >= {"interfaces", "firewall", "dhcp_dns"}
    assert ask(vpc.hosts["late1"], ping(LATE.router))
    vpc.change("guest_network", vpcs.guest_network(LATE, add=False))


def test_a_bad_static_route_is_reported_alone(vpc: Vpc) -> None:
    """E5, E8: through a gateway in no network, or to a network that is connected; E7: absent is removed."""
    router = vpc.router
    vpc.change(
        "static_routes",
        static_routes(*ROUTES, ("172.16.0.0/16", "172.31.0.1"), ("10.9.2.0/24", "172.19.0.1"), ("10.92.0.0/16", PEER)),
    )
    told = states.record(router, last_record(router))["warnings"]
    warned = [line for line in told if line.startswith("static route")]
    assert [line.split()[2].rstrip(":") for line in warned] == ["10.9.2.0/24", "172.16.0.0/16"]
    via = {route["dst"]: route.get("gateway") for route in router.facts.routes()}
    assert via["10.92.0.0/16"] == PEER
    assert via["10.9.2.0/24"] is None
    vpc.change("static_routes", static_routes(ROUTES[0], revoked=[("10.92.0.0/16", PEER)]))
    assert "10.92.0.0/16" not in str(router.facts.routes("all"))
    assert "10.90.0.0/16" not in str(router.facts.routes("all")), "absent from the list"
    vpc.change("static_routes", static_routes(*ROUTES))


class Streams:
    """Open TCP connections, and which of them live at the end."""

    def __init__(self, **open_to: tuple[Host, str, int]) -> None:
        self._streams = {name: TcpStream(*where) for name, where in open_to.items()}

    def __enter__(self) -> Streams:
        for stream in self._streams.values():
            stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for stream in self._streams.values():
            stream.__exit__(None, None, None)

    @property
    def dead(self) -> set[str]:
        """Return those that lost data, or were reset while none was on its way."""
        return {name for name, stream in self._streams.items() if stream.lost or stream.error}


def test_a_rule_that_goes_cuts_what_it_carried_and_nothing_else(vpc: Vpc) -> None:
    """B18, in a tier, of a private gateway, and with a static route (E6)."""
    hosts = vpc.hosts
    vpc.acls(dict.fromkeys((WEB, APP, PARTNER), ([ALL], [ALL])))

    def streams() -> Streams:
        return Streams(
            tier=(hosts["app1"], ADDRESS["web1"], 80),
            other_port=(hosts["app1"], ADDRESS["web1"], 443),
            inbound=(hosts["internet"], "192.0.2.91", 80),
            outbound=(hosts["web1"], ADDRESS["internet"], 80),
            peer=(hosts["web1"], PEER, 80),
            behind=(hosts["web2"], BEHIND, 443),
        )

    with streams() as found:
        vpc.acl(WEB, [rule("tcp", allowed=False, ports=80), ALL], [ALL])
    assert found.dead == {"tier", "inbound"}
    vpc.acl(WEB, [ALL], [ALL])
    with streams() as found:
        vpc.acl(WEB, [ALL], [rule("tcp", "172.16.0.0/12", allowed=False), ALL])
    assert found.dead == {"peer", "behind"}
    vpc.acl(WEB, [ALL], [ALL])
    with streams() as found:
        vpc.acl(PARTNER, [rule("tcp", ports=443), NONE], [ALL])
    assert found.dead == {"peer"}
    vpc.acl(PARTNER, [ALL], [ALL])
    with streams() as found:
        vpc.change("static_routes", static_routes(ROUTES[1]))
    assert found.dead == {"behind"}
    vpc.change("static_routes", static_routes(*ROUTES))


def test_nic_names_shuffled_between_two_boots_make_the_same_router(vpc: Vpc) -> None:
    """E1: every NIC is known by its MAC, whatever the hypervisor calls it this time."""
    vpc.acls(dict.fromkeys((WEB, APP, PARTNER), ([ALL], [ALL])))
    expected = vpcs.reached(vpc, vpcs.PAIRS)
    assert expected["tcp"] == set(vpcs.PAIRS)
    router = vpc.router
    plugged = {name: where for name, where in router.nics.items() if name != LATE.nic}
    router.power_off()
    movable = [name for name in plugged if name != "eth0"]
    router.nics = {"eth0": plugged["eth0"]}
    router.nics |= {name: plugged[other] for name, other in zip(movable, [*movable[1:], movable[0]], strict=True)}
    router.start()
    router.wait_boot()
    router.command(states.CONVERGE)
    assert {link["address"]: name for name, link in router.facts.links().items()}[WEB.mac] != WEB.nic
    assert vpcs.reached(vpc, vpcs.PAIRS) == expected
    assert ask(vpc.hosts["web2"], tcp(ADDRESS["internet"], 22)).seen_from == "192.0.2.90"
    assert ask(vpc.hosts["app1"], tcp(ADDRESS["internet"], 22)).seen_from == "198.51.100.90"
    router.power_off()
    router.nics = plugged
    router.start()
    router.wait_boot()
    assert vpcs.reached(vpc, vpcs.PAIRS) == expected
