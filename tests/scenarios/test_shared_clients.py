# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drops that the management server's own code wrote, and what clients see then; skipped where they are not kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import dhcp, dhcp_lease, tcp_connect, tcp_scan
from tests.lab.router import CACHE, Answer, Router
from tests.scenarios import states
from tests.scenarios.clients import CLIENTS, Told, dig, lease
from tests.scenarios.networks import SHARED_DROPS
from tests.scenarios.web import WebServer, curl, get, servers

if not SHARED_DROPS.is_dir():
    pytest.skip(f"the management server's drops are not in {SHARED_DROPS}", allow_module_level=True)

Vm = tuple[str, str]
"""Address and MAC of a VM."""

PUBLIC = ("public", "1e:00:2d:00:00:0a")


@dataclass(frozen=True)
class Net:
    """A router, and VMs of its guest network by name."""

    router: Router
    vms: Mapping[str, Host]

    def play(self, name: str) -> Iterator[Answer]:
        """Replay a directory, one command at a time."""
        return self.router.replay_steps(SHARED_DROPS / name)


@contextmanager
def network(
    cmdline: str, vms: Mapping[str, Vm], more_nics: Mapping[str, tuple[str, str]] | None = None
) -> Iterator[Net]:
    """Make a router with the boot arguments of the drops, and VMs on its first NIC; it has booted."""
    with Lab(f"shared-{cmdline}") as lab:
        nics = {"eth0": ("guest", lab.mac("guest")), "eth1": ("control", lab.mac("control")), **(more_nics or {})}
        for segment, _mac in nics.values():
            lab.segment(segment)
        hosts = {name: lab.host(name, "guest", f"{ip}/24", mac=mac) for name, (ip, mac) in vms.items()}
        router = lab.router("r1", (SHARED_DROPS / "cmdline" / f"{cmdline}.txt").read_text(encoding="utf-8"), nics)
        router.wait_boot()
        yield Net(router, hosts)


def take(steps: Iterator[Answer], count: int) -> None:
    """Let a number of commands run, no less."""
    assert len(list(islice(steps, count))) == count


def finish(net: Net, steps: Iterator[Answer]) -> None:
    """Let the commands that are left run; then there is nothing left to converge."""
    assert list(steps)
    assert states.repaired(net.router) == []


ROUTER, ALIAS, RESOLVERS, DOMAIN = "10.30.0.5", "10.30.1.5", "203.0.113.53 203.0.113.54", "cs2cloud.internal"
MEMBERS = {
    "sh01": ("10.30.0.11", "02:01:00:00:0b:c3"),
    "sh02": ("10.30.0.12", "02:01:00:00:0b:c4"),
    "sh03": ("10.30.1.13", "02:01:00:00:0b:c5"),
    "sh04": ("10.30.0.14", "02:01:00:00:0b:c6"),
}


def own(name: str) -> str:
    """Return the router's address in the subnet of a VM."""
    return ALIAS if MEMBERS[name][0].startswith("10.30.1.") else ROUTER


def data(net: Net, name: str, path: str) -> str:
    """Return what a VM of the shared network reads; empty if it is nothing, or not there."""
    return net.vms[name].run("curl", "-s", "-f", "-m", "5", f"http://{own(name)}/latest/{path}", check=False).stdout


def password(net: Net, name: str) -> str:
    """Return the password that waits for a VM, and say that it has arrived."""
    ask = ("curl", "-s", "-m", "5", f"http://{own(name)}:8080/", "-H")
    found = net.vms[name].run(*ask, "DomU_Request: send_my_password").stdout
    net.vms[name].run(*ask, "DomU_Request: saved_password")
    return found


def assert_members_are_served(net: Net, dns: str, path: Path, names: tuple[str, ...] = tuple(MEMBERS)) -> None:
    """Fail unless each VM gets its lease, of both clients, and its own metadata; `dns` is what follows the router."""
    for name in names:
        gateway = f"{own(name).rpartition('.')[0]}.1"
        for client in CLIENTS:
            expected = Told(MEMBERS[name][0], gateway, dns.format(own(name)), DOMAIN)
            assert lease(net.vms[name], client, path) == expected
        assert data(net, name, "meta-data/local-hostname") == name
        assert data(net, name, "vm-id") == f"5a0c0000-0000-4000-8000-0000000030{MEMBERS[name][0][-2:]}"


def test_a_shared_network(tmp_path: Path) -> None:
    """Two subnets on one NIC; then the second goes, with its VM."""
    with network("dhcpsrvr", MEMBERS) as net:
        steps = net.play("shared")
        take(steps, 13)
        assert_members_are_served(net, f"{{}} {RESOLVERS}", tmp_path, ("sh01", "sh02", "sh03"))
        assert dhcp_lease(net.vms["sh04"]) is not None
        for name in ("sh01", "sh03"):
            assert dig(net.vms[name], own(name), f"data-server.{DOMAIN}") == [own(name)]
            assert dig(net.vms[name], own(name), f"sh04.{DOMAIN}", "AAAA") == ["2001:db8:30::14"]
        assert data(net, "sh01", "user-data") == "#cloud-config\n{}\n"
        assert data(net, "sh01", "meta-data/public-keys").startswith("ssh-ed25519 ")
        assert (data(net, "sh02", "user-data"), data(net, "sh02", "public-keys")) == ("", "")
        assert [password(net, name) for name in ("sh01", "sh02", "sh03")] == [
            "q1W2e3R4",
            "saved_password",
            "alias-range-pw",
        ]
        assert [password(net, name) for name in ("sh01", "sh03")] == ["saved_password", "saved_password"]
        finish(net, steps)
        assert net.router.facts.addresses("eth0") == [f"{ROUTER}/24"]
        assert dhcp(net.vms["sh03"], "discover") == []
        assert dig(net.vms["sh01"], ROUTER, f"sh03.{DOMAIN}") == []
        assert dig(net.vms["sh01"], ROUTER, f"sh02.{DOMAIN}") == ["10.30.0.12"]
        assert not net.router.exists("/var/www/cloudstack/10.30.1.13")


def test_a_basic_network_with_external_dns(tmp_path: Path) -> None:
    """useextdns: clients are offered the resolvers outside and nothing else; the rest is as in a shared network."""
    directory = SHARED_DROPS / "basic"
    *first, _removal, _alias, _ranges, restart = states.ordered(directory)
    with network("dhcpsrvr-basic", MEMBERS) as net:
        states.apply_together(net.router, "VR-first.cfg", directory, first)
        assert_members_are_served(net, RESOLVERS, tmp_path, ("sh01", "sh03"))
        assert tcp_scan(net.vms["sh01"], ROUTER, (53, 80, 443, 8080))["open"] == [80, 443, 8080]
        net.router.send("VR-restart.cfg", (directory / restart).read_bytes())
        net.router.command(f"vr_cfg.sh -c {CACHE}/VR-restart.cfg")
        assert_members_are_served(net, RESOLVERS, tmp_path)
        assert states.repaired(net.router) == []


VMS = {
    "vm11": ("10.1.1.11", "02:01:00:00:00:0b"),
    "vm12": ("10.1.1.12", "02:01:00:00:00:0c"),
    "vm21": ("10.1.1.21", "02:01:00:00:00:15"),
}


@pytest.fixture(scope="module")
def isolated() -> Iterator[Net]:
    """Return an isolated network whose first two VMs are web servers; public addresses are asked from inside."""
    with network("router", VMS, {"eth2": PUBLIC}) as net:
        for vm in net.vms.values():
            vm.add_route("default", "10.1.1.1")
        with WebServer(net.vms["vm11"], (80,)), WebServer(net.vms["vm12"], (80, 8088)):
            yield net


def test_entries_that_move_and_change_their_names(isolated: Net) -> None:
    """F4, F8, F13: an address, a name and a lease time that change; the last drop has no IPv4 address."""
    client, first, second = (isolated.vms[name] for name in ("vm21", "vm11", "vm12"))
    steps = isolated.play("edge-dhcp")

    def told(vm: Host) -> tuple[str, int] | None:
        found = dhcp_lease(vm, timeout=2.0)
        return None if found is None else (found["address"], found["lease"])

    for count, expected in ((2, ("10.1.1.11", 2**32 - 1)), (1, ("10.1.1.61", 2**32 - 1))):
        take(steps, count)
        assert (told(first), told(second)) == (expected, None)
    take(steps, 1)
    assert (told(first), told(second)) == (None, ("10.1.1.61", 2**32 - 1))
    assert dig(client, "10.1.1.1", "vm-b") == ["10.1.1.61"]
    take(steps, 3)
    assert told(second) is None
    finish(isolated, steps)
    assert (told(first), told(second)) == (None, ("10.1.1.61", 3600))
    assert [dig(client, "10.1.1.1", name) for name in ("vm-a", "vm-b", "vm-b-renamed")] == [[], [], ["10.1.1.61"]]
    assert dig(client, "10.1.1.1", "vm-v6only", "AAAA") == ["2001:db8:a:1::13"]


URL, STATISTICS = "http://192.0.2.11", ("http://192.0.2.10:8081/admin?stats", "--user", "admin1:AdMiN123")


def connections(client: Host, url: str, *options: str) -> int:
    """Return how many connections curl makes for asking twice: one if the server keeps it open."""
    written = curl(client, url, *options, "-o", "/dev/null", url, *options, "-o", "/dev/null", "-w", "%{num_connects} ")
    return sum(map(int, written.split()))


def test_a_load_balancer_that_keeps_connections(isolated: Net) -> None:
    """G5: the options that the operator gives reach haproxy; round robin, and the page of statistics."""
    client = isolated.vms["vm21"]
    finish(isolated, isolated.play("lb-keepalive"))
    assert sorted(servers(client, URL, 4)) == ["vm11", "vm11", "vm12", "vm12"]
    assert "Statistics Report" in curl(client, *STATISTICS)
    assert connections(client, *STATISTICS) == 1


def test_statistics_on_every_rule(isolated: Net) -> None:
    client = isolated.vms["vm21"]
    finish(isolated, isolated.play("lb-stats-default"))
    assert "Statistics Report" in curl(client, f"{URL}/admin?stats", *STATISTICS[1:])
    assert sorted(servers(client, URL, 4)) == ["vm11", "vm11", "vm12", "vm12"]
    assert not tcp_connect(client, "192.0.2.10", 8081)


def test_options_do_not_leak_from_one_drop_into_the_next(isolated: Net) -> None:
    """The page of statistics closes its connections when it is told to, and only then."""
    client, steps = isolated.vms["vm21"], isolated.play("edge-lb-static-leak")
    found = []
    for count in (2, 1, 1):
        take(steps, count)
        found.append(connections(client, *STATISTICS))
        assert sorted(servers(client, URL, 2)) == ["vm11", "vm12"]
    assert found == [2, 1, 2]
    assert states.repaired(isolated.router) == []


def test_stickiness_by_the_applications_cookie(isolated: Net, tmp_path: Path) -> None:
    """G7: first as haproxy 1.5 knew it, then as a prefix of the cookie; the second rule goes."""
    client, steps = isolated.vms["vm21"], isolated.play("edge-lb-appcookie")

    def stays(name: str) -> bool:
        jar = str(tmp_path / name)
        given = get(client, f"{URL}/login", "--cookie-jar", jar)["server"]
        return set(servers(client, URL, 4, "--cookie", jar)) == {given}

    take(steps, 2)
    assert [stays(name) for name in "abc"] == [True] * 3
    assert servers(client, "http://192.0.2.11:8088", 2) == ["vm12", "vm12"]
    finish(isolated, steps)
    assert [stays(name) for name in "def"] == [True] * 3
    assert not tcp_connect(client, "192.0.2.11", 8088)


def test_an_internal_load_balancer() -> None:
    """Two rules, one of them sticky; one goes, then the other, and the page of statistics stays."""
    machines = {"db1": ("10.2.1.11", "02:02:00:00:00:0b"), "db2": ("10.2.1.12", "02:02:00:00:00:0c")}
    more = {"db3": ("10.2.1.21", "02:02:00:00:00:15"), "client": ("10.2.1.31", "02:02:00:00:00:1f")}
    balancer = "10.2.1.200"
    with network("ilbvm", machines | more) as net:
        client, steps = net.vms["client"], net.play("internal-lb")
        net.vms["db3"].probe.serve(tcp=(5432,))
        with WebServer(net.vms["db1"], (80,)), WebServer(net.vms["db2"], (80,)):
            take(steps, 1)
            assert sorted(servers(client, f"http://{balancer}", 4)) == ["db1", "db1", "db2", "db2"]
            assert {tcp_connect(client, balancer, 5432).server for _ in range(3)} == {"db3"}
            take(steps, 1)
            assert set(servers(client, f"http://{balancer}", 3)) == {"db1"}
            assert tcp_scan(client, balancer, (80, 5432, 8081))["open"] == [80, 8081]
            finish(net, steps)
            assert tcp_scan(client, balancer, (80, 5432, 8081))["open"] == [8081]
            assert "Statistics Report" in curl(client, f"http://{balancer}:8081/admin?stats", *STATISTICS[1:])
