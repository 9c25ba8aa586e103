# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where packets of a VPC go and which address they have then, and what the router itself serves to each tier.

The drops are those of tests/fixtures/vpc; the expectations are written by hand, one line per packet.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.probes import (
    Probe,
    Result,
    ask,
    ask_all,
    dhcp_lease,
    dns_query,
    icmp_ping,
    ping,
    tcp,
    tcp_scan,
    udp,
)
from tests.scenarios import vpcs
from tests.scenarios.vpcs import (
    ALL,
    APP,
    AT_SITE,
    BEHIND,
    DB,
    LAN,
    MAC,
    PEER,
    VMS,
    WEB,
    Vpc,
    static_nat,
)

INTERNET, ELSEWHERE = "203.0.113.10", "203.0.113.200"
WEB1, WEB2, APP1, DB1 = (VMS[name][1] for name in ("web1", "web2", "app1", "db1"))

# from where, to where → who answers and the source address that is seen there; None: nobody
CROSSING: list[tuple[str, Probe, tuple[str, str] | None]] = [
    # Static NAT leaves by the NIC of its address and with it (D1), others with the NIC's (D3).
    ("web1", tcp(INTERNET, 22), ("internet", "192.0.2.91")),
    ("web2", tcp(INTERNET, 22), ("internet", "192.0.2.90")),
    ("app1", tcp(INTERNET, 22), ("internet", "198.51.100.90")),
    ("app1", udp(ELSEWHERE, 4000), ("elsewhere", "198.51.100.90")),
    ("web1", tcp(INTERNET, 25), None),
    ("db1", tcp(INTERNET, 22), None),
    ("db1", udp(INTERNET, 4000), None),
    # Towards private gateways and static routes static NAT is nothing (E3); `site` knows the gateway only (E4).
    ("web1", tcp(PEER, 443), ("peer", WEB1)),
    ("web2", tcp(BEHIND, 443), ("behind", WEB2)),
    ("app1", tcp(BEHIND, 443), ("behind", APP1)),
    ("app1", udp(PEER, 514), ("peer", APP1)),
    ("app1", udp(PEER, 5353), None),
    ("web1", tcp(AT_SITE, 8080), ("atsite", "172.29.0.1")),
    ("app1", tcp(AT_SITE, 8080), ("atsite", "172.29.0.1")),
    ("atsite", tcp(WEB1, 22), None),
    ("peer", tcp(WEB1, 22), ("web1", PEER)),
    ("behind", tcp(WEB2, 80), ("web2", BEHIND)),
    ("behind", tcp(WEB2, 443), None),
    ("peer", tcp(APP1, 8080), None),
    # Tier to tier, and through an appliance in a tier.
    ("web1", tcp(APP1, 8080), ("app1", WEB1)),
    ("web1", tcp(APP1, 443), None),
    ("app1", tcp(WEB1, 6000), ("web1", APP1)),
    ("app1", tcp(DB1, 5432), ("db1", APP1)),
    ("web1", tcp(DB1, 5432), None),
    ("db1", tcp(WEB1, 80), None),
    ("app1", tcp(LAN, 6000), ("lan", APP1)),
    ("db1", tcp(LAN, 6000), None),
    # From the internet: no public address is a way past the tier's ACL.
    ("internet", tcp("192.0.2.91", 22), ("web1", INTERNET)),
    ("internet", tcp("192.0.2.91", 80), ("web1", INTERNET)),
    ("elsewhere", tcp("192.0.2.91", 80), None),
    ("elsewhere", tcp("192.0.2.91", 8443), ("web1", ELSEWHERE)),
    ("internet", tcp("192.0.2.91", 6000), None),
    ("internet", udp("192.0.2.91", 53), None),
    ("internet", tcp("198.51.100.90", 443), ("app1", INTERNET)),
    ("elsewhere", tcp("198.51.100.90", 443), None),
    ("internet", tcp("192.0.2.92", 2222), ("web2", INTERNET)),
    ("elsewhere", tcp("192.0.2.92", 2222), ("web2", ELSEWHERE)),
    ("internet", tcp("192.0.2.92", 22), None),
    ("internet", tcp("192.0.2.92", 9000), None),
    ("internet", tcp("192.0.2.92", 8443), ("web2", INTERNET)),
    ("elsewhere", tcp("192.0.2.92", 8443), None),
    # Any protocol and any port of the source NAT address, for one source.
    ("internet", tcp("192.0.2.90", 22), ("web1", INTERNET)),
    ("internet", tcp("192.0.2.90", 8443), ("web1", INTERNET)),
    ("internet", tcp("192.0.2.90", 6000), None),
    ("elsewhere", tcp("192.0.2.90", 22), None),
]
PINGS = [
    ("internet", "192.0.2.91", True),
    ("internet", "198.51.100.90", False),
    ("db1", INTERNET, True),
    ("db1", WEB1, True),
    ("web1", APP1, True),
    ("web1", DB1, False),
    ("web1", PEER, True),
    ("app1", BEHIND, True),
    ("peer", APP1, False),
    ("behind", WEB1, True),
    ("atsite", WEB1, False),
]


def seen(result: Result) -> tuple[str | None, str | None] | None:
    """Return who answered and whom it saw, None where nobody did."""
    return (result.server, result.seen_from) if result else None


def test_who_reaches_whom_and_with_which_address(vpc: Vpc) -> None:
    results = ask_all([(vpc.hosts[source], probe) for source, probe, _expected in CROSSING])
    found = [(source, probe, seen(result)) for (source, probe, _e), result in zip(CROSSING, results, strict=True)]
    assert found == CROSSING


def test_who_may_ping_whom(vpc: Vpc) -> None:
    results = ask_all([(vpc.hosts[source], ping(target)) for source, target, _expected in PINGS])
    found = [(source, target, bool(result)) for (source, target, _e), result in zip(PINGS, results, strict=True)]
    assert found == PINGS


# The public address and port, and who answers there.
OWN_ADDRESSES = [
    ("192.0.2.91", 22, "web1"),
    ("192.0.2.92", 2222, "web2"),
    ("192.0.2.92", 9005, "web2"),
    ("198.51.100.90", 443, "app1"),
]


def test_hairpin_from_the_same_and_from_another_tier(vpc: Vpc) -> None:
    """From every VM, also to itself; the VM sees the router's address in its own tier (D4, D6)."""
    before = vpc.router.read("/etc/cloudstack/networkacl.json")
    for tier in (WEB, APP):
        vpc.acl(tier, [ALL], [ALL])
    cases = [(source, *own) for source in ("web1", "web2", "app1") for own in OWN_ADDRESSES]
    results = ask_all([(vpc.hosts[source], tcp(ip, port)) for source, ip, port, _answer in cases])
    router_in = {"web1": WEB.router, "web2": WEB.router, "app1": APP.router}
    assert [seen(result) for result in results] == [(answer, router_in[answer]) for _s, _i, _p, answer in cases]
    own = ask_all([(vpc.router, tcp(ip, port)) for ip, port, _answer in OWN_ADDRESSES])
    assert [result.server for result in own] == [answer for _ip, _port, answer in OWN_ADDRESSES]
    restore_acls(vpc, before)


def restore_acls(vpc: Vpc, bag: str) -> None:
    """Send the ACLs of a databag again."""
    for device, entry in json.loads(bag).items():
        if device != "id":
            vpc.change("network_acl", entry)
    assert vpc.router.read("/etc/cloudstack/networkacl.json") == bag


def test_hairpin_meets_the_acls_too(vpc: Vpc) -> None:
    """The app tier lets 443 in from other sources only; the web tier lets everything in from the app tier."""
    results = ask_all([(vpc.hosts["web1"], tcp("198.51.100.90", 443)), (vpc.hosts["app1"], tcp("192.0.2.91", 22))])
    assert [seen(result) for result in results] == [None, ("web1", WEB.router)]


def test_replies_leave_by_the_private_gateway_that_was_asked_by(vpc: Vpc) -> None:
    """A client that no static route leads to comes in through the private gateway: its reply goes back there (D2)."""
    vpc.hosts["behind"].add_address("10.200.0.5/32")
    vpc.lab.hosts["border"].add_route("10.200.0.5/32", BEHIND)
    vpc.lab.hosts["peer"].add_route("10.200.0.5/32", "172.19.0.1")
    ingress = [ALL]
    before = vpc.router.read("/etc/cloudstack/networkacl.json")
    vpc.acl(WEB, ingress, [ALL])
    found = ask(vpc.hosts["behind"], tcp(WEB1, 22, source="10.200.0.5"))
    restore_acls(vpc, before)
    assert seen(found) == ("web1", "10.200.0.5")


def test_static_nat_on_and_off_leaves_nothing(vpc: Vpc) -> None:
    """D8: afterwards the address is as free as before, and can be another VM's."""
    vpc.change("staticnat_rules", static_nat("192.0.2.91", "web1", revoke=True))
    assert seen(ask(vpc.hosts["web1"], tcp(INTERNET, 22))) == ("internet", "192.0.2.90")
    assert not ask(vpc.hosts["internet"], tcp("192.0.2.91", 22))
    vpc.change("staticnat_rules", static_nat("192.0.2.91", "web2"))
    assert seen(ask(vpc.hosts["internet"], tcp("192.0.2.91", 22))) == ("web2", INTERNET)
    vpc.change("staticnat_rules", static_nat("192.0.2.91", "web2", revoke=True))
    vpc.change("staticnat_rules", static_nat("192.0.2.91", "web1"))
    assert seen(ask(vpc.hosts["internet"], tcp("192.0.2.91", 22))) == ("web1", INTERNET)


SCANNED = [(1, 1024), (2200, 2230), (3300, 3310), (3900, 3930), (8000, 8100), (8400, 8500), (9000, 9010)]


def test_a_scan_from_outside_finds_only_what_was_opened(vpc: Vpc) -> None:
    for address, opened in (("192.0.2.90", []), ("198.51.100.90", []), ("192.0.2.92", [2222])):
        found = tcp_scan(vpc.hosts["elsewhere"], address, SCANNED, timeout=1)
        assert found["open"] == opened, address


def test_nobody_comes_in_around_the_public_addresses(vpc: Vpc) -> None:
    """A neighbour on the public network that routes the VPC to the router gets nowhere."""
    neighbour = vpc.lab.host("neighbour", "eth1", "192.0.2.77/24")
    neighbour.add_route("10.9.0.0/16", "192.0.2.90")
    neighbour.add_route("172.19.0.0/24", "192.0.2.90")
    assert not any(ask_all([(neighbour, probe) for probe in (tcp(WEB1, 22), ping(WEB1), ping(PEER), udp(APP1, 53))]))


def test_management_reaches_sshd_on_the_control_address_only(vpc: Vpc) -> None:
    found = tcp_scan(vpc.hosts["management"], "169.254.9.9", SCANNED, timeout=1)
    assert found["open"] == [3922]
    assert not ask(vpc.hosts["web1"], tcp("10.9.1.1", 3922))
    assert not ask(vpc.hosts["peer"], tcp("172.19.0.2", 3922))


def test_tiers_reach_the_services_of_the_router_and_no_others(vpc: Vpc) -> None:
    found = tcp_scan(vpc.hosts["app1"], APP.router, SCANNED, timeout=1)
    assert found["open"] == [53, 80, 443, 8080]


# DHCP and DNS

LEASES: list[tuple[str, dict[str, Any]]] = [
    ("web1", {"routers": [WEB.router], "dns": [WEB.router, "203.0.113.53", "203.0.113.54"], "mtu": 1500,
              "domain": "web.lab.internal", "address": WEB1}),
    ("app1", {"routers": [APP.router], "dns": [APP.router, "203.0.113.200"], "mtu": 1450,
              "domain": "app.lab.internal", "address": APP1}),
    ("db1", {"routers": [DB.router], "dns": [DB.router, "203.0.113.53"], "mtu": 1500,
             "domain": "lab.internal", "address": DB1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), LEASES, ids=[name for name, _expected in LEASES])
def test_each_tier_hands_out_its_own_options(vpc: Vpc, name: str, expected: dict[str, Any]) -> None:
    """Resolvers, domain and MTU of the tier (F11, L5)."""
    lease = dhcp_lease(vpc.hosts[name], mac=MAC[name])
    assert lease is not None
    assert {key: lease.get(key) for key in expected} == expected


def test_a_vm_gets_nothing_in_a_tier_that_is_not_its_own(vpc: Vpc) -> None:
    assert dhcp_lease(vpc.hosts["app1"], mac=MAC["web1"]) is None


def test_one_mac_in_two_tiers_is_two_vms(vpc: Vpc) -> None:
    """The server makes such (apache/cloudstack#7633); a NIC that moves has its new entry before its old one goes."""
    twin = {**vpcs.dhcp_entry("web1"), "mac_address": "02:09:00:00:0a:01"}
    one = {**twin, "host_name": "one", "ipv4_address": "10.9.1.201"}
    two = {**twin, "host_name": "two", "ipv4_address": "10.9.2.201", "default_gateway": APP.router}

    def served() -> list[str | None]:
        """Return what the MAC gets in each tier, what DNS says of its names, and whose password waits."""
        found = [dhcp_lease(vpc.hosts[name], mac=twin["mac_address"], timeout=2.0) for name in ("web1", "app1")]
        asked = [dns_query(vpc.hosts["web1"], WEB.router, name).extra["answers"] for name in ("one", "two")]
        return [each and each["address"] for each in found] + [each[0][3] if each else None for each in asked]

    def passwords() -> set[str]:
        names = vpc.router.exec("ls", "/var/lib/cloudstack-passwords/waiting").stdout.split()
        return {name.partition(",")[0] for name in names} & {one["ipv4_address"], two["ipv4_address"]}

    for vm in (one, two):
        vpc.change("vm_dhcp_entry", vm)
        body = {"ip_address": vm["ipv4_address"], "password": "of-" + vm["host_name"], "type": "vmpassword"}
        vpc.change("vm_password", body)
    assert served() == ["10.9.1.201", "10.9.2.201"] * 2
    assert passwords() == {"10.9.1.201", "10.9.2.201"}
    vpc.change("vm_dhcp_entry", {**one, "remove": True})
    assert served() == [None, "10.9.2.201"] * 2
    assert passwords() == {"10.9.2.201"}
    vpc.change("vm_dhcp_entry", {**two, "remove": True})
    assert served() == [None] * 4


@pytest.mark.parametrize(("name", "tier"), [("web1", WEB), ("app1", APP), ("db1", DB)])
def test_each_tier_finds_all_vms_and_its_own_metadata(vpc: Vpc, name: str, tier: Any) -> None:
    def asked(question: str) -> list[str]:
        return [value for _n, kind, _ttl, value in dns_query(vpc.hosts[name], tier.router, question).extra["answers"]]

    assert asked("data-server") == [tier.router], "F12"
    assert asked("app1") == [APP1]
    assert asked("app1.app.lab.internal") == [APP1]
    assert asked("web2.web.lab.internal") == [WEB2]


def test_each_tier_asks_its_own_resolvers(vpc: Vpc) -> None:
    """F11: what the router does not know itself, it asks whom the tier says."""
    dns_query(vpc.hosts["app1"], APP.router, "app.example.org", timeout=0.3)
    asked = [line for line in vpc.router.facts.conntrack() if "dport=53" in line and "dst=203.0.113.200" in line]
    assert len(asked) == 1
    dns_query(vpc.hosts["db1"], DB.router, "db.example.org", timeout=0.3)
    later = [line for line in vpc.router.facts.conntrack() if "dport=53" in line and "dst=203.0.113.200" in line]
    assert len(later) == 1, "the database tier asks another"


# Usage


def usage(vpc: Vpc, address: str) -> tuple[int, int]:
    """Return the bytes sent and received by a public address's subnet."""
    counts = vpc.router.command(f"vpc_netusage.sh -l {address} -g").stdout.strip(":\n").split(":")
    assert counts[2:] == ["0", "0"], "nothing ends on the router"
    return int(counts[0]), int(counts[1])


def test_usage_is_counted_by_public_subnet_and_survives_reloads(vpc: Vpc) -> None:
    """K6: what web1 sends counts for the first subnet, what app1 sends for the second; traffic inside for none."""
    vpc.router.command("vpc_netusage.sh -l 192.0.2.90 -c -v 10.9.0.0/16")
    vpc.router.command("vpc_netusage.sh -l 192.0.2.90 -r")
    vpc.router.command("vpc_netusage.sh -l 198.51.100.90 -r")
    assert icmp_ping(vpc.hosts["app1"], INTERNET)
    size = usage(vpc, "198.51.100.90")
    assert size == (84, 84), "one echo request and its reply: 20 + 8 + 56 bytes"
    assert usage(vpc, "192.0.2.90") == (0, 0)
    assert all(icmp_ping(vpc.hosts["web1"], target) for target in (APP1, PEER, INTERNET))
    assert usage(vpc, "192.0.2.91") == (84, 84)
    vpc.change("staticnat_rules", static_nat("192.0.2.92", "web2"))
    vpc.change("staticnat_rules", static_nat("192.0.2.92", "web2", revoke=True))
    assert (usage(vpc, "192.0.2.90"), usage(vpc, "198.51.100.90")) == ((84, 84), size)
