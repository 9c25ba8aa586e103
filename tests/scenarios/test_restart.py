# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A router that the management server stops and starts, with two forwards revoked meanwhile, and one that reboots."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future
from typing import Any

from tests.lab.host import Host
from tests.lab.probes import Answer, ask, dhcp_lease, tcp
from tests.lab.router import CACHE, Router
from tests.scenarios import drops, states
from tests.scenarios.networks import FIXTURES, INTERNET, Isolated

DIRECTORY = FIXTURES / "isolated"
ARGUMENTS = (DIRECTORY / "cmdline.txt").read_text(encoding="utf-8")
REVOKED = (("192.0.2.20", 2222), ("192.0.2.21", 80))
KEPT = ("192.0.2.20", 8000)
WEB_MAC = "02:07:00:00:00:0b"
LEASES = "/var/lib/misc/dnsmasq.leases"
FORMER = "/var/lib/cloudstack/former"


class Knocking:
    """Try to open connections from a host of the internet, forty times per second, from entering a block to its end."""

    def __init__(self, host: Host, *targets: tuple[str, int]) -> None:
        self._probe, self._targets = host.probe, targets
        self._tried: list[Future[Answer]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._knock)

    def __enter__(self) -> Knocking:
        """Begin."""
        self._thread.start()
        return self

    def _knock(self) -> None:
        while not self._stop.wait(0.05):
            for address, port in self._targets:
                self._tried.append(self._probe.submit("tcp", dst=address, port=port, timeout=0.5, source_port=0))

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    @property
    def answered(self) -> list[Answer]:
        """Return what was answered."""
        return [answer for answer in (future.result(30) for future in self._tried) if answer.get("server")]


def wanted() -> list[tuple[str, bytes]]:
    """Return what the server sends at the start: everything but the two forwards that were revoked."""
    sent = []
    for drop in states.ordered(DIRECTORY):
        body: dict[str, Any] = json.loads((DIRECTORY / drop).read_bytes())
        if body["type"] == "forwardrules":
            body["rules"] = [rule for rule in body["rules"] if not is_revoked(rule)]
        if body["type"] != "vmpassword" and body.get("rules") != []:
            sent.append((drop.split("-", 1)[1] + ".again", json.dumps(body).encode()))
    return sent


def is_revoked(rule: dict[str, Any]) -> bool:
    return any((rule["source_ip_address"], rule["source_port_range"]) == (ip, f"{port}:{port}") for ip, port in REVOKED)


def is_open(network: Isolated, target: tuple[str, int]) -> bool:
    return bool(ask(network.internet[INTERNET], tcp(*target)).server)


def forwards(router: Router) -> set[str]:
    """Return the public ports of the forwards in force."""
    bag = json.loads(router.read(f"{states.DATABAGS}/forwardingrules.json"))
    return {rule.get("public_ports", "") for key, rules in bag.items() if key != "id" for rule in rules}


def test_what_was_revoked_while_it_was_stopped_is_closed_from_the_first_moment(isolated: Isolated) -> None:
    """The start is boot arguments, two single drops, and one aggregate: no later part takes an earlier one away."""
    router = isolated.router
    assert all(is_open(isolated, target) for target in (*REVOKED, KEPT))
    assert dhcp_lease(isolated.vms["web"], mac=WEB_MAC) is not None
    assert WEB_MAC in router.read(LEASES)
    waiting = router.exec("ls", "/var/lib/cloudstack-passwords/waiting").stdout
    assert waiting
    router.stop()
    with Knocking(isolated.internet[INTERNET], *REVOKED) as knocking:
        router.start()
        while not router.exists("/run/cloudstack/closed"):
            time.sleep(0.05)
        time.sleep(2)
        router.bring_arguments(ARGUMENTS)
        assert router.exists(f"{states.DATABAGS}/.start.json")
        assert WEB_MAC in router.read(LEASES), "no drop says who has a lease"
        single = [
            drops.ingress(901, "192.0.2.20", ports=(9100, 9100)),
            drops.forward("192.0.2.20", (9100, 9100), "10.7.0.11"),
        ]
        for number, drop in enumerate(single):
            router.drop(drops.named(drop["type"], 910 + number), drop)
        router.send("VR-start.cfg", states.aggregate(wanted()))
        router.command(f"vr_cfg.sh -c {CACHE}/VR-start.cfg")
        assert is_open(isolated, KEPT)
        time.sleep(0.5)
    assert knocking.answered == []
    assert is_open(isolated, ("192.0.2.20", 9100))
    assert not {"2222:2222", "80:80"} & forwards(router)
    assert router.exec("ls", "/var/lib/cloudstack-passwords/waiting").stdout == waiting
    assert states.repaired(router) == []


def test_the_former_databags_are_set_aside_for_people(isolated: Isolated) -> None:
    router = isolated.router
    (folder,) = router.exec("ls", FORMER).stdout.split()
    assert "2222:2222" in router.read(f"{FORMER}/{folder}/forwardingrules.json")
    assert router.exec("find", FORMER, "-perm", "/077").stdout == ""


def test_the_same_arguments_once_more_take_nothing_away(isolated: Isolated) -> None:
    router = isolated.router
    before = states.databags(router)
    router.bring_arguments(ARGUMENTS)
    assert states.databags(router) == before
    assert len(router.exec("ls", FORMER).stdout.split()) == 1


def test_a_reboot_from_inside_keeps_everything_and_serves_at_once(isolated: Isolated) -> None:
    router = isolated.router
    before = states.databags(router)
    router.reboot()
    assert states.databags(router) == before
    assert is_open(isolated, KEPT)
    assert not router.exists("/run/cloudstack/closed")
    assert "waiting" not in router.exec("journalctl", "-u", "cloudstack-boot", "--no-pager").stdout


def test_arguments_that_come_after_drops_of_their_boot_lose_none_of_them(isolated: Isolated) -> None:
    """The boot is that of the test before, in which nobody has written arguments yet."""
    router = isolated.router
    rules = [
        drops.ingress(902, "192.0.2.20", ports=(9105, 9105)),
        drops.forward("192.0.2.20", (9105, 9105), "10.7.0.11"),
    ]
    states.change(router, *rules, drops.vm("web", WEB_MAC, "10.7.0.11"))
    assert is_open(isolated, ("192.0.2.20", 9105))
    assert is_open(isolated, KEPT)
    router.bring_arguments(ARGUMENTS)
    assert forwards(router) == {"9105:9105"}
    assert is_open(isolated, ("192.0.2.20", 9105))
    assert not is_open(isolated, KEPT)
    router.send("VR-late.cfg", states.aggregate(wanted()))
    router.command(f"vr_cfg.sh -c {CACHE}/VR-late.cfg")
    assert is_open(isolated, ("192.0.2.20", 9105))
    assert is_open(isolated, KEPT)
    assert states.repaired(router) == []


def test_a_network_becomes_routed_and_is_told_what_is_not_built(isolated: Isolated) -> None:
    """The provider has a route to it; the VM is seen by its own address, and nothing comes in."""
    router, provider, web = isolated.router, isolated.gateways["eth2"], isolated.vms["web"]
    provider.probe.serve(tcp=(443,), udp=())
    provider.add_route("10.7.0.0/24", "192.0.2.20")
    assert ask(web, tcp("192.0.2.1", 443)).seen_from in ("192.0.2.20", "192.0.2.22")
    router.bring_arguments(f"{ARGUMENTS.strip()} is_routed=true userdata=H4sI")
    told = states.record(router, "cmd_line.json")["warnings"]
    assert [line.partition(": ")[0] for line in told] == ["routed mode translates nothing", "not built yet"]
    assert "192.0.2.20" in told[0], "its forwards have no effect, and are named"
    assert "userdata" in told[1]
    assert ask(web, tcp("192.0.2.1", 443)).seen_from == "10.7.0.11"
    assert not ask(provider, tcp("10.7.0.11", 22)).server
    assert not is_open(isolated, KEPT)
    answer = router.drop(drops.named("vm_dhcp_entry", 950), drops.vm("web", WEB_MAC, "10.7.0.11"))
    assert "warning: not built yet: userdata" in answer.stdout
    assert "warning: not built yet: userdata" in router.read("/var/log/cloudstack/router.log")
