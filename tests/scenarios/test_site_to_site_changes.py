# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tunnels beside all else that a VPC has, and what becomes of them when it changes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.probes import ask, ask_all, tcp
from tests.scenarios import tunnels
from tests.scenarios.states import change, record, repaired
from tests.scenarios.tunnels import ALICE, APP1, BOB, SOON, WEB1, WEB2, Site, both_ways, connected, spis, wait
from tests.scenarios.vpcs import ALL, NONE, WEB, forward, forwards, network_acl, rule, static_nat


@pytest.mark.parametrize("first", ["tunnel", "translation"])
def test_vpn_15_translations_do_not_reach_into_a_tunnel(site: Site, first: str) -> None:
    """A VM with static NAT, and one behind a forward, speak with their own addresses, whichever drop came first."""
    nat = [static_nat("192.0.2.92", "web2"), forwards(forward(tunnels.HERE, "7777:7777", "app1"))]
    if first == "translation":
        change(site.router, *nat)
    site.open()
    if first == "tunnel":
        change(site.router, *nat)
    try:
        results = ask_all([(site.vpc.hosts[name], tcp("10.41.0.5", 22)) for name in ("web1", "web2", "app1")])
        assert [result.seen_from for result in results] == [WEB1, WEB2, APP1]
    finally:
        revoked = [static_nat("192.0.2.92", "web2", revoke=True)]
        revoked.append(forwards(forward(tunnels.HERE, "7777:7777", "app1", revoke=True)))
        change(site.router, *revoked)


def test_vpn_16_acls_decide(site: Site) -> None:
    site.open()
    from_branch, to_branch = rule("all", "10.41.0.0/24"), rule("all", "10.41.0.0/24", allowed=False)
    branch, web = site.alice.branch, site.vpc.hosts["web1"]
    for ingress, egress, comes_in, goes_out in (
        ([from_branch, NONE], [ALL], True, True),
        ([NONE], [ALL], False, True),
        ([ALL], [to_branch, ALL], True, False),
        ([], [], False, True),
    ):
        site.vpc.acl(WEB, ingress, egress)
        site.router.exec("conntrack", "-F")
        found = ask_all([(branch, tcp(WEB1, 22, timeout=0.5)), (web, tcp("10.41.0.5", 22, timeout=0.5))])
        assert [bool(result) for result in found] == [comes_in, goes_out], (ingress, egress)
        assert bool(ask(branch, tcp(APP1, 22))), "another tier is not touched"


def test_vpn_17_other_drops_touch_no_tunnel(site: Site) -> None:
    """SAs and daemons stay, and no call goes to charon (H3)."""
    site.open()
    site.send(site.bob, create=True, passive=True)
    before, pid = spis(site.router), site.router.exec("pidof", "charon-systemd").stdout
    for number in range(10):
        added = forward(tunnels.HERE, f"{7000 + number}:{7000 + number}", "web2")
        drop = f"forwarding_rules.json.00000000-0000-4000-9100-{number:012d}"
        site.router.drop(drop, forwards(added))
        assert "vpn" not in record(site.router, drop)["changed"]
        assert "vpn.apply" not in record(site.router, drop)["phases"]
    change(site.router, forwards(*(forward(tunnels.HERE, f"{p}:{p}", "web2", revoke=True) for p in range(7000, 7010))))
    assert (spis(site.router), site.router.exec("pidof", "charon-systemd").stdout) == (before, pid)


def test_vpn_18_vpn_19_a_second_peer_comes_changes_and_goes(site: Site) -> None:
    site.open()
    before = spis(site.router)
    site.open(site.bob, split_connections=False)
    assert spis(site.router) == before
    site.bob.configure(psk='"other"')
    site.send(site.bob, ipsec_psk="other")
    wait(lambda: connected(site.router, BOB), SOON, "connected with the new key")
    assert spis(site.router) == before
    site.send(site.bob, create=False)
    assert "s2s-203_0_113_42" not in site.router.exec("swanctl", "--list-sas").stdout
    assert "s2s-203_0_113_42" not in site.router.exec("swanctl", "--list-conns").stdout
    assert not site.router.exists("/etc/swanctl/conf.d/cloudstack-s2s-203_0_113_42.conf")
    assert BOB not in site.router.exec("nft", "list", "ruleset").stdout
    wait(lambda: site.bob.sas() == "", 10, "the peer was told")
    assert spis(site.router) == before
    both_ways(site)


def test_vpn_20_changed_networks_and_policies(site: Site) -> None:
    """A changed list replaces the selectors; no stale child is left."""
    site.bob.configure()
    site.send(site.bob, peer_guest_cidr_list="10.42.0.0/24,10.43.0.0/24")
    wait(lambda: connected(site.router, BOB), SOON, "connected")
    before = spis(site.router, "s2s-203_0_113_42")
    site.send(site.bob, esp_policy="aes256-sha256;modp2048", peer_guest_cidr_list="10.43.0.0/24,10.44.0.0/24")
    wait(lambda: connected(site.router, BOB), SOON, "connected")
    listed = site.router.exec("swanctl", "--list-sas").stdout
    assert set(spis(site.router, "s2s-203_0_113_42")).isdisjoint(before)
    assert "10.44.0.0/24" in listed
    assert "10.42.0.0/24" not in listed
    results = ask_all([(site.vpc.hosts["web1"], tcp(f"10.{n}.0.5", 22, timeout=0.5)) for n in (42, 43, 44)])
    assert [bool(result) for result in results] == [False, True, True]


def test_vpn_21_a_gateway_that_moved_leaves_nothing(site: Site) -> None:
    """As the server sends it: both drops name the new address."""
    site.open()
    site.alice.machine.exec("ip", "address", "add", "203.0.113.43/24", "dev", "eth0")
    moved = tunnels.Peer(site.alice.machine, site.alice.branch, "203.0.113.43", site.alice.numbers)
    try:
        moved.configure()
        site.send(moved, create=False)
        site.send(moved)
        wait(lambda: connected(site.router, moved.address), SOON, "connected")
        assert "s2s-203_0_113_41" not in site.router.exec("swanctl", "--list-conns").stdout
        assert ALICE not in site.router.exec("nft", "list", "ruleset").stdout
        both_ways(site)
    finally:
        site.send(moved, create=False)
        site.alice.machine.exec("ip", "address", "del", "203.0.113.43/24", "dev", "eth0")


NAME = "vpn.example.com"
DEAD = """table inet dead {
	chain names {
		type filter hook input priority -500
		meta l4proto { tcp, udp } th sport 53 drop
		meta l4proto { tcp, udp } th dport 53 drop
	}
}
"""
"""No name server answers the router, its own neither."""


@pytest.fixture
def no_names(site: Site) -> Iterator[tunnels.Peer]:
    """Return a peer known by a name while no name server answers; the router's /etc/hosts is put back."""
    named = tunnels.Peer(site.alice.machine, site.alice.branch, NAME, site.alice.numbers)
    hosts = site.router.read("/etc/hosts")
    site.router.put("/tmp/dead.nft", DEAD)
    site.router.exec("nft", "--file", "/tmp/dead.nft")
    try:
        yield named
    finally:
        site.router.put("/etc/hosts", hosts)
        site.router.exec("nft", "delete", "table", "inet", "dead")
        site.send(named, create=False)


def _named(site: Site) -> str:
    return str(site.router.exec("nft", "list", "set", "inet", "cloudstack", "vpn_named_peers").stdout)


def test_vpn_22_a_peer_with_a_name(site: Site, no_names: tunnels.Peer) -> None:
    """Its name is its identity. It is resolved by who keeps tunnels, and called again soon when it has moved."""
    hosts, later = site.router.read("/etc/hosts"), "203.0.113.43"
    site.send(no_names)
    assert not connected(site.router, NAME)
    assert ALICE not in _named(site)
    site.alice.configure(name=NAME)
    site.router.put("/etc/hosts", f"{hosts}{ALICE} {NAME}\n")
    wait(lambda: connected(site.router, NAME), 60, "connected")
    wait(lambda: ALICE in _named(site), 60, f"the packet filter knows it:\n{_keeper(site)}")
    both_ways(site)
    site.alice.machine.shell(f"ip address add {later}/24 dev eth0; nft add table inet gone")
    site.alice.machine.exec("nft", "add chain inet gone in { type filter hook input priority 0; }")
    site.alice.machine.exec("nft", f"add rule inet gone in ip daddr {ALICE} drop")
    try:
        tunnels.Peer(no_names.machine, no_names.branch, later, no_names.numbers).configure(name=NAME)
        site.router.put("/etc/hosts", f"{hosts}{later} {NAME}\n")
        moved = lambda: later in site.router.exec("swanctl", "--list-sas").stdout and connected(site.router, NAME)  # noqa: E731
        wait(moved, 120, f"connected where it is now:\n{_keeper(site)}")
        wait(lambda: later in _named(site) and ALICE not in _named(site), 60, "the packet filter knows it alone")
        both_ways(site)
    finally:
        site.alice.machine.shell(f"nft delete table inet gone; ip address del {later}/24 dev eth0")


def test_vpn_22_a_name_that_nobody_resolves_disturbs_nobody(site: Site, no_names: tunnels.Peer) -> None:
    """Who asks has an answer at once, all the time; other peers come, change, and come back."""
    site.open()
    dead = tunnels.drop(no_names, peer_gateway_ip="dead.example.com", peer_guest_cidr_list="10.77.0.0/24")
    seconds = [site.router.drop("site_2_site_vpn.json.dead", dead).seconds]
    try:
        _answers_at_once(site, 12, {ALICE: True, BOB: False, "dead.example.com": False})
        site.bob.configure()
        seconds.append(site.router.drop("site_2_site_vpn.json.bob", tunnels.drop(site.bob)).seconds)
        wait(lambda: connected(site.router, BOB), 60, "another one connects")
        site.router.exec("swanctl", "--terminate", "--ike", "s2s-203_0_113_42", "--force", check=False)
        wait(lambda: connected(site.router, BOB), 60, f"and is called again:\n{_keeper(site)}")
        _answers_at_once(site, 1, {BOB: True, ALICE: True})
        assert len(spis(site.router)) == 3, "there is one of it"
    finally:
        seconds.append(site.router.drop("site_2_site_vpn.json.dead", {**dead, "create": False}).seconds)
    print("converges with a dead name, in seconds:", seconds)
    assert max(seconds) < 10, "no converge waits for a name server"


def _answers_at_once(site: Site, seconds: float, peers: dict[str, bool]) -> None:
    """Ask as the management server does, for so long, and see each answer right and soon, also on a busy machine."""
    slowest = 0.0
    said = "".join(f"{peer}:{tunnels.STATE[state]}" for peer, state in peers.items())
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        answer = site.router.command(f"checkbatchs2svpn.sh {' '.join(peers)}")
        assert answer.stdout == said
        slowest = max(slowest, answer.seconds)
    print(f"slowest answer: {slowest:.2f} s")
    assert slowest < 5


def _keeper(site: Site) -> str:
    return site.router.exec("journalctl", "-u", "cloudstack-vpn", "-n", "20", "--no-pager").stdout


def test_vpn_23_a_reboot_without_management_server(site: Site) -> None:
    site.open()
    site.router.reboot()
    wait(lambda: connected(site.router, ALICE), 60, "connected after the boot")
    both_ways(site)


def test_vpn_26_what_the_management_server_reads(site: Site) -> None:
    site.open()
    up, down = (tunnels.STATE[state] for state in (True, False))
    asked = f"{BOB} {ALICE} vpn.example.com 203.0.113.77"
    answer = site.router.command(f"checkbatchs2svpn.sh {asked}")
    assert answer.stdout == f"{BOB}:{down}{ALICE}:{up}vpn.example.com:{down}203.0.113.77:{down}"
    assert answer.seconds < 4
    assert site.router.command("checkbatchs2svpn.sh").stdout == ""
    one = site.router.command(f"checks2svpn.sh {ALICE}")
    assert one.stdout == "IPsec SA found;Site-to-site VPN have connected\n"
    other = site.router.command(f"checks2svpn.sh {BOB}", check=False)
    assert (other.returncode, other.stdout) == (11, "IPsec SA not found;Site-to-site VPN have not connected\n")
    none = site.router.command("checks2svpn.sh", check=False)
    assert (none.returncode, none.stdout) == (1, "Fail to find VPN peer address!\n")
    site.remove()
    assert site.router.command(f"checkbatchs2svpn.sh {ALICE}").stdout == f"{ALICE}:{down}"


def test_a_daemon_that_hangs_is_told_and_one_that_dies_is_back(site: Site) -> None:
    """Who does not answer is no peer that is down: the management server keeps what it knows when a command fails."""
    site.open()
    site.router.shell("kill -STOP $(pidof charon-systemd)")
    try:
        hung = site.router.command(f"checkbatchs2svpn.sh {ALICE}", check=False)
    finally:
        site.router.shell("kill -CONT $(pidof charon-systemd)")
    assert (hung.returncode != 0, hung.stdout) == (True, "")
    assert "charon does not answer" in hung.stderr
    assert hung.seconds < 25, "the management server waits for 30"
    assert connected(site.router, ALICE)
    before = spis(site.router)
    site.router.shell("kill -KILL $(pidof charon-systemd)")
    wait(lambda: connected(site.router, ALICE) and spis(site.router) != before, 60, "connected again")
    both_ways(site)
    assert repaired(site.router) == []


def test_vpn_27_traffic_is_counted_once(site: Site) -> None:
    site.open()
    before = _counted(site)
    both_ways(site)
    after = _counted(site)
    for name in ("vpn_to_peers", "vpn_from_peers"):
        assert after[name] - before[name] > 100, name
    assert "vpn" not in site.router.command("vpc_netusage.sh -g").stdout
    assert site.router.command("vpc_netusage.sh -n").stdout == ""


def _counted(site: Site) -> dict[str, int]:
    """Return the bytes of each counter."""
    listed = site.router.exec("nft", "list", "counters", "table", "inet", "cloudstack_usage").stdout
    return {name: int(size) for name, size in re.findall(r"counter (\w+) \{\n\s*packets \d+ bytes (\d+)", listed)}


def test_vpn_35_no_secret_is_shown(site: Site) -> None:
    canary = "c4nary-pre-shared"
    site.alice.configure(psk=f'"{canary}"')
    answer = site.router.drop("site_2_site_vpn.json.canary", tunnels.drop(site.alice, ipsec_psk=canary))
    wait(lambda: connected(site.router, ALICE), SOON, "connected")
    assert canary not in answer.stdout + answer.stderr
    encoded = "YzRuYXJ5LXByZS1zaGFyZWQ"
    seen = site.router.shell(
        f"journalctl --no-pager | grep -c -e {canary} -e {encoded};"
        f" find /etc /run /var /tmp -xdev -type f -perm /044 -exec grep -l -e {canary} -e {encoded} {{}} +;"
        " ps axww -o args",
        check=False,
    ).stdout
    first, _newline, rest = seen.partition("\n")
    assert first == "0"
    lines = [line for line in rest.splitlines() if "grep" not in line]
    assert not [line for line in lines if line.startswith(("/etc", "/run", "/var", "/tmp"))], "files"
    assert not [line for line in lines if canary in line or encoded in line], "arguments of processes"


@pytest.mark.parametrize(
    "fields",
    [
        {"peer_guest_cidr_list": "10.41.0.0/33"},
        {"ike_policy": "aes999-sha1;modp2048"},
        {"ike_lifetime": 0},
        {"esp_lifetime": "an hour"},
    ],
    ids=str,
)
def test_vpn_36_what_is_malformed_is_refused_and_touches_nothing(site: Site, fields: dict[str, Any]) -> None:
    """The last word on proposals is charon's: what it refuses is put back."""
    site.open()
    before = spis(site.router)
    wrong = tunnels.drop(site.bob, **fields)
    answer = site.router.drop("site_2_site_vpn.json.malformed", wrong, check=False)
    assert answer.returncode
    assert spis(site.router) == before
    assert connected(site.router, ALICE)
    assert "s2s-203_0_113_42" not in site.router.exec("swanctl", "--list-conns").stdout
    assert repaired(site.router) == []


def test_vpn_37_files_of_a_router_of_before_go(site: Site) -> None:
    old = ("/etc/ipsec.d/ipsec.vpn-203.0.113.41.conf", "/etc/ipsec.d/ipsec.vpn-203.0.113.41.secrets")
    site.router.exec("mkdir", "-p", "/etc/ipsec.d")
    for path in old:
        site.router.put(path, "of the original")
    site.send(site.alice)
    assert not [path for path in old if site.router.exists(path)]
    assert repaired(site.router) == []


def test_network_acl_of_a_tier_without_one_lets_nobody_in(site: Site) -> None:
    change(site.router, network_acl(WEB, [], []))
    site.open()
    assert not ask(site.alice.branch, tcp(WEB1, 22, timeout=0.5))
