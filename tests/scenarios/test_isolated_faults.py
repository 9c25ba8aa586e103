# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Killed at any instant, full disks, damaged databags, ten commands at once: the old state or the new, never a mix."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.chaos import kills
from tests.lab import probes
from tests.lab.lab import Lab
from tests.lab.router import CACHE, Router
from tests.scenarios import closed, drops, networks, states
from tests.scenarios.networks import FIXTURES, INTERNET, Isolated

DIRECTORY = FIXTURES / "isolated"
FULL = "No space left on device"


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the fixtures' isolated network, with all its drops applied."""
    with Lab("faults") as lab:
        made = networks.fixture_network(lab)
        made.router.wait_boot()
        states.apply_together(made.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
        yield made


@pytest.fixture(scope="module")
def router(network: Isolated) -> Router:
    """Return the network's router."""
    return network.router


SEED = 20260101
KILLS = 8


@pytest.mark.parametrize("run", kills.RUNS)
def test_killed_at_any_instant_it_is_the_old_router_or_the_new_one(router: Router, run: str) -> None:
    """`python -m tests.chaos` kills more often."""
    *_earlier, tally = kills.campaign(router, run, KILLS, Random(SEED))
    assert tally.problems == []
    assert tally.kills >= KILLS // 2
    assert tally.undone >= 1, "no kill came before the commit: the instants are wrong"


@pytest.mark.parametrize("seconds", [0.15, 0.35])
def test_power_cut_while_converging(router: Router, seconds: float) -> None:
    """The router that comes back is whole, without anybody's help, and the drop is applied or still there.

    podman kills systemd a moment before the rest, so a converge may see it gone: it then refuses the drop, which is
    kept as failed, with the reason, like any other.
    """
    off_bags = states.databags(router)
    name = f"VR-power{seconds}.cfg"
    router.send(name, kills.toggle(on=True))
    process = kills.start(router, f"vr_cfg.sh -c {CACHE}/{name}")
    time.sleep(seconds)
    router.power_off()
    process.communicate()
    router.start()
    router.wait_boot()
    assert states.repaired(router) == []
    if states.databags(router) == off_bags:
        kept = [path for path in (f"{CACHE}/{name}", f"{CACHE}/failed/{name}") if router.exists(path)]
        assert len(kept) == 1, kept
        assert router.exists(f"{kept[0]}.reason") is ("/failed/" in kept[0])
        router.send(name, kills.toggle(on=True))
        router.command(f"vr_cfg.sh -c {CACHE}/{name}")
    assert "10.7.77.1/24" in router.facts.addresses("eth0")
    router.send(f"off-{name}", kills.toggle(on=False))
    router.command(f"vr_cfg.sh -c {CACHE}/off-{name}")
    assert states.databags(router) == off_bags


# How a disk is when it is broken: options of the mount, how it comes to be so, and what is said about it then.
BROKEN = {
    "without a byte": ("size=2m", "head -c 4m /dev/zero > {}/junk", FULL),
    "without an inode": ("nr_inodes=400", 'while : > "{}/junk$((n+=1))"; do :; done', FULL),
    "read-only": ("size=4m", "mount -o remount,ro {}", "Read-only file system"),
}


@contextmanager
def broken(router: Router, directory: str, how: str) -> Iterator[None]:
    """Let a directory be on a disk of its own that is broken; what it has at the end stays."""
    aside = f"/root/aside{directory.replace('/', '-')}"
    options, breaking, _said = BROKEN[how]
    router.shell(
        f"cp -a {directory} {aside} && mount -t tmpfs -o {options},mode=700 tmpfs {directory}"
        f" && cp -a {aside}/. {directory}/"
    )
    router.shell(breaking.format(directory), check=False)
    try:
        yield
    finally:
        router.shell(f"rm -rf {aside}; mount -o remount,rw {directory}; rm -f {directory}/junk*")
        router.shell(f"cp -a {directory} {aside} && umount {directory}")
        router.shell(f"find {directory} -mindepth 1 -delete && cp -a {aside}/. {directory}/ && rm -r {aside}")


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("directory", ["/etc/cloudstack", "/var/lib/cloudstack", "/var/cache/cloud"])
def test_a_broken_disk_is_an_error_and_the_old_state_stands(router: Router, directory: str, how: str) -> None:
    before, databags = states.state(router), states.databags(router)
    number = len(directory) + list(BROKEN).index(how) * 100
    name = drops.named("broken", number)
    body = drops.ingress(700, "192.0.2.20", ports=(7000, 7009))
    with broken(router, directory, how):
        if directory == CACHE:
            # The file cannot be copied as a whole, and the command is run all the same (contract.md).
            router.shell(f"echo '{json.dumps(body)}' > {CACHE}/{name}", check=False)
            answer = router.command(f"update_config.py {name}", check=False)
        else:
            answer = router.drop(name, body, check=False)
        assert answer.returncode == 1, answer
        assert answer.stderr.count("\n") == 1, answer
        assert BROKEN[how][2] in answer.stderr or directory == CACHE, answer
        assert states.databags(router) == databags
        states.assert_same(before, states.state(router))
    router.drop(drops.named("room", number), body)
    router.drop(drops.named("again", number), {**body, "rules": [{**body["rules"][0], "revoked": True}]})
    states.assert_same(before, states.state(router))


@pytest.mark.parametrize("how", BROKEN)
def test_a_drop_that_cannot_be_archived_is_not_committed(router: Router, how: str) -> None:
    """The reason is the whole reason, and the name does not count as taken."""
    before, databags = states.state(router), states.databags(router)
    name = drops.named("archive", list(BROKEN).index(how))
    with broken(router, f"{CACHE}/processed", how):
        answer = router.drop(name, drops.ingress(700, "192.0.2.20", ports=(7000, 7009)), check=False)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert BROKEN[how][2] in answer.stderr
    assert "previous state" not in answer.stderr
    assert router.read(f"{CACHE}/failed/{name}.reason").strip() == answer.stderr.strip()
    assert router.command(f"update_config.py {name}", check=False).returncode == 1
    assert states.databags(router) == databags
    states.assert_same(before, states.state(router))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"id": "firewallrules", "eth0": '])
def test_a_damaged_databag_is_named_and_not_emptied(router: Router, damage: str) -> None:
    path = f"{states.DATABAGS}/firewallrules.json"
    good, before = router.read(path), states.state(router)
    router.put(path, damage, 0o600)
    name = drops.named("damaged", len(damage))
    answer = router.drop(name, drops.vm("new", "02:07:00:00:00:77", "10.7.0.77"), check=False)
    left = router.read(path)
    router.put(path, good, 0o600)
    assert answer.returncode == 1, answer
    assert answer.stderr.count("\n") == 1
    assert "firewallrules.json" in answer.stderr
    assert left == damage
    states.assert_same(before, states.state(router))
    assert states.repaired(router) == []


@pytest.mark.parametrize("journal", ["", "\0\0\0\0", "{", '{"bags": 7}', "[]"])
def test_a_damaged_journal_needs_nobody(router: Router, journal: str) -> None:
    """It is renamed into place whole, so this is a broken disk; that it is there says that what is staged is whole."""
    before = states.state(router)
    router.put(f"{states.DATABAGS}/.journal", journal, 0o600)
    router.drop(drops.named("journal", len(journal)), drops.ingress(700, "192.0.2.20"))
    assert not router.exists(f"{states.DATABAGS}/.journal")
    router.drop(drops.named("journal-gone", len(journal)), drops.ingress(700, "192.0.2.20", revoked=True))
    assert states.repaired(router) == []
    states.assert_same(before, states.state(router))


AT_ONCE = 50


def test_fifty_commands_at_once_each_get_their_own_result(router: Router) -> None:
    """N10: each waits for the others, none is lost, and every fifth is wrong and hears why."""
    before = states.state(router)
    names = {f"at-once-{port}.json": port for port in range(7000, 7000 + AT_ONCE)}
    for name, port in names.items():
        good = drops.forward("192.0.2.20", (port, port), "10.7.0.11")
        router.send(name, {**good, "rules": port} if port % 5 == 0 else good)
    running = {name: kills.start(router, f"update_config.py {name}") for name in names}
    said = {name: (*process.communicate(), process.returncode) for name, process in running.items()}
    for name, port in names.items():
        out, error, status = said[name]
        reason = f"{name}: rules: expected a list, got {port}"
        assert (status, error) == ((1, f"{reason}\n") if port % 5 == 0 else (0, "")), said[name]
        assert out.startswith(f"{name}: firewall") or port % 5 == 0, out
        result = states.record(router, name)
        assert (result["name"], result["reason"]) == (name, reason if port % 5 == 0 else None)
    forwards = json.loads(router.read(f"{states.DATABAGS}/forwardingrules.json"))["192.0.2.20"]
    taken = [port for port in names.values() if port % 5]
    assert {rule["public_ports"] for rule in forwards} >= {f"{port}:{port}" for port in taken}
    states.change(router, *(drops.forward("192.0.2.20", (port, port), "10.7.0.11", revoke=True) for port in taken))
    states.assert_same(before, states.state(router))


def switch_off(router: Router) -> None:
    """Let a running router be as before its boot: no links, and no filter."""
    router.shell("systemctl stop cloudstack-boot.path cloudstack-boot.service")
    router.shell("for nic in eth0 eth1 eth2 eth3 eth4; do ip link set $nic down; ip address flush dev $nic; done")
    router.shell("nft flush ruleset; rm -f /run/cloudstack/ruleset-generation; journalctl --rotate --vacuum-time=1s")


def switch_on(router: Router) -> None:
    """Let the boot end that was kept from loading its filter."""
    router.exec("systemctl", "restart", "cloudstack-boot.service")
    router.shell("systemctl start cloudstack-boot.path; rm -rf /var/lib/cloudstack/nftables/*.aside-* /whole.nft")


@pytest.mark.parametrize("damage", closed.DAMAGES)
def test_a_damaged_ruleset_leaves_the_router_closed_until_a_converge_has_ended_well(
    network: Isolated, damage: str
) -> None:
    """Scanned from all sides, also with its links and addresses up: ssh on the control NIC, and nothing else."""
    router = network.router
    before = states.state(router)
    router.shell(closed.DAMAGES[damage])
    switch_off(router)
    with closed.Watch(network) as watch, closed.held(router):
        router.exec("systemctl", "restart", "cloudstack-firewall.service", check=False)
        router.exec("systemctl", "start", "--no-block", "cloudstack-boot.service")
        closed.boot_held(router)
        assert closed.heard(network) == closed.CLOSED
        assert "foreign" not in router.exec("nft", "list", "tables").stdout
    assert watch.found == []
    assert watch.asked > 20
    switch_on(router)
    states.assert_same(before, states.state(router))
    assert probes.tcp_connect(network.vms["web"], INTERNET, 443)


@pytest.mark.parametrize("damage", ["empty", "a directory"])
def test_a_reboot_with_a_damaged_ruleset(network: Isolated, damage: str) -> None:
    """Nobody helps; what is heard before its converge has ended is heard of a closed router."""
    router = network.router
    before = states.state(router)
    router.shell(closed.DAMAGES[damage])
    closed.hold(router)
    router.power_off()  # after a stop in good order it would be closed whatever the ruleset
    with closed.Watch(network) as watch:
        router.start()
        closed.boot_held(router)
        assert closed.heard(network) == closed.CLOSED
    assert watch.found == []
    closed.release(router)
    switch_on(router)
    router.wait_boot()
    states.assert_same(before, states.state(router))


def test_links_do_not_come_up_without_a_filter(network: Isolated) -> None:
    """Not even when the unit of the boot has loaded nothing, and nothing can be loaded but the closed ruleset."""
    router = network.router
    before = states.state(router)
    switch_off(router)
    with closed.Watch(network) as watch, closed.held(router):
        router.exec("systemctl", "start", "--no-block", "cloudstack-boot.service")
        closed.boot_held(router)
        assert closed.heard(network) == closed.CLOSED
    assert watch.found == []
    switch_on(router)
    states.assert_same(before, states.state(router))


def test_a_disk_that_fills_while_a_drop_is_applied(router: Router) -> None:
    """The kernel has taken the ruleset, and there is no room to save it: the old one is put back, and the reason told.

    A rule of 2,000 networks is longer in the ruleset than the room that is left.
    """
    before, databags = states.state(router), states.databags(router)
    name, disk = drops.named("filling", 1), "/var/lib/cloudstack/nftables"
    cidrs = [f"10.{number // 200}.{number % 200}.0/25" for number in range(2000)]
    body = drops.ingress(700, "192.0.2.20", ports=(7000, 7009), cidrs=cidrs)
    with small(router, disk):
        answer = router.drop(name, body, check=False)
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer
        assert answer.stderr.startswith(f"{name}: ")
        assert FULL in answer.stderr
        assert "putting the previous state back failed" not in answer.stderr
        assert states.databags(router) == databags
        states.assert_same(before, states.state(router))
        assert states.record(router, name)["reason"] == answer.stderr.strip()
        assert router.read(f"{CACHE}/failed/{name}.reason") == answer.stderr
    router.drop(name, body)
    router.drop(drops.named("filled", 1), {**body, "rules": [{**body["rules"][0], "revoked": True}]})
    states.assert_same(before, states.state(router))


@contextmanager
def small(router: Router, directory: str) -> Iterator[None]:
    """Let a directory be on a disk of its own with 24 KiB to spare; what it has at the end stays."""
    size = int(router.exec("du", "-s", "--block-size=1K", directory).stdout.split()[0]) + 24
    router.shell(f"cp -a {directory} /root/small && mount -t tmpfs -o size={size}k,mode=700 tmpfs {directory}")
    router.shell(f"cp -a /root/small/. {directory}/")
    try:
        yield
    finally:
        router.shell(f"rm -rf /root/small && cp -a {directory} /root/small && umount {directory}")
        router.shell(f"find {directory} -mindepth 1 -delete && cp -a /root/small/. {directory}/ && rm -r /root/small")
