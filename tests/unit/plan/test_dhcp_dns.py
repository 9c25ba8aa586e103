# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Away, Kind, Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.dhcp_dns import (
    DIRECTORY,
    HOSTS,
    Lease,
    Server,
    names,
    parse_leases,
    removed,
    servers,
    stale_leases,
    wanted,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    ReleaseLease,
    RemoveDirectory,
    RemoveFile,
    Run,
)
from tests.golden.cases import renderer
from tests.unit.plan.samples import CONTROL, GUEST, PUBLIC, device, host, isolated, vpc, with_settings

RENDER = renderer()


CONFIG, OPTIONS, LEASES_OF = "dnsmasq.conf", "dhcp-options", "dhcp-hosts"
ONE = Server()


def planned(router: Router) -> dict[str, File]:
    """Return all files of dnsmasq by path."""
    parts = [names(router), *(wanted(router, server, RENDER) for server in servers(router))]
    return {file.path: file for part in parts for file in part.files}


def lines(router: Router, path: str, tier: str = "") -> list[str]:
    """Return a file without its header: by its path, or by its name among those of the only server, or of a tier."""
    if "/" not in path:
        (server,) = (s for s in servers(router) if tier in ("", s.name))
        path = server.config if path == CONFIG else server.file(path)
    return planned(router)[path].content.splitlines()[1:]


def options(router: Router, name: str, secondary: bool = False) -> set[str]:
    """Return the values that hosts are sent of an option, by subnet where there are several."""
    found = [line for line in lines(router, OPTIONS) if f"option:{name}" in line]
    mine = [line for line in found if ("tag:secondary" in line) == secondary or "secondary" not in line]
    return {line.partition(f"option:{name}")[2] for line in mine}


def test_wanted_sends_router_resolvers_domain_and_mtu() -> None:
    """The router is the first resolver, the given ones follow (F10)."""
    router = with_settings(
        isolated(), resolvers=("203.0.113.53", "10.1.1.1", "203.0.113.54"), search_domains=("a.test", "b.test")
    )
    assert options(router, "router") == {",10.1.1.1"}
    assert options(router, "dns-server") == {",10.1.1.1,203.0.113.53,203.0.113.54"}, "each once"
    assert options(router, "domain-name") == {",cloudnine.internal"}
    assert options(router, "domain-search") == {",a.test,b.test"}
    assert options(router, "mtu") == {",1500"}


def test_wanted_withholds_what_would_lead_the_traffic_of_a_secondary_nic() -> None:
    """Empty, and not absent: for an option it is not told of dnsmasq sends its own address (F7)."""
    for name in ("router", "dns-server", "domain-name"):
        assert options(isolated(), name, secondary=True) == {""}, name
    assert options(isolated(), "mtu", secondary=True) == {",1500"}


def test_wanted_marks_secondary_nics_where_dnsmasq_does_not_reread_them() -> None:
    """dnsmasq 2.90 aborts when it rereads a host with `set:` that has a lease (tests/scenarios/test_shared_dhcp.py)."""
    router = isolated(hosts=(host("10.1.1.11", default_nic=False), host("10.1.1.12")))
    assert [line for line in lines(router, CONFIG) if "secondary" in line] == [
        "dhcp-mac=set:secondary,02:01:00:00:00:0b"
    ]
    assert "set:" not in "".join(lines(router, LEASES_OF))


@pytest.mark.parametrize(
    ("settings", "resolvers"),
    [
        ({"external_dns": True}, ",203.0.113.53"),
        ({"external_dns": True, "resolvers": ()}, ""),
        ({"router_resolver_only": True}, ",10.1.1.1"),
    ],
)
def test_wanted_sends_the_resolvers_that_are_asked_for(settings: dict[str, Any], resolvers: str) -> None:
    assert options(with_settings(isolated(), **settings), "dns-server") == {resolvers}


def test_wanted_answers_no_dns_with_external_resolvers() -> None:
    assert "port=0" in lines(with_settings(isolated(), external_dns=True), CONFIG)
    assert "port=53" in lines(isolated(), CONFIG)


def test_wanted_sends_the_resolvers_and_the_domain_of_the_tier() -> None:
    """Each tier its own (F11)."""
    tier = device("eth2", Role.GUEST, "10.2.1.1/24", dns=("203.0.113.99",), domain="db.internal", mtu=1450)
    router = vpc(devices=(tier,))
    assert options(router, "dns-server") == {",10.2.1.1,203.0.113.99"}
    assert options(router, "domain-name") == {",db.internal"}
    assert options(router, "mtu") == {",1450"}
    assert "local=/db.internal/" in lines(router, CONFIG)
    assert [line for line in lines(router, CONFIG) if line.startswith("server=")] == ["server=203.0.113.99"]


def test_wanted_asks_the_resolvers_of_the_router_where_a_tier_has_none() -> None:
    router = with_settings(vpc(), resolvers=("203.0.113.53",))
    assert "server=203.0.113.53" in lines(router, CONFIG, "tier_10_2_1_0")


def test_wanted_sends_no_router_where_the_network_has_no_gateway() -> None:
    """An empty option, not 0.0.0.0 (F17)."""
    server = with_settings(isolated(GUEST, CONTROL), kind=Kind.SHARED, gateway=None)
    assert options(server, "router") == {""}
    known = with_settings(server, gateway=IPv4Address("10.1.1.254"))
    assert options(known, "router") == {",10.1.1.254"}


def test_wanted_is_not_the_router_of_a_tier_that_has_another() -> None:
    tier = device("eth2", Role.GUEST, "10.2.1.5/24", gateway="10.2.1.1", is_gateway=False)
    assert options(vpc(devices=(tier,)), "router") == {",10.2.1.1"}


def test_wanted_has_a_range_per_subnet() -> None:
    """Five subnets on one NIC, five ranges, and static leases only (F6, F16)."""
    guest = device("eth0", Role.GUEST, *(f"10.1.{n}.1/24" for n in range(1, 6)))
    config = lines(isolated(guest, CONTROL), CONFIG)
    assert [line for line in config if line.startswith("dhcp-range=")] == [
        f"dhcp-range=set:eth0-10-1-{n}-0,10.1.{n}.0,static,255.255.255.0,10.1.{n}.255" for n in range(1, 6)
    ]
    assert "dhcp-ignore=tag:!known" in config


def test_wanted_listens_on_guest_addresses_only() -> None:
    """Nothing of the public side (F14, F15)."""
    config = lines(isolated(), CONFIG)
    assert [line for line in config if line.startswith(("listen-address", "interface"))] == ["listen-address=10.1.1.1"]
    assert "bind-dynamic" in config


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "02:01:00:00:00:0b,10.1.1.11,web,infinite"),
        ({"lease_time": 86400}, "02:01:00:00:00:0b,10.1.1.11,web,86400"),
        ({"lease_time": 5}, "02:01:00:00:00:0b,10.1.1.11,web,120"),
        ({"default_nic": False}, "02:01:00:00:00:0b,10.1.1.11,web,infinite"),
        ({"name": ""}, "02:01:00:00:00:0b,10.1.1.11,infinite"),
    ],
)
def test_wanted_leases(fields: dict[str, Any], line: str) -> None:
    """The shortest lease of dnsmasq is two minutes; 0 seconds is for ever."""
    assert lines(isolated(hosts=(host("10.1.1.11", **{"name": "web", **fields}),)), LEASES_OF) == [line]


@pytest.mark.parametrize("name", ["ignore", "infinite", "42", "1h", "30s", "Infinite"])
def test_wanted_does_not_let_a_name_pass_for_a_setting(name: str) -> None:
    """A VM called "ignore" would get no lease; DNS knows its name all the same."""
    router = isolated(hosts=(host("10.1.1.11", name),))
    assert lines(router, LEASES_OF) == ["02:01:00:00:00:0b,10.1.1.11,infinite"]
    assert f"10.1.1.11 {name} {name}.cloudnine.internal" in lines(router, HOSTS)


def test_wanted_names_vms_router_and_metadata_server() -> None:
    assert lines(isolated(hosts=(host("10.1.1.11", "web"), host("10.1.1.12", ""))), HOSTS) == [
        "10.1.1.1 data-server data-server.cloudnine.internal",
        "10.1.1.1 r-1-VM r-1-VM.cloudnine.internal",
        "10.1.1.11 web web.cloudnine.internal",
    ]


@pytest.mark.parametrize("name", ["data-server", "Data-Server", "r-1-VM", "R-1-vm"])
def test_wanted_gives_no_vm_a_name_of_the_router(name: str) -> None:
    """Other VMs would ask it for their passwords."""
    assert not [line for line in lines(isolated(hosts=(host("10.1.1.11", name),)), HOSTS) if "10.1.1.11" in line]


@pytest.mark.parametrize("name", ["wpad", "WPAD", "isatap", "localhost"])
def test_wanted_gives_no_vm_a_name_that_clients_trust(name: str) -> None:
    """All of a network would ask it for a proxy (CERT VU#598349): neither as a name of its own nor with its lease."""
    router = isolated(hosts=(host("10.1.1.11", name),))
    assert not [line for line in lines(router, HOSTS) if "10.1.1.11" in line]
    assert lines(router, LEASES_OF) == ["02:01:00:00:00:0b,10.1.1.11,infinite"]
    assert "dhcp-ignore-names" in lines(router, CONFIG), "and it cannot give itself one"


def test_wanted_answers_the_reverse_names_of_its_own_networks() -> None:
    """And of a whole VPC: a tier's server is not restarted when another tier comes."""

    def reverse(router: Router, tier: str = "") -> list[str]:
        return [line.partition("=")[2] for line in lines(router, CONFIG, tier) if line.startswith("rev-server=")]

    assert reverse(isolated()) == ["10.1.1.0/24"]
    assert reverse(isolated(device("eth0", Role.GUEST, "203.0.113.5/26", "10.1.5.1/24"))) == [
        "10.1.5.0/24",
        "203.0.113.0/26",
    ]
    assert reverse(vpc(), "tier_10_2_1_0") == ["10.2.0.0/16"]
    assert reverse(with_settings(vpc(), vpc_cidr=None), "tier_10_2_2_0") == ["10.2.2.0/24"]
    assert {"bogus-priv", "servers-file=/etc/dnsmasq.servers"} <= set(lines(isolated(), CONFIG))


def test_wanted_lets_dnsmasq_judge_the_options_which_it_does_not_test_by_itself() -> None:
    options = next(file for path, file in planned(isolated()).items() if path.endswith(OPTIONS))
    assert options.checker[:3] == ("dnsmasq", "--test", "--conf-file=/dev/null")
    assert [word.removeprefix("--dhcp-option=") for word in options.checker[3:]] == lines(isolated(), OPTIONS)


def test_wanted_sends_no_more_resolvers_than_an_option_holds() -> None:
    many = tuple(f"203.0.113.{n}" for n in range(100))
    for settings in ({"resolvers": many}, {"resolvers": many, "external_dns": True}):
        (sent,) = options(with_settings(isolated(), **settings), "dns-server")
        assert sent.count(",") == 63
    asked = lines(with_settings(isolated(), resolvers=many), CONFIG)
    assert len([line for line in asked if line.startswith("server=")]) == 100


def test_wanted_names_a_metadata_server_in_every_network() -> None:
    """Each network finds it at its own address, also after 100 VMs (F12)."""
    vms = tuple(host(f"10.2.1.{n}", f"vm{n}", device="eth2") for n in range(11, 111))
    found = lines(vpc(hosts=vms), HOSTS)
    servers = [line.split()[0] for line in found if " data-server " in line]
    assert servers == ["10.2.1.1", "10.2.2.1"]
    aliases = isolated(device("eth0", Role.GUEST, "10.1.1.1/24", "10.1.5.1/24"), CONTROL)
    assert [line.split()[0] for line in lines(aliases, HOSTS) if " data-server " in line] == ["10.1.1.1", "10.1.5.1"]
    assert "localise-queries" in lines(vpc(), CONFIG, "tier_10_2_2_0"), "and is told the one of its own network only"


def test_wanted_gives_the_shared_address_of_a_redundant_pair() -> None:
    pair = with_settings(isolated(), guest_gateway=IPv4Address("10.1.1.254"))
    assert options(pair, "router") == {",10.1.1.254"}
    assert "10.1.1.254 data-server data-server.cloudnine.internal" in lines(pair, HOSTS)


def test_wanted_rereads_vms_and_restarts_for_networks_only() -> None:
    """A VM added or removed never restarts dnsmasq (A16)."""
    found = planned(isolated())
    assert {path: file.effect for path, file in found.items()} == {
        "/etc/dnsmasq.cloudstack/dhcp-hosts": Effect.RELOAD,
        "/etc/dnsmasq.cloudstack/dhcp-options": Effect.RELOAD,
        HOSTS: Effect.RELOAD,
        "/etc/dnsmasq.conf": Effect.RESTART,
    }
    (unit,) = wanted(isolated(), servers(isolated())[0], RENDER).units
    assert (unit.name, unit.running, unit.reload) == ("dnsmasq", True, ONE.reread)
    before, after = (planned(isolated(hosts=vms)) for vms in ((), (host("10.1.1.11"),)))
    assert before["/etc/dnsmasq.conf"] == after["/etc/dnsmasq.conf"], "a VM changes nothing in the main configuration"


def test_wanted_stops_dnsmasq_without_a_guest_network() -> None:
    router = isolated(CONTROL, PUBLIC)
    assert [unit.running for server in servers(router) for unit in wanted(router, server, RENDER).units] == [False]


def test_servers_are_one_for_each_tier_of_a_vpc() -> None:
    """Named by the network, as NICs change their names (E1)."""
    assert [(s.name, s.unit, [d.name for d in s.devices]) for s in servers(vpc())] == [
        ("tier_10_2_1_0", "dnsmasq@tier_10_2_1_0", ["eth2"]),
        ("tier_10_2_2_0", "dnsmasq@tier_10_2_2_0", ["eth3"]),
    ]
    assert [s.name for s in servers(isolated())] == [""]


def test_wanted_of_a_tier_does_not_change_with_another_tier() -> None:
    """A tier that comes or goes restarts and rereads nothing of the others but names."""
    alone = vpc(devices=tuple(d for d in vpc().devices if d.name != "eth3"), hosts=(host("10.2.1.11", device="eth2"),))
    both = vpc(hosts=(host("10.2.1.11", device="eth2"), host("10.2.2.21", device="eth3")))
    found, later = planned(alone), planned(both)
    assert {path for path in found if found[path] != later[path]} == {HOSTS}
    assert {path.split("/")[3] for path in later.keys() - found.keys()} == {"tier_10_2_2_0"}


def test_wanted_of_a_tier_has_its_own_vms_only() -> None:
    """A MAC that is known in one tier is a stranger in another (F16)."""
    both = vpc(hosts=(host("10.2.1.11", "web", device="eth2"), host("10.2.2.21", "db", device="eth3")))
    assert lines(both, LEASES_OF, "tier_10_2_2_0") == ["02:01:00:00:00:15,10.2.2.21,db,infinite"]
    assert {"interface=eth3", "except-interface=lo"} <= set(lines(both, CONFIG, "tier_10_2_2_0"))
    assert {"10.2.1.11 web web.cloudnine.internal", "10.2.2.21 db db.cloudnine.internal"} <= set(lines(both, HOSTS))


def test_removed_takes_away_the_server_of_a_tier_that_is_gone() -> None:
    here, gone = (
        [f"{DIRECTORY}/{tier}/dnsmasq.conf", f"/var/lib/misc/dnsmasq.{tier}.leases", f"{DIRECTORY}/{tier}/"]
        for tier in ("tier_10_2_1_0", "tier_10_2_9_0")
    )
    stop = Run(("systemctl", "stop", "dnsmasq@tier_10_2_9_0.service"), "stop tier_10_2_9_0")
    assert removed(vpc(), planned(vpc()), [*here, *gone]) == [stop, RemoveDirectory(gone[2]), RemoveFile(gone[1])]
    assert removed(vpc(), planned(vpc()), here) == []
    assert removed(vpc(), planned(vpc()), [*here, gone[2]]) == [stop, RemoveDirectory(gone[2])], "an empty one"


def test_removed_takes_away_files_that_nobody_wants() -> None:
    """A file that somebody put into dnsmasq's directory would be read by it."""
    assert removed(isolated(), planned(isolated()), [HOSTS, "/etc/dnsmasq.cloudstack/hosts.bak"]) == [
        RemoveFile("/etc/dnsmasq.cloudstack/hosts.bak")
    ]


LEASES = """\
1795172646 02:01:00:00:00:0b 10.1.1.11 web 01:02:01:00:00:00:0b
0 02:01:00:00:00:0c 10.1.1.12 * *
duid 00:01:00:01:2c:4f
1795172646 13370 2001:db8::b web 00:03:00:01:02:01:00:00:00:0b
"""


def test_parse_leases_reads_ipv4_leases() -> None:
    assert parse_leases(LEASES) == [Lease("10.1.1.11", "02:01:00:00:00:0b"), Lease("10.1.1.12", "02:01:00:00:00:0c")]


def test_stale_leases_are_those_of_vms_that_are_gone_or_have_lost_the_address() -> None:
    """A removed VM's (F3), and one whose address a new VM has (F4); all others stay (F1)."""
    router = isolated(hosts=(host("10.1.1.11"), host("10.1.1.12", mac="02:01:00:00:00:99")))
    given = [
        Lease("10.1.1.11", "02:01:00:00:00:0B"),
        Lease("10.1.1.12", "02:01:00:00:00:0c"),
        Lease("10.1.1.13", "02:01:00:00:00:0d"),
    ]
    assert stale_leases(router, servers(router)[0], given) == [
        ReleaseLease("10.1.1.12", "02:01:00:00:00:0c"),
        ReleaseLease("10.1.1.13", "02:01:00:00:00:0d"),
    ]


def test_leases_of_vms_that_a_start_has_not_told_of_yet_are_kept() -> None:
    """No drop says them again. One whose address is another VM's goes, and so does one of a stranger."""
    known, taken = Lease("10.1.1.50", "02:01:00:00:00:50"), Lease("10.1.1.11", "02:01:00:00:00:51")
    stranger = Lease("10.1.1.52", "02:01:00:00:00:52")
    away = Away(leases=frozenset({(lease.ip, lease.mac) for lease in (known, taken)}))
    router = replace(isolated(hosts=(host("10.1.1.11"),)), away=away)
    upper = Lease(known.ip, known.mac.upper())
    assert stale_leases(router, servers(router)[0], [upper, taken, stranger]) == [
        ReleaseLease(taken.ip, taken.mac),
        ReleaseLease(stranger.ip, stranger.mac),
    ]


def test_lease_files_of_tiers_that_a_start_has_not_told_of_yet_are_kept() -> None:
    kept, gone = (f"/var/lib/misc/dnsmasq.tier_10_2_{number}_0.leases" for number in (8, 9))
    router = replace(vpc(), away=Away(tiers=(IPv4Network("10.2.8.0/24"),)))
    assert removed(router, planned(router), [kept, gone])[-1] == RemoveFile(gone)
    assert RemoveFile(kept) not in removed(router, planned(router), [kept, gone])


def test_stale_leases_wait_while_dnsmasq_does_not_run() -> None:
    """Without a guest network there is no one to release them."""
    router = isolated(CONTROL, PUBLIC)
    assert stale_leases(router, servers(router)[0], [Lease("10.1.1.11", "02:01:00:00:00:0b")]) == []


def test_stale_leases_of_a_tier_are_judged_by_its_own_vms() -> None:
    """A VM that moved to another tier has no lease in the old one; the server of the old one is told."""
    router = vpc(hosts=(host("10.2.1.11", device="eth2"), host("10.2.2.21", device="eth3")))
    first = servers(router)[0]
    given = [Lease("10.2.1.11", "02:01:00:00:00:0b"), Lease("10.2.2.21", "02:01:00:00:00:15")]
    assert stale_leases(router, first, given) == [ReleaseLease("10.2.2.21", "02:01:00:00:00:15", "tier_10_2_1_0")]


def test_a_router_that_serves_no_vms_names_none() -> None:
    """An internal load balancer may be told of VMs all the same (A3)."""
    balancer = with_settings(replace(isolated(GUEST, CONTROL), hosts=(host("10.1.1.11"),)), kind=Kind.INTERNAL_LB)
    assert lines(balancer, HOSTS) == []
