# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IPv6 of a router that is the only one: VMs configure themselves by what the kernel makes of real advertisements."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import PingStream, Probe, TcpStream, ask, ask_all, ping, tcp, udp
from tests.scenarios import drops, dual, states
from tests.scenarios.dual import (
    APP,
    CLIENT,
    CLIENT6,
    HOP6,
    OTHER6,
    OWN6,
    POLICY,
    POLICY6,
    WEB,
    Dual,
    acl,
    acl_rule,
    address6,
    configured,
    leaving6,
    rule6,
    rules,
    solicit,
    tier,
)

VM1, VM2, WEB1, APP1 = (address6(name) for name in ("vm1", "vm2", "web1", "app1"))
ALL = acl_rule("all")
ECHO = """
import socket, sys
found = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
found.makefile("rb").readline()
found.sendall(bytes(16384))
count = 0
while count < 16384 and (got := found.recv(65536)): count += len(got)
print(count)
"""
"""Send 16 KiB to a server that echoes, and say how many bytes came back."""
ADVERTISE = """
import socket, struct, sys
wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
known = [line.split() for line in open("/proc/net/if_inet6")]
link = next(words[0] for words in known if words[0].startswith("fe80") and words[5] == "eth0")
index = socket.if_nametoindex("eth0")
wire.bind((":".join(link[n:n + 4] for n in range(0, 32, 4)), 0, 0, index))
option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
wire.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option, (sys.argv[1], 0, 0, index))
"""
"""Send a router a router advertisement with all that makes one valid (RFC 4861, section 6.1.2)."""
KIND = "ipv6firewallrules"


@pytest.fixture(scope="module")
def network() -> Iterator[Dual]:
    """Return an isolated network with IPv6; no rule of it has come yet."""
    with Lab("ipv6") as lab:
        found = dual.make(lab, dual.isolated_cmdline(**dual.IPV6_ARGUMENTS), [dual.GUEST])
        states.change(found.router, dual.public_address(2), rules(POLICY))
        yield found


@pytest.fixture(scope="module")
def vpc() -> Iterator[Dual]:
    """Return a VPC with two tiers with IPv6 and without an ACL."""
    with Lab("ipv6-vpc") as lab:
        found = dual.make(lab, dual.vpc_cmdline(), [WEB, APP], "eth1")
        states.change(found.router, dual.public_address(1), *both_tiers())
        yield found


def both_tiers() -> tuple[dual.Drop, dual.Drop]:
    """Return the drops of both tiers; one of them has resolvers, and packets of another size."""
    return tier(WEB, six=True, dns6="2001:db8:53::2,2001:db8:53::1", mtu=1450), tier(APP, six=True)


def opened(network: Dual, *given: dual.Drop) -> None:
    """Make these all rules for IPv6 that the network has."""
    path = f"/etc/cloudstack/{KIND}.json"
    found = network.router.exec("jq", "-r", "keys[]", path).stdout.split() if network.router.exists(path) else []
    gone = [rule6(int(key), "tcp", revoked=True) for key in found if key != "id"]
    states.change(network.router, rules(*gone, kind=KIND), rules(*given, kind=KIND))


def passes(network: Dual, *questions: tuple[str, Probe]) -> list[bool]:
    """Return which probes, (name of a host, probe), get an answer."""
    return [bool(result) for result in ask_all([(network.hosts[name], probe) for name, probe in questions])]


def test_ipv6_9_before_the_first_rule_nothing_passes(network: Dual) -> None:
    configured(network, "vm1", "vm2")
    both = (("client", tcp(VM1, 22)), ("client", ping(VM1)), ("vm1", tcp(CLIENT6, 80)), ("vm1", ping(CLIENT6)))
    assert passes(network, *both) == [False] * 4
    assert passes(network, ("vm1", ping("2001:db8:a:1::1")), ("client", ping(OWN6))) == [True, True]


def test_ipv6_1_a_vm_configures_itself_at_once(network: Dual) -> None:
    vm = network.lab.host("fresh", "guest", "10.1.1.77/24", mac="02:01:00:00:00:4d")
    started = time.monotonic()
    said = solicit(vm)
    wanted = dual.eui64(dual.GUEST, "02:01:00:00:00:4d")
    while wanted not in vm.ip("-6", "address", "show", "dev", "eth0"):
        assert time.monotonic() - started < 10.0
        time.sleep(0.02)
    assert "default via fe80::1 dev eth0" in vm.ip("-6", "route")
    facts = {m[1].strip(): m[2] for m in re.finditer(r"^ *([A-Za-z][^:]*?) *: +(\S+)", said, re.MULTILINE)}
    assert (facts["Stateful address conf."], facts["Stateful other conf."]) == ("No", "No")
    assert (facts["On-link"], facts["Autonomous address conf."]) == ("Yes", "Yes")
    assert (facts["Valid time"], facts["Pref. time"], facts["Router lifetime"]) == ("86400", "14400", "45")
    assert facts["Prefix"] == "2001:db8:a:1::/64"
    assert "from fe80::1" in said


def test_ipv6_2_resolvers_in_order(network: Dual) -> None:
    said = solicit(network.hosts["vm1"])
    assert re.findall(r"Recursive DNS server +: (\S+)", said) == ["2001:db8:53::1", "2001:db8:53::2"]
    assert re.findall(r"DNS server lifetime +: +(\d+)", said) == ["60", "60"]
    assert "MTU" not in said


def test_ipv6_4_both_ways_and_one_default_route(network: Dual) -> None:
    opened(network, POLICY6, rule6(701, "tcp", (22, 22)))
    out, into = ask_all([(network.hosts["vm1"], tcp(CLIENT6, 80)), (network.hosts["client"], tcp(VM1, 22))])
    assert (out.seen_from, into.seen_from) == (VM1, CLIENT6)
    routes = network.router.exec("ip", "-6", "route", "show", "default").stdout.splitlines()
    assert len(routes) == 1
    assert routes[0].startswith(f"default via {HOP6} dev eth2")
    assert ask(network.router, tcp(CLIENT6, 80)).seen_from == OWN6


def test_ipv6_7_every_form_of_ingress_rule(network: Dual) -> None:
    opened(
        network,
        POLICY6,
        rule6(701, "tcp", (22, 22), source_cidr_list=["2001:db8:99::/48"], dest_cidr_list=[f"{VM1}/128"]),
        rule6(702, "tcp", (80, 443), source_cidr_list=["::/0"]),
        rule6(703, "udp", source_cidr_list=["2001:db8:99::/48"], dest_cidr_list=["2001:db8:a:1::/64"]),
        rule6(704, "icmp", icmp_type=128, icmp_code=0, source_cidr_list=["2001:db8:99::/48"]),
        rule6(705, "all", source_cidr_list=[f"{OTHER6}/128"], dest_cidr_list=[f"{VM2}/128"]),
        rule6(706, "tcp", (0, 0), source_cidr_list=[f"{CLIENT6}/128"], dest_cidr_list=[f"{VM2}/128"]),
    )
    table = [
        ("client", tcp(VM1, 22), True),
        ("other", tcp(VM1, 22), False),
        ("other", tcp(VM1, 80), True),
        ("client", tcp(VM1, 443), True),
        ("client", tcp(VM1, 8443), False),
        ("client", udp(VM1, 5353), True),
        ("other", udp(VM1, 5353), False),
        ("client", ping(VM1), True),
        ("other", ping(VM1), False),
        ("other", ping(VM2), True),
        ("other", udp(VM2, 53), True),
        ("client", tcp(VM2, 8443), True),
    ]
    found = passes(network, *((name, probe) for name, probe, _wanted in table))
    wrong = [(name, probe) for (name, probe, wanted), got in zip(table, found, strict=True) if got is not wanted]
    assert wrong == []


@pytest.mark.parametrize("policy", [True, False], ids=["allow", "deny"])
def test_ipv6_8_egress_by_both_policies(network: Dual, policy: bool) -> None:
    """A list of sources, of destinations, of both, and `all`; answers always pass."""
    opened(
        network,
        leaving6(0, "all", policy),
        leaving6(711, "tcp", policy, (25, 25), source_cidr_list=["2001:db8:a:1::/64"]),
        leaving6(712, "udp", policy, (123, 123), dest_cidr_list=["2001:db8:99::/48"]),
        leaving6(713, "all", policy, source_cidr_list=[f"{VM2}/128"], dest_cidr_list=["2001:db8:98::/48"]),
        rule6(701, "tcp", (22, 22), default_egress_policy=policy),
    )
    listed = (("vm1", tcp(CLIENT6, 25)), ("vm1", udp(CLIENT6, 123)), ("vm2", ping(OTHER6)))
    others = (("vm1", tcp(CLIENT6, 80)), ("vm1", udp(OTHER6, 123)), ("vm1", ping(OTHER6)), ("vm2", ping(CLIENT6)))
    assert passes(network, *listed) == [not policy] * 3
    assert passes(network, *others) == [policy] * 4
    assert passes(network, ("client", tcp(VM1, 22))) == [True]


def test_ipv6_10_a_revoked_rule_cuts_and_the_newer_wins(network: Dual) -> None:
    opened(network, POLICY6, rule6(701, "tcp", (22, 22)), rule6(702, "icmp", dest_cidr_list=[f"{VM2}/128"]))
    with (
        TcpStream(network.hosts["client"], VM1, 22) as revoked,
        PingStream(network.hosts["client"], VM2) as kept,
    ):
        time.sleep(0.2)
        network.change("ipv6_firewall_rules", rules(rule6(701, "tcp", (80, 80)), kind=KIND))
        time.sleep(0.5)
    assert kept.lost == 0
    assert revoked.lost > 0
    assert passes(network, ("client", tcp(VM1, 22)), ("client", tcp(VM1, 80))) == [False, True]


def test_ipv6_14_large_transfers_find_their_way_through_a_narrow_link(network: Dual) -> None:
    """Under rules that allow nothing else than the port: "packet too big" must come through."""
    opened(network, leaving6(0, "all", False), leaving6(711, "tcp", False, (80, 80)), rule6(701, "tcp", (22, 22)))
    with dual.narrowed(network.hosts["provider"], CLIENT6, VM1):
        for source, target, port in (("vm1", CLIENT6, 80), ("client", VM1, 22)):
            assert network.hosts[source].run(sys.executable, "-c", ECHO, target, port).stdout.strip() == "16384"
            assert int(network.hosts[source].run("awk", "/^Icmp6InPktTooBigs/ { print $2 }", "/proc/net/snmp6").stdout)


def test_ipv6_15_who_advertises_to_the_router_changes_nothing(network: Dual) -> None:
    """Neither a VM nor somebody outside; neighbours, groups and solicitations work without any rule."""
    opened(network)
    before = states.network(network.router)
    for name, target in (("vm2", "fe80::1"), ("provider", OWN6)):
        network.hosts[name].run(sys.executable, "-c", ADVERTISE, target)
    time.sleep(0.5)
    assert states.network(network.router) == before
    assert "2001:db8:a:1::/64" in solicit(network.hosts["vm1"])
    network.hosts["vm1"].ip("-6", "neighbour", "flush", "all")
    assert passes(network, ("vm1", ping("2001:db8:a:1::1"))) == [True]


def test_ipv6_16_a_foreign_source_is_dropped(network: Dual) -> None:
    opened(network, POLICY6)
    network.hosts["provider"].add_route("2001:db8:77::/64", OWN6)
    network.hosts["vm1"].add_address("2001:db8:77::4/128")
    assert passes(network, ("vm1", udp(CLIENT6, 53, source="2001:db8:77::4"))) == [False]
    network.hosts["vm1"].ip("address", "del", "2001:db8:77::4/128", "dev", "eth0")
    assert not [line for line in network.router.facts.conntrack() if "2001:db8:77:" in line]


def test_ipv6_17_nothing_is_open_on_the_routers_own_addresses(network: Dual) -> None:
    opened(network, POLICY6)
    ports = (22, 25, 53, 80, 111, 179, 443, 2601, 2605, 3922, 8080)
    questions = [("client", tcp(OWN6, port, timeout=0.5)) for port in ports]
    questions += [("vm1", tcp(target, port, timeout=0.5)) for target in ("2001:db8:a:1::1", OWN6) for port in ports]
    results = ask_all([(network.hosts[name], probe) for name, probe in questions])
    assert {result.verdict for result in results} == {"timeout"}


def test_names_of_vms_have_their_ipv6_addresses(network: Dual) -> None:
    entry = drops.vm("vm1", dual.VMS["vm1"][2], dual.VMS["vm1"][1]) | {"default_gateway": "10.1.1.1"}
    network.change("vm_dhcp_entry", {**entry, "ipv6_address": VM1})
    asked = network.hosts["vm2"].run("dig", "+short", "@10.1.1.1", "AAAA", "vm1.cs2cloud.internal")
    assert asked.stdout.split() == [VM1]


def test_ipv6_23_converging_again_changes_nothing(network: Dual) -> None:
    opened(network, POLICY6, rule6(701, "tcp", (22, 22)))
    daemons = (*states.DAEMONS, "radvd")
    watched = ("/etc", "/var/lib/cloudstack/nftables")
    before = network.router.facts.snapshot(watched, daemons)
    assert states.repaired(network.router) == []
    assert network.router.facts.snapshot(watched, daemons) == before


def test_ipv6_22_a_reboot_brings_everything_back_without_the_server(network: Dual) -> None:
    opened(network, POLICY6, rule6(701, "tcp", (22, 22)))
    before = states.network(network.router)
    network.router.reboot()
    assert states.network(network.router) == before
    assert "from fe80::1" in solicit(network.hosts["vm1"])
    assert passes(network, ("client", tcp(VM1, 22)), ("vm1", tcp(CLIENT6, 80))) == [True, True]
    assert states.repaired(network.router) == []


def test_ipv6_23_what_is_taken_away_comes_back(network: Dual) -> None:
    """An address, the route, a setting, the daemon, its file: each by the next converge."""
    before = states.network(network.router)
    network.router.shell(
        "ip -6 address flush dev eth0; ip -6 route del default; systemctl stop radvd; rm /etc/radvd.conf;"
        " sysctl -qw net.ipv6.conf.eth2.disable_ipv6=1"
    )
    assert set(states.repaired(network.router)) == {"interfaces", "routing"}
    assert states.network(network.router) == before
    assert passes(network, ("client", tcp(VM1, 22)), ("vm1", tcp(CLIENT6, 80))) == [True, True]


# VPC


def lists(
    vpc: Dual, web: tuple[list[dual.Drop], list[dual.Drop]], app: tuple[list[dual.Drop], list[dual.Drop]]
) -> None:
    """Give both tiers their ACLs, ingress and egress."""
    states.change(vpc.router, acl(WEB, *web, six=True), acl(APP, *app, six=True))


def test_ipv6_2_each_tier_has_its_own_advertisement(vpc: Dual) -> None:
    configured(vpc, "web1", "web2", "app1")
    web, app = solicit(vpc.hosts["web1"]), solicit(vpc.hosts["app1"])
    assert re.findall(r"Recursive DNS server +: (\S+)", web) == ["2001:db8:53::2", "2001:db8:53::1"]
    assert re.search(r"MTU +: +1450", web)
    assert "Recursive" not in app
    assert "MTU" not in app


def test_ipv6_9_a_tier_without_an_acl_is_closed(vpc: Dual) -> None:
    """In both directions, though IPv4 may leave."""
    questions = (
        ("client", tcp(WEB1, 22)),
        ("web1", tcp(CLIENT6, 80)),
        ("web1", tcp(APP1, 22)),
        ("web1", tcp(CLIENT, 80)),
    )
    assert passes(vpc, *questions) == [False, False, False, True]


def test_ipv6_11_an_acl_keeps_its_order_in_both_families(vpc: Dual) -> None:
    first = [acl_rule("tcp", "203.0.113.0/24,2001:db8:99::/48", allowed=False, first_port=22, last_port=22), ALL]
    lists(vpc, (first, [ALL]), ([], []))
    assert passes(vpc, ("client", tcp(WEB1, 22)), ("client", tcp(WEB1, 80)), ("other", tcp(WEB1, 22))) == [
        False,
        True,
        True,
    ]
    lists(vpc, (list(reversed(first)), [ALL]), ([], []))
    assert passes(vpc, ("client", tcp(WEB1, 22))) == [True]
    lists(vpc, ([acl_rule("tcp", "0.0.0.0/0", first_port=22, last_port=22)], [ALL]), ([], []))
    assert passes(vpc, ("client", tcp(WEB1, 22)), ("web1", tcp(CLIENT6, 80))) == [False, True]


@pytest.mark.parametrize(("leaves", "enters"), [(True, True), (True, False), (False, True), (False, False)])
def test_ipv6_12_both_acls_decide_between_tiers(vpc: Dual, leaves: bool, enters: bool) -> None:
    """N2."""
    egress, ingress = [ALL] if leaves else [], [ALL] if enters else []
    lists(vpc, (ingress, egress), (ingress, egress))
    both = leaves and enters
    assert passes(vpc, ("web1", tcp(APP1, 22)), ("app1", udp(WEB1, 53))) == [both, both]


def test_ipv6_6_a_tier_that_goes_disturbs_no_other(vpc: Dual) -> None:
    lists(vpc, ([ALL], [ALL]), ([ALL], [ALL]))
    with PingStream(vpc.hosts["client"], WEB1) as stream:
        vpc.change("guest_network", tier(APP))
        time.sleep(0.3)
    assert stream.lost == 0
    assert APP.router6 not in vpc.router.exec("ip", "-6", "address").stdout
    assert "eth3" not in vpc.router.read("/etc/radvd.conf")
    assert vpc.router.facts.sysctl("net.ipv6.conf.eth3.disable_ipv6") == "1"
    assert OWN6 in vpc.router.exec("ip", "-6", "address").stdout
    assert "acl6_eth3" not in vpc.router.facts.ruleset()
    assert passes(vpc, ("client", tcp(APP1, 22))) == [False]


def test_ipv6_3_without_a_tier_there_is_nothing_of_ipv6(vpc: Dual) -> None:
    """L1, and the public address goes with the last tier that has it; all of it comes back."""
    states.change(vpc.router, tier(WEB), tier(APP))
    assert vpc.router.facts.unit("radvd")["ActiveState"] == "inactive"
    assert not vpc.router.exists("/etc/radvd.conf")
    names = ("eth0", "eth1", "eth2", "eth3")
    assert {vpc.router.facts.sysctl(f"net.ipv6.conf.{nic}.disable_ipv6") for nic in names} == {"1"}
    assert "inet6" not in vpc.router.exec("sh", "-c", "ip -6 address show scope global").stdout
    states.change(vpc.router, *both_tiers())
    assert vpc.router.facts.unit("radvd")["ActiveState"] == "active"
    configured(vpc, "web1", "app1")
    assert passes(vpc, ("client", tcp(WEB1, 22))) == [True]


def test_ipv6_5_prefix_lengths_of_tier_and_public_network_are_their_own(vpc: Dual) -> None:
    vpc.change(
        "guest_network",
        tier(APP, six=True, router_guest_ip6_cidr="2001:db8:a:2::/80", router_ip6_cidr="2001:db8:f::/64"),
    )
    shown = vpc.router.exec("ip", "-6", "address").stdout
    assert f"{APP.router6}/80" in shown
    assert f"{OWN6}/64" in shown
    vpc.change("guest_network", both_tiers()[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("router_guest_ip6", "::"),
        ("router_guest_ip6", "fe80::1%eth0"),
        ("router_guest_ip6", "ff02::1"),
        ("router_guest_ip6", "2001:db8::1; reboot"),
        ("router_guest_ip6_cidr", "::/0"),
        ("router_guest_ip6_cidr", "2001:db8::/129"),
        ("router_guest_ip6_gateway", "::1"),
        ("router_ip6", "10.0.0.1"),
        ("router_ip6_cidr", "2001:db8:f::"),
        ("router_ip6_gateway", "::ffff:10.0.0.1"),
        ("dns6", "2001:db8:53::1,ff02::fb"),
        ("dns6", "2001:db8:53::1}; interface eth0 {"),
        ("cidr6", "129"),
    ],
)
def test_hostile_values_are_refused_by_name(vpc: Dual, field: str, value: str) -> None:
    answer = vpc.change("guest_network", tier(APP, six=True, **{field: value}), check=False)
    assert answer.returncode != 0
    assert f"{field}: expected" in answer.stdout + answer.stderr
