# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load balancing by real connections: who answers, who stays with whom, and what a change does to the others."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import TcpStream, ask, tcp, tcp_connect
from tests.lab.process import wait_for
from tests.scenarios import networks
from tests.scenarios.balancer import Balancer, Rule, certificate
from tests.scenarios.networks import ELSEWHERE, FIXTURES, INTERNET, Isolated
from tests.scenarios.web import WebServer, curl, get, servers

PUBLIC, OTHER, CLOSED = "192.0.2.21", "192.0.2.20", "192.0.2.22"
WEB = ("10.7.0.11:8000", "10.7.0.12:8000")
TCP = ("10.7.0.11:9000", "10.7.0.12:9000")
URL = f"http://{PUBLIC}"


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return an isolated network with three public addresses, two of them open, and web servers on two VMs."""
    with Lab("balancer") as lab:
        found = networks.fixture_network(lab)
        found.router.wait_boot()
        drops = sorted((FIXTURES / "isolated").glob("00[123]-ip_associations*"))
        assert len(drops) == 3
        for drop in drops:
            found.router.drop(drop.name.split("-", 1)[1], drop.read_bytes())
        found.router.drop("firewall_rules.json.open", json.dumps(firewall(PUBLIC, OTHER)))
        with WebServer(found.vms["web"], (8000,)), WebServer(found.vms["db"], (8000,)):
            yield found


def firewall(*addresses: str) -> dict[str, object]:
    """Return a drop that opens all TCP ports of public addresses."""
    rules = [
        {
            "id": 100 + number,
            "src_ip": address,
            "protocol": "tcp",
            "src_port_range": [1, 65535],
            "revoked": False,
            "already_added": False,
            "source_cidr_list": ["0.0.0.0/0"],
            "purpose": "Firewall",
            "traffic_type": "Ingress",
        }
        for number, address in enumerate(addresses)
    ]
    return {"rules": rules, "type": "firewallrules", "delete_from_processed_cache": False}


@pytest.fixture
def balancer(network: Isolated) -> Balancer:
    """Return the load balancer; each test says which rules it has."""
    return Balancer(network.router)


def test_round_robin(network: Isolated, balancer: Balancer) -> None:
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    client = network.internet[INTERNET]
    answers = [tcp_connect(client, PUBLIC, 80).server for _ in range(8)]
    assert Counter(answers) == {"web": 4, "db": 4}
    assert all(before != after for before, after in pairwise(answers))


def test_least_connections(network: Isolated, balancer: Balancer) -> None:
    """While one VM holds a connection, the other gets the short ones."""
    balancer.apply(Rule(PUBLIC, 80, "leastconn", TCP))
    client, answers = network.internet[INTERNET], set()
    with TcpStream(client, PUBLIC, 80):
        for _ in range(6):
            wait_for(lambda: balancer.connections() == 1, 30, "the end of the short connection")
            answers.add(tcp_connect(client, PUBLIC, 80).server)
    assert len(answers) == 1


def test_source(network: Isolated, balancer: Balancer) -> None:
    balancer.apply(Rule(PUBLIC, 80, "source", TCP))
    for source in (INTERNET, ELSEWHERE):
        assert len({tcp_connect(network.internet[source], PUBLIC, 80).server for _ in range(6)}) == 1


def test_stickiness_by_source(network: Isolated, balancer: Balancer) -> None:
    sticky = ("stick-table type ip size 200k expire 30m", "stick on src")
    balancer.apply(Rule(PUBLIC, 80, machines=TCP, more=sticky))
    answers = {
        source: {tcp_connect(network.internet[source], PUBLIC, 80).server for _ in range(4)}
        for source in (INTERNET, ELSEWHERE)
    }
    assert all(len(found) == 1 for found in answers.values())
    assert answers[INTERNET] != answers[ELSEWHERE], "round robin for the first connection of each"


def test_stickiness_by_cookie(network: Isolated, balancer: Balancer, tmp_path: Path) -> None:
    """Also where the server left `mode http` out, without which haproxy ignores the cookie."""
    balancer.apply(Rule(PUBLIC, 80, machines=WEB, more=("cookie SRV insert indirect nocache",)))
    client, jar = network.internet[INTERNET], str(tmp_path / "jar")
    assert len(set(servers(client, URL, 6, "--cookie", jar, "--cookie-jar", jar))) == 1
    assert len(set(servers(client, URL, 6))) == 2
    assert "SRV" not in get(client, URL, "--cookie", jar)["headers"].get("Cookie", ""), "indirect"


APPSESSION = "appsession JSESSIONID len 32 timeout 30m"


@pytest.mark.parametrize(
    ("line", "cookie"),
    [
        (APPSESSION, "JSESSIONID"),
        (f"{APPSESSION} request-learn", "JSESSIONID"),
        (f"{APPSESSION} prefix request-learn mode path-parameters ", "JSESSIONID"),
        ("appsession ASPSESSIONID len 32 timeout 30m prefix", "ASPSESSIONIDQQ"),
    ],
)
def test_stickiness_by_the_applications_cookie(
    network: Isolated, balancer: Balancer, tmp_path: Path, line: str, cookie: str
) -> None:
    """haproxy 1.5's appsession, translated: whoever gave the session serves it (G7)."""
    balancer.apply(Rule(PUBLIC, 80, machines=WEB, more=(line,)))
    client, seen = network.internet[INTERNET], set()
    for number in range(4):
        jar = str(tmp_path / f"jar{number}")
        given = get(client, f"{URL}/login?name={cookie}", "--cookie-jar", jar)["server"]
        assert cookie in Path(jar).read_text()
        assert set(servers(client, URL, 4, "--cookie", jar)) == {given}
        seen.add(given)
    assert seen == {"web", "db"}, "sessions are given by turns"


def test_session_in_the_url(network: Isolated, balancer: Balancer, tmp_path: Path) -> None:
    """A client without cookies has its session behind a semicolon."""
    balancer.apply(Rule(PUBLIC, 80, machines=WEB, more=(APPSESSION,)))
    client, jar = network.internet[INTERNET], tmp_path / "jar"
    given = get(client, f"{URL}/login", "--cookie-jar", str(jar))["server"]
    session = next(line.split()[-1] for line in jar.read_text().splitlines() if "JSESSIONID" in line)
    assert set(servers(client, f"{URL}/page;JSESSIONID={session}", 4)) == {given}


def test_a_changed_stickiness_takes_effect(network: Isolated, balancer: Balancer) -> None:
    """G6: with the same drop, not when the VMs are made anew."""
    client = network.internet[INTERNET]
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    assert len({tcp_connect(client, PUBLIC, 80).server for _ in range(4)}) == 2
    balancer.apply(Rule(PUBLIC, 80, machines=TCP, more=("stick-table type ip size 10k expire 30m", "stick on src")))
    assert len({tcp_connect(client, PUBLIC, 80).server for _ in range(4)}) == 1


def test_open_connections_survive_changes_of_another_rule(network: Isolated, balancer: Balancer) -> None:
    """G1: twenty of them. No connection stands still for as long as a change takes, however busy the machine is."""
    kept = Rule(PUBLIC, 80, machines=TCP)
    balancer.apply(kept)
    workers, changes = set(), list[float]()
    with TcpStream(network.internet[INTERNET], PUBLIC, 80) as stream:
        for number in range(20):
            changes.append(balancer.apply(kept, Rule(OTHER, 1000 + number, machines=TCP)).seconds)
            assert tcp_connect(network.internet[ELSEWHERE], OTHER, 1000 + number)
            workers.add(balancer.worker)
    assert len(workers) == 20
    assert (stream.lost, stream.error) == (0, "")
    assert stream.longest_stall < max(1.0, *changes)


PEERS = "echo 'show peers' | socat - /run/haproxy/admin.sock"


def test_stickiness_survives_changes_of_another_rule(network: Isolated, balancer: Balancer) -> None:
    """The old worker hands its tables to the new one, from 5 to 10 s after haproxy has got its first table."""
    kept = Rule(PUBLIC, 80, machines=TCP, more=("stick-table type ip size 200k expire 30m", "stick on src"))
    balancer.apply(kept)
    deadline = time.monotonic() + 60
    while "resync_timeout=<PAST>" not in network.router.shell(PEERS).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    sources = (INTERNET, ELSEWHERE)
    given = [tcp_connect(network.internet[source], PUBLIC, 80).server for source in sources]
    assert sorted(map(str, given)) == ["db", "web"]
    # Three times within seconds: each worker passes on what it has just learned.
    for number in range(3):
        balancer.apply(kept, Rule(OTHER, 1000 + number, machines=TCP))
        # The second one first: by turns it would get the first VM.
        found = [tcp_connect(network.internet[source], PUBLIC, 80).server for source in reversed(sources)]
        assert found == given[::-1]


def test_no_difference_no_reload(network: Isolated, balancer: Balancer) -> None:
    """G2: counters live on."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    before = balancer.worker
    balancer.send()
    network.router.command("configure.py load_balancer.json")
    assert balancer.worker == before


def test_a_stopped_or_edited_haproxy_is_repaired(network: Isolated, balancer: Balancer) -> None:
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    network.router.shell("echo '# edited' >> /etc/haproxy/haproxy.cfg; systemctl stop haproxy")
    balancer.send()
    assert tcp_connect(network.internet[INTERNET], PUBLIC, 80)
    assert "# edited" not in network.router.read("/etc/haproxy/haproxy.cfg")


@pytest.mark.parametrize("password", [None, "secret 123'$"])
def test_tls(network: Isolated, balancer: Balancer, tmp_path: Path, password: str | None) -> None:
    """G8: a chain, Windows line ends, an encrypted key; the name is asked for by SNI."""
    rule = Rule(PUBLIC, 443, machines=WEB, more=("http-request add-header X-Forwarded-Proto https", "mode http"))
    rule = Rule(rule.ip, rule.port, machines=rule.machines, more=rule.more, tls=rule.name)
    balancer.certificates = [certificate(tmp_path, rule.tls, "www.example.test", password)]
    balancer.apply(rule)
    trust = ("--cacert", str(tmp_path / "root.pem"), "--resolve", f"www.example.test:443:{PUBLIC}")
    seen = get(network.internet[INTERNET], "https://www.example.test", *trust)
    assert {name.lower(): text for name, text in seen["headers"].items()}["x-forwarded-proto"] == "https"
    pem = f"/etc/cloudstack/ssl/{rule.tls}.pem"
    assert network.router.exec("stat", "-c", "%a %U", pem).stdout == "600 root\n"
    worker = balancer.worker
    balancer.send()
    assert balancer.worker == worker
    logs = network.router.shell("cat /var/log/cloudstack/*.log; journalctl --no-pager").stdout
    assert "PRIVATE KEY" not in logs
    if password:
        assert password not in logs
    balancer.apply(Rule(PUBLIC, 80, machines=WEB), revoked=(rule,))
    assert not network.router.exists(pem)


def test_a_wrong_password_of_a_key_fails_the_drop(network: Isolated, balancer: Balancer, tmp_path: Path) -> None:
    kept = Rule(PUBLIC, 80, machines=TCP)
    balancer.apply(kept)
    worker = balancer.worker
    rule = Rule(PUBLIC, 443, machines=WEB, tls=f"{PUBLIC.replace('.', '_')}-443")
    balancer.certificates = [certificate(tmp_path, rule.tls, "www.example.test", "right") | {"password": "wrong"}]
    answer = balancer.apply(kept, rule, check=False)
    assert answer.returncode == 1
    assert "expected the password of the key" in answer.stderr
    assert (balancer.worker, network.router.exists(f"/etc/cloudstack/ssl/{rule.tls}.pem")) == (worker, False)


VISIBILITIES = {
    "global": ({"stats_on_public": f"{OTHER}:8081"}, f"{OTHER}:8081:0/0:,", {"internet", "vm"}),
    "guest-network": ({"stats_on_guest": "10.7.0.1:8081"}, "10.7.0.1:8081:0/0:,", {"vm"}),
    "link-local": ({"stats_on_private": "169.254.7.7:8081"}, "169.254.7.7:8081:0/0:,", {"management"}),
    "all": (
        {
            "stats_on_public": f"{OTHER}:8081",
            "stats_on_guest": "10.7.0.1:8081",
            "stats_on_private": "169.254.7.7:8081",
        },
        "0.0.0.0/0:8081:0/0:,",
        {"internet", "vm", "management"},
    ),
    "disabled": ({}, "", set()),
}


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_statistics(network: Isolated, balancer: Balancer, visibility: str) -> None:
    """Who may ask is decided by the address it is on; a password is needed everywhere."""
    balancer.statistics, balancer.stat_rule, expected = VISIBILITIES[visibility]
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    hosts = {"internet": network.internet[INTERNET], "vm": network.vms["backup"], "management": network.management}
    hosts["vm"].ip("route", "replace", "169.254.7.7", "via", "10.7.0.1")
    asked = (OTHER, "10.7.0.1", "169.254.7.7")
    reached = {name for name, host in hosts.items() if any(ask(host, tcp(ip, 8081)) for ip in asked)}
    assert reached == expected
    for address in balancer.statistics.values():
        page, host = f"http://{address}/admin?stats", network.router
        login = ("--user", "admin1:AdMiN123")
        found = host.exec("curl", "--silent", "--max-time", "30", *login, page).stdout
        assert "Statistics Report" in found
        refused = host.exec("curl", "--silent", "--write-out", "%{http_code}", "--output", "/dev/null", page).stdout
        assert refused == "401"


def test_statistics_on_every_listener(network: Isolated, balancer: Balancer) -> None:
    """Visibility `default`: no port of its own, a path of each HTTP rule."""
    balancer.apply(Rule(PUBLIC, 80, machines=WEB, more=("mode http",)))
    body = balancer.body()
    lines = body["rules"][0]["configuration"]
    at = lines.index("\ttimeout server     50000") + 1
    lines[at:at] = ["\tstats enable", "\tstats uri     /admin?stats", "\tstats auth    admin1:AdMiN123"]
    network.router.drop("load_balancer.json.default", json.dumps(body))
    page = curl(network.internet[INTERNET], f"{URL}/admin?stats", "--user", "admin1:AdMiN123")
    assert "Statistics Report" in page


def test_the_number_of_connections(network: Isolated, balancer: Balancer) -> None:
    """get_haproxy_stats.sh of the contract: the average of the VMs that are up."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP), Rule(OTHER, 80, machines=TCP))
    client = network.internet[INTERNET]
    with TcpStream(client, PUBLIC, 80), TcpStream(client, PUBLIC, 80), TcpStream(client, OTHER, 80):
        assert [balancer.sessions(*at) for at in ((PUBLIC, 80), (OTHER, 80), (OTHER, 81))] == [1, 0, 0]


REFUSED = {
    '"bogus"': ["listen more", "\tbind 192.0.2.21:81", "\tbogus 12", "\tstats auth admin:HiddenWord"],
    "'nowhere'": ["listen more", "\tbind 192.0.2.21:81\n\tstick on src table nowhere\n\tstats auth a:HiddenWord"],
    "listeners on addresses of this router, got 192.0.2.99:80": ["listen more", "\tbind 192.0.2.99:80"],
    "got 192.0.2.21:111, which socat listens on": ["listen more", "\tbind 192.0.2.21:111"],
    "got 10.7.0.1:53, which dnsmasq listens on": ["listen more", "\tbind 10.7.0.1:53"],
    "udp": ["listen more", "\tbind udp@192.0.2.21:81"],
}


def occupy(network: Isolated, unit: str, *command: str) -> None:
    """Run a program on the router that takes a port, unless it does already."""
    network.router.exec("systemd-run", "--quiet", "--collect", "--unit", unit, *command, check=False)


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_work_is_refused_and_the_running_goes_on(network: Isolated, balancer: Balancer, words: str) -> None:
    """G4, G9: one line that says why; the same worker serves on, the same files are there."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    occupy(network, "lab-portmapper", "socat", "TCP-LISTEN:111,fork", "-")
    worker, file = balancer.worker, network.router.read("/etc/haproxy/haproxy.cfg")
    with TcpStream(network.internet[INTERNET], PUBLIC, 80) as stream:
        answer = balancer.send(check=False, more=REFUSED[words])
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert answer.stderr.startswith(f"{answer.command.split()[1]}: "), "the file is named"
    assert words in answer.stderr
    assert "HiddenWord" not in answer.stderr
    assert (stream.lost, stream.error) == (0, "")
    assert (balancer.worker, network.router.read("/etc/haproxy/haproxy.cfg")) == (worker, file)
    assert not ask(network.internet[INTERNET], tcp(PUBLIC, 81))


HOLD = "import socket, time; s = socket.socket(); s.bind(('192.0.2.21', 82)); time.sleep(3600)"


def test_a_reload_that_fails_is_taken_back(network: Isolated, balancer: Balancer) -> None:
    """A port that is held without listening is noticed by haproxy only, when its new worker wants it."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    occupy(network, "lab-holder", "python3", "-c", HOLD)
    file = network.router.read("/etc/haproxy/haproxy.cfg")
    with TcpStream(network.internet[INTERNET], PUBLIC, 80) as stream:
        answer = balancer.send(check=False, more=["listen more", "\tbind 192.0.2.21:82"])
        assert tcp_connect(network.internet[INTERNET], PUBLIC, 80)
    assert answer.returncode == 1
    assert "cannot bind socket (Address already in use) for [192.0.2.21:82]" in answer.stderr
    assert (stream.lost, stream.error) == (0, "")
    assert network.router.read("/etc/haproxy/haproxy.cfg") == file
    assert balancer.worker


def test_revoking_a_rule_cuts_its_connections_only(network: Isolated, balancer: Balancer) -> None:
    kept, revoked = Rule(PUBLIC, 80, machines=TCP), Rule(PUBLIC, 81, machines=TCP)
    balancer.apply(kept, revoked)
    client = network.internet[INTERNET]
    with TcpStream(client, PUBLIC, 80) as staying, TcpStream(client, PUBLIC, 81) as leaving:
        balancer.apply(kept, revoked=(revoked,))
        assert not tcp_connect(client, PUBLIC, 81)
    assert (staying.lost, staying.error) == (0, "")
    assert leaving.lost > 0
    elements = network.router.exec("nft", "list", "set", "inet", "cloudstack", "load_balancer_listeners").stdout
    assert f"{PUBLIC} . 80" in elements
    assert f"{PUBLIC} . 81" not in elements


def test_the_firewall_of_the_public_address_decides_who_enters(network: Isolated, balancer: Balancer) -> None:
    balancer.apply(Rule(PUBLIC, 80, machines=TCP), Rule(CLOSED, 80, machines=TCP))
    assert tcp_connect(network.internet[INTERNET], PUBLIC, 80)
    assert not tcp_connect(network.internet[INTERNET], CLOSED, 80)


@pytest.mark.parametrize("vm", ["web", "backup"])
def test_vms_reach_the_public_address(network: Isolated, balancer: Balancer, vm: str) -> None:
    """D6: also the VMs behind it, which see the router as their client."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    answers = [tcp_connect(network.vms[vm], PUBLIC, 80) for _ in range(4)]
    assert {answer.server for answer in answers} == {"web", "db"}
    assert {answer.seen_from for answer in answers} == {"10.7.0.1"}


def test_without_rules_haproxy_is_stopped(network: Isolated, balancer: Balancer) -> None:
    """The placeholder that the server sends then is no listener."""
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    balancer.apply(revoked=(Rule(PUBLIC, 80),))
    assert network.router.exec("systemctl", "is-active", "haproxy", check=False).stdout == "inactive\n"
    balancer.statistics, balancer.stat_rule = {"stats_on_public": f"{OTHER}:8081"}, f"{OTHER}:8081:0/0:,"
    balancer.send()
    assert tcp_connect(network.internet[INTERNET], OTHER, 8081).verdict != "timeout"
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    assert tcp_connect(network.internet[INTERNET], PUBLIC, 80)


def test_it_comes_back_after_a_reboot(network: Isolated, balancer: Balancer) -> None:
    balancer.apply(Rule(PUBLIC, 80, machines=TCP))
    network.router.reboot()
    assert {tcp_connect(network.internet[INTERNET], PUBLIC, 80).server for _ in range(4)} == {"web", "db"}
