# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the VMs of an isolated network are told by DHCP and DNS, from the first boot to the hundredth neighbour."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.agent.dns import read_name
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import dhcp, dhcp_lease, dns_query
from tests.lab.router import Router
from tests.scenarios import drops, networks, states
from tests.scenarios.asking import Asking
from tests.scenarios.networks import FIXTURES, Isolated

DIRECTORY = FIXTURES / "isolated"
ROUTER = "10.7.0.1"
RESOLVER = "203.0.113.53"
WEB, DB, BACKUP = "02:07:00:00:00:0b", "02:07:00:00:00:0c", "02:07:00:00:00:0d"
INFINITE = 0xFFFFFFFF
# A resolver of the outside world in a few lines: every name has the address 198.18.99.99.
SERVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("203.0.113.53", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    end = query.index(b"\\0", 12) + 5
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + bytes((198, 18, 99, 99))
    server.sendto(query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + query[12:end] + answer, client)
"""


@contextmanager
def resolver(lab: Lab) -> Iterator[Host]:
    """Run a resolver in the internet."""
    host = lab.host("resolver", "internet", f"{RESOLVER}/24")
    for number, subnet in enumerate(networks.FIXTURE_SUBNETS, start=1):
        host.add_route(subnet.network, f"203.0.113.{240 + number}")
    command = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield host
        process.kill()


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the isolated network of the fixtures, all of it applied, with a resolver in the internet."""
    with Lab("dhcp") as lab:
        made = networks.fixture_network(lab)
        with resolver(lab):
            made.router.wait_boot()
            states.apply_together(made.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
            yield made


@pytest.fixture
def client(network: Isolated) -> Host:
    """Return a host on the guest network that asks in the name of any MAC."""
    return network.vms["web"]


def offer(client: Host, mac: str) -> dict[str, Any] | None:
    """Return what a MAC is offered, as far as a VM sees it; nothing if there is no offer."""
    offers = dhcp(client, "discover", mac=mac, timeout=2.0)
    if not offers:
        return None
    wanted = ("address", "mask", "routers", "dns", "domain", "mtu", "lease", "server")
    return {key: offers[0][key] for key in wanted if key in offers[0]}


COMMON = {"mask": ["255.255.255.0"], "mtu": 1450, "server": [ROUTER]}
DEFAULT_NIC = {"routers": [ROUTER], "dns": [ROUTER, RESOLVER, "203.0.113.54"], "domain": "lab.internal"}
OFFERS = {
    WEB: {"address": "10.7.0.11", "lease": INFINITE, **COMMON, **DEFAULT_NIC},
    DB: {"address": "10.7.0.12", "lease": 3600, **COMMON, **DEFAULT_NIC},
    BACKUP: {"address": "10.7.0.13", "lease": INFINITE, **COMMON},
    "02:07:00:00:00:ee": None,
}


@pytest.mark.parametrize("mac", OFFERS)
def test_each_vm_is_offered_its_own(client: Host, mac: str) -> None:
    """F7, F10: address, mask, router, DNS, domain, MTU, lease time; a secondary NIC gets nothing that leads traffic."""
    assert offer(client, mac) == OFFERS[mac]


def test_the_journal_says_why_an_unknown_mac_gets_nothing(network: Isolated, client: Host) -> None:
    """F16: the operator sees the MAC and that it is ignored."""
    assert offer(client, "02:07:00:00:00:ef") is None
    lines = network.router.facts.journal("--unit", "dnsmasq").splitlines()
    assert [line for line in lines if "02:07:00:00:00:ef" in line and "ignored" in line], lines[-5:]


def renew(network: Isolated) -> str | None:
    """Renew the lease of VM db as it does itself, straight to the server; return what kind of answer comes."""
    server_mac = network.router.nics["eth0"][1]
    answers = dhcp(network.vms["db"], "request", mac=DB, ciaddr="10.7.0.12", unicast=[ROUTER, server_mac])
    return str(answers[0]["kind"]) if answers else None


def test_a_renewal_on_a_freshly_built_router_is_acknowledged(network: Isolated, client: Host) -> None:
    """F1: it has no leases, and VMs go on with theirs; one that comes back with its old address gets it too."""
    router = network.router
    router.exec("systemctl", "stop", "dnsmasq")
    router.exec("rm", "-f", "/var/lib/misc/dnsmasq.leases")
    states.repaired(router)
    assert renew(network) == "ack"
    rebooted = dhcp(client, "request", mac=WEB, options={"50": bytes((10, 7, 0, 11)).hex()})
    assert [answer["kind"] for answer in rebooted] == ["ack"]
    wrong = dhcp(client, "request", mac=WEB, options={"50": bytes((10, 7, 0, 99)).hex()})
    assert [answer["kind"] for answer in wrong] == ["nak"]


def leases(router: Router) -> set[str]:
    """Return the leases given, by MAC and address."""
    lines = router.read("/var/lib/misc/dnsmasq.leases").splitlines()
    return {" ".join(line.split()[1:3]) for line in lines}


def test_leases_survive_converges_restarts_and_reboots(network: Isolated, client: Host) -> None:
    """F2: whatever is done to the router, VMs keep what they have."""
    router = network.router
    for mac in (WEB, DB):
        assert dhcp_lease(client, mac=mac)
    given = {f"{WEB} 10.7.0.11", f"{DB} 10.7.0.12"}
    router.drop(drops.named("lease", 1), drops.vm("other", "02:07:00:00:00:70", "10.7.0.70"))
    router.drop(drops.named("lease", 2), drops.alias("10.7.77.1", 2))
    assert given <= leases(router)
    router.drop(drops.named("lease", 3), drops.alias("10.7.77.1", 2, revoke=True))
    router.drop(drops.named("lease", 4), drops.vm("other", "02:07:00:00:00:70", "10.7.0.70", remove=True))
    router.exec("systemctl", "restart", "dnsmasq")
    assert given <= leases(router)
    router.reboot()
    assert given <= leases(router)
    assert renew(network) == "ack"


def test_the_address_of_a_removed_vm_is_free_at_once(network: Isolated, client: Host) -> None:
    """F3, F4: its lease is released, and the next VM with this address gets it although the old one never let go."""
    router, old, new = network.router, "02:07:00:00:00:71", "02:07:00:00:00:72"
    router.drop(drops.named("free", 1), drops.vm("old", old, "10.7.0.71"))
    lease = dhcp_lease(client, mac=old)
    assert lease
    assert lease["address"] == "10.7.0.71"
    router.drop(drops.named("free", 2), drops.vm("old", old, "10.7.0.71", remove=True))
    assert f"{old} 10.7.0.71" not in leases(router)
    assert offer(client, old) is None
    router.drop(drops.named("free", 3), drops.vm("young", new, "10.7.0.71"))
    lease = dhcp_lease(client, mac=new)
    assert lease
    assert lease["address"] == "10.7.0.71"
    # F4: taken over without a removal in between.
    router.drop(drops.named("free", 4), drops.vm("again", old, "10.7.0.71"))
    lease = dhcp_lease(client, mac=old)
    assert lease
    assert lease["address"] == "10.7.0.71"
    assert offer(client, new) is None
    router.drop(drops.named("free", 5), drops.vm("again", old, "10.7.0.71", remove=True))


def answers(client: Host, name: str) -> list[str]:
    """Return the addresses of a name as the router tells them."""
    found = dns_query(client, ROUTER, name)
    return [value for _name, kind, _ttl, value in found.extra.get("answers", []) if kind == "A"]


def test_a_vm_that_moves_leaves_nothing_behind(network: Isolated, client: Host) -> None:
    """F8, F9, F13: one record per MAC and per name; a removal takes nothing but its own."""
    router, mac = network.router, "02:07:00:00:00:73"
    router.drop(drops.named("move", 1), drops.vm("mover", mac, "10.7.0.73"))
    router.drop(drops.named("move", 2), drops.vm("mover", mac, "10.7.0.74"))
    assert answers(client, "mover") == ["10.7.0.74"]
    found = offer(client, mac)
    assert found
    assert found["address"] == "10.7.0.74"
    assert "10.7.0.73" not in router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    router.drop(drops.named("move", 3), drops.vm("stranger", "02:07:00:00:00:7f", "10.7.0.79", remove=True))
    assert answers(client, "mover") == ["10.7.0.74"]
    router.drop(drops.named("move", 4), drops.vm("mover", mac, "10.7.0.74", remove=True))
    assert answers(client, "mover") == []
    assert answers(client, "web") == ["10.7.0.11"]


def test_two_nics_with_one_name_are_two_entries(network: Isolated, client: Host) -> None:
    """F5: the key is the MAC."""
    router, first, second = network.router, "02:07:00:00:00:75", "02:07:00:00:00:76"
    states.change(router, drops.vm("twin", first, "10.7.0.75"), drops.vm("twin", second, "10.7.0.76", default=False))
    found = [offer(client, mac) for mac in (first, second)]
    assert [each["address"] for each in found if each] == ["10.7.0.75", "10.7.0.76"]
    gone = drops.vm("twin", first, "10.7.0.75", remove=True), drops.vm("twin", second, "10.7.0.76", remove=True)
    states.change(router, *gone)


NAMES = {
    "web": ["10.7.0.11"],
    "web.lab.internal": ["10.7.0.11"],
    "db.lab.internal": ["10.7.0.12"],
    "data-server": [ROUTER],
    "data-server.lab.internal": [ROUTER],
    "nobody.lab.internal": [],
    "outside.example": ["198.18.99.99"],
}


@pytest.mark.parametrize("name", NAMES)
def test_dns_knows_the_vms_and_asks_others_for_the_rest(client: Host, name: str) -> None:
    assert answers(client, name) == NAMES[name]


PRIVATE = ("99.0.7.10", "1.0.168.192", "7.3.16.172", "9.9.64.100", "1.1.254.169", "77.5.7.10")
"""Addresses without a VM, as the first labels of their reverse names: of the guest networks, and of others."""


@pytest.mark.parametrize("kind", ["PTR", "TXT", "SOA"])
def test_nobody_outside_is_asked_who_has_a_private_address(client: Host, kind: str) -> None:
    """NXDOMAIN, and at once: what logs the names of its peers waits for it, and a public resolver would learn them."""
    for address in PRIVATE:
        found = dns_query(client, ROUTER, f"{address}.in-addr.arpa", kind)
        assert (found.extra.get("code"), found.extra.get("answers")) == ("NXDOMAIN", []), address
    assert dns_query(client, ROUTER, "11.0.7.10.in-addr.arpa", "PTR").extra["answers"][0][3] == "web"
    public = dns_query(client, ROUTER, "8.8.8.8.in-addr.arpa", kind)
    assert public.extra["answers"], "the resolver is there, and was not asked"


def test_an_operators_resolver_is_asked_for_private_networks_of_others(network: Isolated, client: Host) -> None:
    """What `dhcp_dns_private_resolvers` writes; never for the router's own guest network."""
    router, path = network.router, "/etc/dnsmasq.servers"
    given = router.read(path)
    assert "rev-server=10.0.0.0/8\n" in given
    changed = given.replace("rev-server=10.0.0.0/8\n", f"rev-server=10.0.0.0/8,{RESOLVER}\n")
    try:
        router.shell(f"cat > {path} <<'end'\n{changed}end\nsystemctl restart dnsmasq")
        assert dns_query(client, ROUTER, "9.9.99.10.in-addr.arpa", "PTR").extra["answers"]
        for address in ("99.0.7.10", "1.0.168.192"):
            assert dns_query(client, ROUTER, f"{address}.in-addr.arpa", "PTR").extra["code"] == "NXDOMAIN"
    finally:
        router.shell(f"cat > {path} <<'end'\n{given}end\nsystemctl restart dnsmasq")


def said(name: str) -> dict[str, str]:
    """Return the options by which a client says its name: host name (RFC 2132), and FQDN in DNS encoding (RFC 4702)."""
    encoded = bytes((5, 0, 0, len(name))) + name.encode() + b"\x03lab\x08internal\0"
    return {"12": name.encode().hex(), "81": encoded.hex()}


@pytest.mark.parametrize("given", ["wpad", "ISATAP", "infinite"])
def test_a_vm_does_not_name_itself(network: Isolated, client: Host, given: str) -> None:
    """CERT VU#598349: who is called wpad gets the traffic of all; nor may it be so called by the management server."""
    router, mac, ip = network.router, "02:07:00:00:00:78", "10.7.0.78"
    answer = router.drop(drops.named(given, 1), drops.vm(given, mac, ip))
    assert (f"VM {ip}: the name {given} is not in DNS" in answer.stdout) == (given != "infinite")
    wanted = {"50": bytes((10, 7, 0, 78)).hex(), "54": bytes((10, 7, 0, 1)).hex()}
    for claimed in ("wpad", "isatap", "localhost", "other"):
        offers = dhcp(client, "discover", mac=mac, options=said(claimed))
        assert [found["address"] for found in offers] == [ip]
        acknowledged = dhcp(client, "request", mac=mac, options=said(claimed) | wanted)
        assert [found["kind"] for found in acknowledged] == ["ack"]
        asked = [f"{name}{tail}" for name in (given, claimed) for tail in ("", ".lab.internal")]
        known = [ip] if given == "infinite" else []
        assert {name: answers(client, name) for name in asked} == {
            name: known if name.startswith(given) else [] for name in asked
        }
    assert f"{mac} {ip}" in leases(router)
    router.drop(drops.named(given, 2), drops.vm(given, mac, ip, remove=True))


def searched(client: Host) -> list[str]:
    """Return the search list that a VM is offered (option 119)."""
    (found,) = dhcp(client, "discover", mac=WEB)
    data, at, domains = bytes.fromhex(found.get("option_119", "")), 0, []
    while at < len(data):
        name, at = read_name(data, at)
        domains.append(name)
    return domains


def test_a_search_list_is_sent_as_far_as_it_fits_and_the_rest_is_told(network: Isolated, client: Host) -> None:
    """dnsmasq sends none when it is too long, and says so in its log alone; how much fits it is asked itself."""
    router = network.router
    words = dict(word.split("=", 1) for word in (DIRECTORY / "cmdline.txt").read_text(encoding="utf-8").split())
    domains = [f"{city}.corp.example-{number}.com" for number, city in enumerate(("frankfurt", "amsterdam", "x") * 10)]
    answer = router.drop(
        "cmd_line.json", {"type": "cmdline", "cmd_line": {**words, "dnssearchorder": ",".join(domains)}}
    )
    sent = searched(client)
    assert sent == domains[: len(sent)]
    judged = [
        router.exec(
            "dnsmasq", "--test", "--conf-file=/dev/null", f"--dhcp-option=119,{','.join(domains[:n])}", check=False
        )
        for n in (len(sent), len(sent) + 1)
    ]
    assert [found.returncode == 0 for found in judged] == [True, False]
    told = f"search list: option 119 holds {len(sent)} of 30 domains, without {domains[len(sent)]}"
    assert told in answer.stdout
    assert any(told in line for line in states.record(router, "cmd_line.json")["warnings"])
    router.drop("cmd_line.json", {"type": "cmdline", "cmd_line": words})
    assert searched(client) == []


def test_dnsmasq_takes_every_line_that_it_is_given(network: Isolated, client: Host) -> None:
    """The ends of what a drop may say: what it refuses while it rereads a file it only tells its log."""
    router = network.router
    names = ("a" * 63, "0x1f", "12h-", "1-2", "11-22-33-44-55-66", "ab12cd34ef56", "IGNORE", "7", "set", "id", "x--y")
    machines = [(f"{name}z" if name.endswith("-") else name, f"02:07:00:00:04:{n:02x}", f"10.7.0.{120 + n}")
                for n, name in enumerate(names)]  # fmt: skip
    lease_times = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
    states.change(router, *(drops.vm(*vm, lease_time=lease_times[n % 5]) for n, vm in enumerate(machines)))
    found = {mac: offer(client, mac) for _name, mac, _ip in machines}
    assert {mac: each and each["address"] for mac, each in found.items()} == {mac: ip for _name, mac, ip in machines}
    assert all(answers(client, name) == [ip] for name, _mac, ip in machines)
    lines = router.facts.journal("--unit", "dnsmasq").splitlines()
    assert not [line for line in lines if re.search(r"\bbad\b|duplicate|invalid|cannot|too long|error", line, re.I)]
    states.change(router, *(drops.vm(*vm, remove=True) for vm in machines))


def test_it_listens_on_guest_addresses_only(network: Isolated) -> None:
    """F14, F15: nobody else's port 53 is taken."""
    listeners = network.router.facts.listeners()
    assert {address for _protocol, address, port in listeners if port == 53} == {ROUTER, "10.7.5.1"}


def test_a_hundred_vms_at_once_lose_no_query_and_restart_nothing(network: Isolated, client: Host) -> None:
    """A16, F12: dnsmasq goes on as the same process, and data-server is still known."""
    router = network.router
    machines = [(f"vm{i}", f"02:07:00:00:01:{i:02x}", f"10.7.0.{100 + i}") for i in range(100)]
    before = router.facts.unit("dnsmasq")
    with Asking(client, ROUTER, ("web.lab.internal", "data-server"), patience=4.0) as asking:
        states.change(router, *(drops.vm(*machine) for machine in machines))
        number = 0
        while number < 3 or asking.count <= 100:
            vm = drops.vm(f"q{number}", f"02:07:00:00:02:{number:02x}", f"10.7.0.{200 + number}")
            router.drop(drops.named("quick", number), vm)
            number += 1
    assert asking.count > 100
    assert asking.lost == 0
    assert router.facts.unit("dnsmasq") == before
    assert answers(client, "data-server") == [ROUTER]
    assert answers(client, "vm99") == ["10.7.0.199"]
    found = offer(client, "02:07:00:00:01:63")
    assert found
    assert found["address"] == "10.7.0.199"
    gone = [drops.vm(*machine, remove=True) for machine in machines]
    states.change(
        router, *gone, *(drops.vm(f"q{n}", f"02:07:00:00:02:0{n}", f"10.7.0.20{n}", remove=True) for n in range(3))
    )
    assert answers(client, "vm99") == []
    assert router.facts.unit("dnsmasq") == before
