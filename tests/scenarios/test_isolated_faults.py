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
from tests.lab.lab import Lab
from tests.lab.router import CACHE, Router
from tests.scenarios import drops, networks, states
from tests.scenarios.networks import FIXTURES

DIRECTORY = FIXTURES / "isolated"
FULL = "No space left on device"


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Return the router of the fixtures' isolated network, with all its drops applied."""
    with Lab("faults") as lab:
        network = networks.fixture_network(lab)
        network.router.wait_boot()
        states.apply_together(network.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
        yield network.router


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
