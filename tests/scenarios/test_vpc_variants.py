# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""VPCs that are not like the one of the fixtures: other boot arguments, other tiers, other private gateways."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import ask, ask_all, dhcp_lease, tcp
from tests.lab.router import Router
from tests.scenarios import drops, spoofing, states, vpcs
from tests.scenarios.networks import FIXTURES, SHARED_DROPS
from tests.scenarios.spoofing import NOBODYS, Place
from tests.scenarios.vpcs import ADDRESS, ALL, APP, MAC, NONE, PARTNER, PEER, WEB, Vpc, rule, static_routes

ORDER = states.ordered(FIXTURES / "vpc")


def boot_arguments(vpc: Vpc, **changed: str) -> None:
    """Give the running router other boot arguments."""
    words = dict(word.split("=", 1) for word in vpcs.cmdline(**changed).split())
    vpc.router.drop("cmd_line.json", {"type": "cmdline", "cmd_line": words})


def test_drops_in_another_order_make_the_same_router(vpc: Vpc) -> None:
    """Tiers before addresses, ACLs before tiers, routes before gateways: one router (B2)."""
    expected = states.state(vpc.router)
    shuffled = list(ORDER)
    random.Random(3).shuffle(shuffled)
    assert shuffled != ORDER
    with Lab("vpc-other") as lab:
        other = vpcs.vpc(lab)
        other.router.wait_boot()
        states.apply_together(other.router, "VR-other.cfg", FIXTURES / "vpc", shuffled)
        states.assert_same(expected, states.state(other.router))


def test_the_firewall_of_a_public_address_is_asked_before_the_acl(vpc: Vpc) -> None:
    """With vpc_firewall_enabled nothing enters by an address that no rule opens; the ACL has its say after that."""
    internet, elsewhere = vpc.hosts["internet"], vpc.hosts["elsewhere"]
    boot_arguments(vpc, vpc_firewall_enabled="true")
    probes = [
        (internet, tcp("192.0.2.91", 22)),
        (elsewhere, tcp("192.0.2.91", 22)),
        (internet, tcp("192.0.2.91", 8443)),
        (internet, tcp("192.0.2.91", 6000)),
        (internet, tcp("192.0.2.92", 2222)),
        (vpc.hosts["app1"], tcp("192.0.2.91", 22)),
    ]
    assert [bool(result) for result in ask_all(probes)] == [False, False, False, False, False, True]
    opened = ("192.0.2.91", "tcp", (1, 6500), ["203.0.113.0/25"])
    vpc.change("firewall_rules", drops.ingress(1, *opened))
    assert [bool(result) for result in ask_all(probes)] == [True, False, False, False, False, True]
    vpc.change("firewall_rules", drops.ingress(1, *opened, revoked=True))
    boot_arguments(vpc)
    assert [bool(result) for result in ask_all(probes)] == [True, True, True, False, True, True]


def test_userouteripresolver_names_the_router_as_the_only_resolver(vpc: Vpc) -> None:
    boot_arguments(vpc, userouteripresolver="true")
    lease = dhcp_lease(vpc.hosts["web1"], mac=MAC["web1"])
    boot_arguments(vpc)
    assert lease is not None
    assert lease["dns"] == [WEB.router]


def test_a_tier_with_another_gateway_is_served_and_told_of_it(vpc: Vpc) -> None:
    """is_vr_guest_gateway false: DHCP, DNS and metadata are the router's, the way out is not."""
    other = {"is_vr_guest_gateway": False, "router_guest_ip": "10.9.2.2", "router_guest_gateway": "10.9.2.1"}
    given = {"dns": "203.0.113.200", "domain_name": "app.lab.internal", "mtu": 1450}
    vpc.change("guest_network", vpcs.guest_network(APP, **given, **other))
    lease = dhcp_lease(vpc.hosts["app1"], mac=MAC["app1"])
    assert lease is not None
    assert (lease["routers"], lease["dns"]) == (["10.9.2.1"], ["10.9.2.2", "203.0.113.200"])
    assert ask(vpc.hosts["app1"], tcp("10.9.2.2", 80))
    vpc.change("guest_network", vpcs.guest_network(APP, **given))
    assert vpc.router.facts.addresses(APP.nic) == ["10.9.2.1/24"]


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"hop": "None"}, ADDRESS["web1"]),
        ({"hop": PARTNER.router}, ADDRESS["web1"]),
        ({"hop": "172.19.0.1", "source_nat": True}, PARTNER.router),
        ({"hop": "172.19.0.1"}, ADDRESS["web1"]),
    ],
    ids=["no gateway", "router is the gateway", "source NAT", "plain"],
)
def test_private_gateways_of_every_kind(vpc: Vpc, fields: dict[str, Any], seen: str) -> None:
    """A static route needs a next hop in the gateway's network, not the gateway's own one."""
    vpc.acl(WEB, [ALL], [ALL])
    vpc.acl(PARTNER, [ALL], [ALL])
    vpc.change("ip_associations", vpcs.private_gateway(PARTNER, **fields))
    results = ask_all([(vpc.hosts["web1"], tcp(ADDRESS[target], 443)) for target in ("peer", "behind")])
    assert [result.seen_from for result in results] == [seen, seen]
    assert ask(vpc.hosts["peer"], tcp(ADDRESS["web1"], 22)).seen_from == PEER


def test_a_private_gateway_that_is_called_a_guest_network_is_one_all_the_same(vpc: Vpc) -> None:
    """E2: after a reboot some servers send another name for what it is."""
    drop = vpcs.private_gateway(PARTNER, "172.19.0.1")
    vpc.change("ip_associations", {**drop, "ip_address": [{**drop["ip_address"][0], "nw_type": "guest"}]})
    vpc.acl(PARTNER, [NONE], [ALL])
    assert not ask(vpc.hosts["web1"], tcp(PEER, 443))
    assert not ask(vpc.hosts["peer"], tcp(PARTNER.router, 80)), "nobody is served there"
    assert ask(vpc.hosts["peer"], tcp(ADDRESS["web1"], 22))


def test_a_removed_private_gateway_takes_its_acl_and_its_routes_with_it(vpc: Vpc) -> None:
    vpc.change("ip_associations", vpcs.private_gateway(PARTNER, "172.19.0.1", add=False))
    text = "\n".join(states.network(vpc.router))
    assert "172.19.0.0" not in text
    assert "172.18.0.0/16 via" not in text
    assert "acl_eth4" not in text
    assert "eth4" not in vpc.router.read("/etc/cloudstack/networkacl.json")
    assert not ask(vpc.hosts["web1"], tcp(PEER, 443))
    assert ask(vpc.hosts["web1"], tcp(ADDRESS["internet"], 443))


# Without a public network


@pytest.fixture(scope="module")
def closed() -> Iterator[Vpc]:
    """Return a VPC without a public network: its way out is a gateway in the tier of the lowest network."""
    with Lab("vpc-closed") as lab:
        network = vpcs.vpc(lab, vpcs.cmdline(has_public_network="false", source_nat_ip="None"))
        for nic in ("eth1", "eth5"):
            network.router.unplug(nic)
        exit_ = lab.host("exit", WEB.name, "10.9.1.254/24", WEB.router)
        exit_.add_nic("eth1", "internet", lab.mac("exit.internet"), ["203.0.113.254/24"])
        exit_.forward()
        network.hosts["internet"].add_route("10.9.0.0/16", "203.0.113.254")
        network.router.wait_boot()
        network.change("guest_network", vpcs.guest_network(APP))
        network.change("guest_network", vpcs.guest_network(WEB, router_guest_gateway="10.9.1.254"))
        for tier in (WEB, APP):
            network.acl(tier, [ALL], [ALL])
        yield network


def test_a_vpc_without_public_network_leaves_by_its_lowest_tier(closed: Vpc) -> None:
    """Untranslated, both ways, and the reverse path is not filtered: what comes back may come from elsewhere."""
    (default,) = [route for route in closed.router.facts.routes() if route["dst"] == "default"]
    assert (default["gateway"], default["dev"]) == ("10.9.1.254", WEB.nic)
    assert ask(closed.hosts["app1"], tcp(ADDRESS["internet"], 443)).seen_from == ADDRESS["app1"]
    assert ask(closed.hosts["internet"], tcp(ADDRESS["app1"], 443)).seen_from == ADDRESS["internet"]
    closed.acl(APP, [NONE], [ALL])
    assert not ask(closed.hosts["internet"], tcp(ADDRESS["app1"], 443))


def test_a_vpc_without_public_network_has_routes_through_its_tiers(closed: Vpc) -> None:
    closed.acl(WEB, [rule("tcp", "10.9.2.0/24"), NONE], [ALL])
    closed.change("static_routes", static_routes(("10.90.0.0/16", "10.9.1.250")))
    assert ask(closed.hosts["app1"], tcp(ADDRESS["lan"], 443)).seen_from == ADDRESS["app1"]


def test_without_public_network_no_source_gets_in_where_it_cannot_be(closed: Vpc) -> None:
    """The way out is a tier: all that is nowhere else may come in by it, and by no other tier."""
    for tier in (WEB, APP):
        closed.acl(tier, [ALL], [ALL])
    names = ("web1", "app1", "lan", "internet")
    sources = {**NOBODYS, **{name: ADDRESS[name] for name in names}, "management": "169.254.0.1"}
    sources |= {"router in web": WEB.router, "router in app": APP.router}
    aims = [("10.9.1.12", 22), (ADDRESS["app1"], 22), (ADDRESS["internet"], 22)]
    senders = {"eth2": "web1", "eth3": "app1", "eth0": "management"}
    places = [Place(nic, closed.hosts[sender], aims) for nic, sender in senders.items()]
    passed, taken = spoofing.believed(closed.router, places, sources)
    assert passed == spoofing.pairs({"eth2": ("web1", "lan", "internet"), "eth3": ("app1",)})
    assert taken == set()


# The management server's own drops


@contextmanager
def shared_router(name: str) -> Iterator[Router]:
    """Return a router that has booted with the arguments of a set of drops, and knows the NICs they name."""
    directory = SHARED_DROPS / name
    if not directory.is_dir():
        pytest.skip(f"no {directory}")
    arguments = (SHARED_DROPS / "cmdline" / f"{(directory / 'CMDLINE').read_text().strip()}.txt").read_text()
    with Lab("vpc-shared") as lab:
        for segment in ("s0", "s1", "s2", "s3", "s4", "s5", "s6"):
            lab.segment(segment)
        macs = ["0e:00:a9:fe:04:c9", "1e:00:2d:00:00:32", *(f"02:00:55:00:00:0{n}" for n in (2, 3, 4)),
                "1e:00:2e:00:00:33", "02:00:55:00:00:06"]  # fmt: skip
        nics = {f"eth{n}": (f"s{n}", mac) for n, mac in enumerate(macs)}
        router = lab.router("r1", arguments, nics)
        router.wait_boot()
        yield router


@pytest.mark.parametrize(
    "name", ["vpc-firewall", "vpc-redundant", "edge-guestnetwork-minimal", "edge-guestnetwork-no-mtu"]
)
def test_the_management_servers_own_drops_are_taken_and_need_no_second_look(name: str) -> None:
    """All of them are taken, one by one, and the next converge has nothing to do."""
    with shared_router(name) as router:
        router.replay(SHARED_DROPS / name)
        assert states.repaired(router) == []


REMOVED = {
    "the tier": ("eth3", "10.2.2.1", "tier_10_2_2_0"),
    "the private gateway": ("eth4", "172.20.0."),
    "static routes": ("172.21.", "172.22.", "172.23.", "10.77."),
    "the second public subnet": ("eth5", "198.51.100."),
    "a forward": ("8000-8010",),
}
"""What is removed by the last drops of the set, and how it is called on a router. Forwards to a VM of the tier, and a
rule for its whole network in another tier's ACL, are not: nobody has revoked them."""


def test_the_management_servers_vpc_leaves_nothing_of_what_it_removed() -> None:
    """The whole set, one by one; a router that knows half of it has all that is missing at the end."""
    with shared_router("vpc") as router:
        seen: set[str] = set()
        for answer in router.replay_steps(SHARED_DROPS / "vpc"):
            if "configure.py" in answer.command:
                seen = remains(router)
        assert seen == set(REMOVED), "half way all of it is there"
        assert remains(router) == set()
        assert states.repaired(router) == []
        assert router.facts.addresses("eth1") == [f"192.0.2.{n}/24" for n in (50, 51, 52, 53)]


def remains(router: Router) -> set[str]:
    """Return which of the things that the drops remove are on the router: packets' way, DHCP, DNS, units, metadata."""
    kernel = [line for line in states.network(router) if not line.startswith("link ")]
    files = router.exec("grep", "-r", "", "/etc/dnsmasq.cloudstack").stdout
    units = router.exec("systemctl", "list-units", "--plain", "--no-legend", "dnsmasq@*").stdout
    text = "\n".join([*kernel, files, units, router.exec("ls", "/var/www/cloudstack").stdout])
    return {what for what, words in REMOVED.items() if any(word in text for word in words)}
