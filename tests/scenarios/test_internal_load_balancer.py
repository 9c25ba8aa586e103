# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The internal load balancer of a VPC's tier: a machine with a guest address that balances and does nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import ask, dhcp, tcp, tcp_connect, tcp_scan, udp_echo
from tests.lab.router import Router
from tests.scenarios.balancer import Balancer, Rule

ADDRESS, CONTROL = "10.2.1.200", "169.254.6.12"
ARGUMENTS = (
    f"template=domP name=b-401-VM eth0ip={ADDRESS} eth0mask=255.255.255.0 gateway=10.2.1.1 dns1=10.2.1.1"
    f" eth1ip={CONTROL} eth1mask=255.255.0.0 domain=lab.internal type=ilbvm"
)
MACHINES = ("10.2.1.11:80", "10.2.1.12:80")


@dataclass(frozen=True)
class Tiers:
    """The load balancer, two machines beside it, one in another tier, and the management server."""

    router: Router
    machines: dict[str, Host]
    other: Host
    management: Host


@pytest.fixture(scope="module")
def tiers() -> Iterator[Tiers]:
    """Return a tier with a load balancer in it, and another tier behind a gateway."""
    with Lab("internal-lb") as lab:
        for segment in ("tier1", "tier2", "control"):
            lab.segment(segment)
        gateway = lab.host("gateway", "tier1", "10.2.1.1/24")
        gateway.add_nic("eth1", "tier2", lab.mac("gateway.tier2"), ["10.2.2.1/24"])
        gateway.forward()
        machines = {
            name: lab.host(name, "tier1", f"10.2.1.{number}/24", gateway="10.2.1.1")
            for name, number in (("db1", 11), ("db2", 12))
        }
        for machine in machines.values():
            machine.probe.serve(tcp=(80, 5432))
        other = lab.host("other", "tier2", "10.2.2.11/24", gateway="10.2.2.1")
        management = lab.host("management", "control", "169.254.0.1/16")
        nics = {"eth0": ("tier1", lab.mac("r1.tier1")), "eth1": ("control", lab.mac("r1.control"))}
        router = lab.router("r1", ARGUMENTS, nics)
        router.wait_boot()
        yield Tiers(router, machines, other, management)


@pytest.fixture
def balancer(tiers: Tiers) -> Balancer:
    """Return the load balancer with its statistics page."""
    return Balancer(tiers.router, statistics={"stats": f"{ADDRESS}:8081"}, stat_rule=f"{ADDRESS}:8081:0/0:,")


def test_machines_of_every_tier_are_balanced(tiers: Tiers, balancer: Balancer) -> None:
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
    for client in (tiers.other, tiers.machines["db1"]):
        answers = [tcp_connect(client, ADDRESS, 80) for _ in range(6)]
        assert Counter(answer.server for answer in answers) == {"db1": 3, "db2": 3}
        assert {answer.seen_from for answer in answers} == {ADDRESS}


def test_it_gives_nothing_else(tiers: Tiers, balancer: Balancer) -> None:
    """No DHCP, no DNS, no metadata, and management by the control network only."""
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
    ports = (22, 53, 80, 443, 3922, 8080, 8081)
    for client in (tiers.other, tiers.machines["db2"]):
        assert tcp_scan(client, ADDRESS, ports)["open"] == [80, 8081]
        assert not udp_echo(client, ADDRESS, 53)
    assert dhcp(tiers.machines["db1"], "discover") == []
    assert tcp_scan(tiers.management, CONTROL, ports)["open"] == [3922]
    assert tiers.router.facts.sysctl("net.ipv4.ip_forward") == "0"


def test_a_revoked_rule_is_closed_and_the_statistics_stay(tiers: Tiers, balancer: Balancer) -> None:
    first, second = Rule(ADDRESS, 80, machines=MACHINES), Rule(ADDRESS, 5432, "leastconn", ("10.2.1.11:5432",))
    balancer.apply(first, second)
    assert tcp_connect(tiers.other, ADDRESS, 5432).server == "db1"
    balancer.apply(first, revoked=(second,))
    assert not tcp_connect(tiers.other, ADDRESS, 5432)
    balancer.apply(revoked=(first,))
    assert tcp_scan(tiers.other, ADDRESS, (80, 5432, 8081))["open"] == [8081]


def test_it_comes_back_after_a_reboot(tiers: Tiers, balancer: Balancer) -> None:
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
    tiers.router.reboot()
    assert tcp_connect(tiers.other, ADDRESS, 80)


PARENT = "/run/cloudstack/converge.sock"
SHADOW = "http-request return status 200 content-type text/plain"
ATTACKS = {
    "file in a line of http-request return": ["\tmode http", f"\t{SHADOW} file /etc/shadow"],
    "lf-file in a line of http-request return": ["\tmode http", f"\t{SHADOW} lf-file /etc/shadow"],
    "a keyword in quotes": ["\tmode http", f"\t'http-request' {SHADOW.partition(' ')[2]} file /etc/shadow"],
    "errorfile": ["\tmode http", "\terrorfile 503 /etc/shadow"],
    "map_ip in a line of http-request": ["\tmode http\n\thttp-request deny if { src map_ip(/etc/shadow) 1 }"],
    f"unix@{PARENT} in a line of server": [f"\tserver a unix@{PARENT}"],
    "10.2.1.200:3922 in a line of server": ["\tserver a 10.2.1.200:3922"],
    "/run/haproxy/../cloudstack/converge.sock in a line of stats": [
        *("global", "\tstats socket /run/haproxy/../cloudstack/converge.sock mode 666 level admin"),
    ],
    "chroot": ["global", "\tchroot /"],
}


@pytest.mark.parametrize("words", ATTACKS)
def test_lines_that_reach_for_the_router_are_refused(tiers: Tiers, balancer: Balancer, words: str) -> None:
    """They came out of a rule with a line break: no secret is served, and the resident parent keeps its socket."""
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
    worker, inode = balancer.worker, tiers.router.exec("stat", "-c", "%i %a", PARENT).stdout
    answer = balancer.send(check=False, more=["listen more", "\tbind 10.2.1.200:81", *ATTACKS[words]])
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "words that the role load_balancer knows" in answer.stderr
    assert words in answer.stderr
    assert not ask(tiers.other, tcp(ADDRESS, 81))
    assert balancer.worker == worker
    assert tiers.router.exec("stat", "-c", "%i %a", PARENT).stdout == inode


def test_a_configuration_without_listeners_is_judged_too(tiers: Tiers, balancer: Balancer) -> None:
    """It stops the load balancer, so it had better be one: by its words, by haproxy, and by what the drop opens."""
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
    worker, rules = balancer.worker, balancer.rules
    balancer.rules, balancer.statistics, balancer.stat_rule = [], {}, ""
    for more, words in ((["\tthis is no haproxy keyword"], '"this"'), (["\tuse_backend nowhere"], "nowhere")):
        answer = balancer.send(check=False, more=["listen more", *more])
        assert (answer.returncode, words in answer.stderr) == (1, True), answer.stderr
    body = balancer.body()
    body["rules"][0]["add_rules"] = [f"{ADDRESS}:80:"]
    answer = tiers.router.drop("load_balancer.json.unbound", json.dumps(body), check=False)
    assert (answer.returncode, f"got {ADDRESS}:80, which no bind has" in answer.stderr) == (1, True), answer.stderr
    assert balancer.worker == worker
    balancer.rules = rules
    assert tcp_connect(tiers.other, ADDRESS, 80)


def test_an_operator_may_add_a_word(tiers: Tiers, balancer: Balancer) -> None:
    """In the file that provisioning writes of the role's variable."""
    words = "/etc/haproxy/cloudstack-words"
    written = tiers.router.read(words)
    assert written == "# Variable load_balancer_words of the role load_balancer.\n"
    more = ("http-request set-header X-Home %[env(HOME)]", "mode http")
    assert balancer.apply(Rule(ADDRESS, 80, machines=MACHINES, more=more), check=False).returncode == 1
    tiers.router.shell(f"echo 'fetch env' >> {words}")
    try:
        balancer.apply(Rule(ADDRESS, 80, machines=MACHINES, more=more))
    finally:
        tiers.router.shell(f"sed -i /env/d {words}")
    assert tiers.router.read(words) == written
    balancer.apply(Rule(ADDRESS, 80, machines=MACHINES))
