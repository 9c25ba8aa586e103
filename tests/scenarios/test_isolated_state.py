# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An isolated network's router is a function of its databags: whatever came before, and whatever was done to it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import ask, dhcp_lease, tcp
from tests.lab.router import Router
from tests.scenarios import drops, networks, spoofing, states
from tests.scenarios.networks import FIXTURES, INTERNET, Isolated
from tests.scenarios.spoofing import Place

DIRECTORY = FIXTURES / "isolated"
ORDER = states.ordered(DIRECTORY)


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the isolated network of the fixtures, all of it applied at once.

    Then an address lost its firewall and got it back, which must not be seen: nft lists it in another place now.
    """
    with Lab("state") as lab:
        made = networks.fixture_network(lab)
        made.router.wait_boot()
        states.apply_together(made.router, "VR-all.cfg", DIRECTORY, ORDER)
        for gone in (True, False):
            tcp_rule = drops.ingress(31, "192.0.2.22", ports=(1, 65535), revoked=gone)
            states.change(made.router, tcp_rule, drops.ingress(32, "192.0.2.22", "icmp", revoked=gone))
        yield made


@pytest.fixture(scope="module")
def expected(network: Isolated) -> list[str]:
    """Return what the router is after the drops and nothing else."""
    return states.state(network.router)


def test_applying_everything_again_writes_no_file_and_touches_no_daemon(network: Isolated, expected: list[str]) -> None:
    """B1: not only the same content; no modification time, no PID, no start time is different."""
    router = network.router
    before = router.facts.snapshot(states.WATCHED, states.DAEMONS)
    again = states.apply_together(router, "VR-again.cfg", DIRECTORY, ORDER)
    assert "VR-again.cfg: no change" in again.stdout
    assert "converge: no change" in router.command(states.CONVERGE).stdout
    assert router.facts.snapshot(states.WATCHED, states.DAEMONS) == before
    assert all(" active" in before[daemon] for daemon in states.DAEMONS)
    states.assert_same(expected, states.state(router))


@pytest.mark.parametrize("way", ["reboot", "stop", "power_off"])
def test_the_router_comes_back_by_itself(network: Isolated, expected: list[str], way: str) -> None:
    """J1, J2: no management server is asked; rules, routes and addresses are the same, and DHCP and NAT work."""
    router = network.router
    if way == "reboot":
        router.reboot()
    else:
        getattr(router, way)()
        router.start()
        router.wait_boot()
    states.assert_same(expected, states.state(router))
    lease = dhcp_lease(network.vms["web"], mac="02:07:00:00:00:0b")
    assert lease is not None
    assert lease["address"] == "10.7.0.11"
    assert ask(network.internet[INTERNET], tcp("192.0.2.20", 2222)).server == "web"
    assert states.repaired(router) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_the_drops_does_not_matter(network: Isolated, expected: list[str], seed: int) -> None:
    """I2, B2: a router that got the drops in another order, in several converges, is the same, byte for byte."""
    shuffled = random.Random(seed).sample(ORDER, len(ORDER))
    cut = random.Random(seed).randrange(4, 16)
    other = replace_router(network, f"shuffled{seed}")
    states.apply_together(other, "VR-first.cfg", DIRECTORY, shuffled[:cut])
    states.apply_together(other, "VR-second.cfg", DIRECTORY, shuffled[cut:])
    found = states.state(other)
    restore(network, other)
    states.assert_same(expected, found)


def replace_router(network: Isolated, name: str) -> Router:
    """Switch the router off and put an empty one, with the same boot arguments and wires, in its place."""
    network.router.power_off()  # one that is stopped in good order would wait for boot arguments at its next boot
    cmdline = (DIRECTORY / "cmdline.txt").read_text(encoding="utf-8")
    other = network.lab.router(name, cmdline, network.router.nics)
    other.wait_boot()
    return other


def restore(network: Isolated, other: Router) -> None:
    """Switch the other router off and the first one on again."""
    other.stop()
    network.router.start()
    network.router.wait_boot()


MAC3 = "1e:00:07:00:00:30"
# Everything that can be added to an isolated network, and the drop that takes it away.
ADDED = [
    (
        drops.address("198.51.100.77", "198.51.100.1", MAC3, 3),
        drops.address("198.51.100.77", "198.51.100.1", MAC3, 3, add=False),
    ),
    (drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"), drops.vm("new", "02:07:00:00:00:77", "10.7.0.77", remove=True)),
    (drops.alias("10.7.77.1", 2), drops.alias("10.7.77.1", 2, revoke=True)),
    (
        drops.ingress(901, "198.51.100.77", ports=(7, 77), cidrs=["203.0.113.0/24", "198.18.0.0/15"]),
        drops.ingress(901, "198.51.100.77", ports=(7, 77), cidrs=["203.0.113.0/24", "198.18.0.0/15"], revoked=True),
    ),
    (drops.egress(902, "udp", (7, 7)), drops.egress(902, "udp", (7, 7), revoked=True)),
    (
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.77", (8000, 8009)),
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.77", (8000, 8009), revoke=True),
    ),
    (drops.static_nat("198.51.100.77", "10.7.0.77"), drops.static_nat("198.51.100.77", "10.7.0.77", revoke=True)),
]


def test_what_was_added_and_taken_away_was_never_there(network: Isolated, expected: list[str]) -> None:
    """B2, B17, D8: every file, rule, address and databag, although it went in another order than it came."""
    router = network.router
    databags = states.databags(router)
    states.change(router, *(added for added, _revoked in ADDED))
    assert {line for line in states.network(router) if "10.7.0.77" in line}
    assert "198.51.100.77/24" in router.facts.addresses("eth3")
    assert "10.7.77.1/24" in router.facts.addresses("eth0")
    states.change(router, *(revoked for _added, revoked in ADDED[:4]))
    states.change(router, *(revoked for _added, revoked in ADDED[4:]))
    states.assert_same(expected, states.state(router))
    assert states.databags(router) == databags


SABOTAGE = [
    ("all rules flushed", "nft flush ruleset", ["firewall", "dhcp_dns"]),
    ("bindings deleted", "nft delete table inet cloudstack_bindings", ["dhcp_dns"]),
    ("a binding deleted", "nft flush set inet cloudstack_bindings addresses", ["dhcp_dns"]),
    ("our table deleted", "nft delete table inet cloudstack", ["firewall"]),
    ("usage table deleted", "nft delete table inet cloudstack_usage", ["firewall"]),
    ("a chain flushed", "nft flush chain inet cloudstack input", ["firewall"]),
    ("a rule added", "nft insert rule inet cloudstack input accept", ["firewall"]),
    ("an element deleted", "nft delete element inet cloudstack static_nat { 192.0.2.22 }", ["firewall"]),
    ("saved rules edited", "echo '# hm' >> /var/lib/cloudstack/nftables/ruleset.nft", ["firewall"]),
    ("saved rules deleted", "rm /var/lib/cloudstack/nftables/ruleset.nft", ["firewall"]),
    ("primary address removed", "ip address del 192.0.2.20/24 dev eth2", ["interfaces"]),
    ("secondary address removed", "ip address del 192.0.2.22/24 dev eth2", ["interfaces"]),
    ("guest address removed", "ip address del 10.7.0.1/24 dev eth0", ["interfaces"]),
    ("foreign address added", "ip address add 192.0.2.99/24 dev eth2", ["interfaces"]),
    ("default route deleted", "ip route del default", ["interfaces"]),
    ("default route elsewhere", "ip route replace default via 198.51.100.1", ["interfaces"]),
    ("table emptied", "ip route flush table Table_eth3", ["interfaces"]),
    ("policy rule deleted", "ip rule del fwmark 0x67 table Table_eth3", ["interfaces"]),
    ("policy rule added", "ip rule add from 10.7.0.11 table Table_eth4 priority 7", ["interfaces"]),
    ("link down", "ip link set eth3 down", ["interfaces"]),
    ("MTU changed", "ip link set eth0 mtu 1400", ["interfaces"]),
    ("setting changed", "sysctl -q -w net.ipv4.conf.eth0.rp_filter=2", ["interfaces"]),
    ("forwarding off", "sysctl -q -w net.ipv4.ip_forward=0", ["interfaces"]),
    ("dnsmasq.conf edited", "echo port=5353 >> /etc/dnsmasq.conf", ["dhcp_dns"]),
    ("hosts file deleted", "rm /etc/dnsmasq.cloudstack/dhcp-hosts", ["dhcp_dns"]),
    ("dnsmasq stopped", "systemctl stop dnsmasq", ["dhcp_dns"]),
    ("resolv.conf edited", "echo nameserver 6.6.6.6 > /etc/resolv.conf", ["system"]),
    ("sshd stopped", "systemctl stop ssh", ["system"]),
    ("metadata server stopped", "systemctl stop nginx", ["metadata"]),
]


@pytest.mark.parametrize(("harm", "services"), [row[1:] for row in SABOTAGE], ids=[row[0] for row in SABOTAGE])
def test_sabotage_is_repaired_and_named(network: Isolated, expected: list[str], harm: str, services: list[str]) -> None:
    """The next converge repairs what was done, says in which service, and does nothing else."""
    router = network.router
    router.shell(harm)
    assert states.repaired(router) == services
    states.assert_same(expected, states.state(router))
    assert all(router.facts.unit(daemon)["ActiveState"] == "active" for daemon in states.DAEMONS)


def test_a_route_added_by_hand_stays_until_it_contradicts(network: Isolated, expected: list[str]) -> None:
    """And what lies behind it is believed; one that must go is named."""
    router, place = network.router, Place("eth0", network.vms["web"], [(INTERNET, 22)])
    source = {"behind web": "10.99.0.5"}
    assert spoofing.believed(router, [place], source)[0] == set()
    router.exec("ip", "route", "add", "10.99.0.0/16", "via", "10.7.0.11")
    router.exec("ip", "route", "add", "10.7.0.128/25", "via", "10.7.0.12")
    assert states.repaired(router) == ["interfaces"]
    (warning,) = states.record(router)["warnings"]
    assert warning.startswith("route 10.7.0.128/25 via 10.7.0.12 dev eth0 table 254: removed")
    assert states.repaired(router) == []
    assert spoofing.believed(router, [place], source)[0] == {("eth0", "behind web")}
    router.exec("ip", "route", "del", "10.99.0.0/16")
    states.assert_same(expected, states.state(router))


def test_a_nic_that_comes_later_is_reported_and_then_picked_up(network: Isolated, expected: list[str]) -> None:
    """H5, E5: while it is absent everything else is configured; it is known by its MAC, not by its name (E1)."""
    router = network.router
    wire = router.nics["eth3"]
    router.unplug("eth3")
    states.repaired(router)
    pending = states.record(router)["pending"]
    assert [each for each in pending if MAC3 in each], pending
    assert ask(network.internet[INTERNET], tcp("192.0.2.20", 2222)).server == "web"
    assert ask(network.internet[INTERNET], tcp("198.18.5.40", 22)).server == "backup"

    router.plug("eth13", *wire)
    assert "interfaces" in states.repaired(router)
    assert states.record(router)["pending"] == []
    assert router.facts.addresses("eth13") == ["198.51.100.30/24"]
    assert ask(network.internet[INTERNET], tcp("198.51.100.30", 22)).server == "db"
    assert ask(network.vms["db"], tcp(INTERNET, 22)).seen_from == "198.51.100.30"

    router.unplug("eth13")
    router.plug("eth3", *wire)
    assert "interfaces" in states.repaired(router)
    states.assert_same(expected, states.state(router))


def test_a_nic_without_data_stays_down_and_without_addresses(network: Isolated, expected: list[str]) -> None:
    """D12: a NIC of a released range that the hypervisor left plugged."""
    router = network.router
    router.plug("eth9", "internet", "1e:00:07:00:00:99")
    router.shell("ip link set eth9 up && ip address add 203.0.113.77/24 dev eth9")
    assert states.repaired(router) == ["interfaces"]
    assert router.facts.addresses("eth9") == []
    assert "UP" not in router.facts.links()["eth9"]["flags"]
    assert states.repaired(router) == []
    router.unplug("eth9")
    states.repaired(router)
    states.assert_same(expected, states.state(router))
