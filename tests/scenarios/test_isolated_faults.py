# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Killed at any instant, full disks, damaged databags, ten commands at once: the old state or the new, never a mix."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.lab import Lab
from tests.lab.router import CACHE, Router
from tests.scenarios import drops, networks, shared, states
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


def toggle(on: bool) -> bytes:
    """Return an aggregate that changes six databags and four services, or takes that back: data go with their VM."""
    bodies = (
        drops.alias("10.7.77.1", 2, revoke=not on),
        drops.forward("192.0.2.20", (7000, 7009), "10.7.0.77", revoke=not on),
        drops.ingress(700, "192.0.2.20", ports=(7000, 7009), revoked=not on),
        drops.vm("new", "02:07:00:00:00:77", "10.7.0.77", remove=not on),
    )
    if on:
        bodies += (shared.data("10.7.0.77", b"#!/bin/sh\n", vm_id="77"), shared.password("10.7.0.77", "pw"))
    return states.aggregate((f"{i}.json", json.dumps(body).encode()) for i, body in enumerate(bodies))


def start(router: Router, command: str) -> subprocess.Popen[str]:
    """Start a command of the router and return at once."""
    words = [*router.enter(120), "sh", "-c", f"/opt/cloud/bin/{command}"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Runs on the router, where no process of the machine is seen; the words come on standard input, not as arguments.
KILLER = """
import glob, os, signal, sys
words, killed = sys.stdin.read().split(), 0
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        line = open(path).read()
        if any(word in line for word in words):
            os.kill(int(path.split("/")[2]), signal.SIGKILL)
            killed += 1
    except (FileNotFoundError, ProcessLookupError):
        pass
print(killed)
"""


def kill(router: Router, words: tuple[str, ...]) -> int:
    """Kill, with no chance to clean up, the router's processes whose command lines have one of the words."""
    done = router.exec("/usr/bin/python3", "-IS", "-c", KILLER, stdin=" ".join(words))
    return int(done.stdout)


# Ansible started for this converge, and forked from the resident parent: who does the work.
RUNS = {"cold": "ansible-playbook", "warm": "vr-converged"}
COMMAND = "vr_cfg.sh"
INSTANTS = 9


@pytest.mark.parametrize("run", RUNS)
def test_killed_at_any_instant_it_is_the_old_router_or_the_new_one(router: Router, run: str) -> None:
    """After each kill a converge without a drop undoes or finishes; sending the aggregate again then succeeds.

    By turns all is killed, the converge alone, and the command alone, whose converge goes on.
    """
    router.exec("systemctl", "start" if run == "warm" else "stop", "cloudstack-converge.socket")
    router.exec("systemctl", "restart" if run == "warm" else "stop", "cloudstack-converge.service")
    victims = ((RUNS[run], COMMAND), (RUNS[run],), (COMMAND,))
    worlds, duration = measure(router, run)
    is_on, undone, killed = True, 0, 0
    for instant in range(INSTANTS):
        name = f"VR-{run}-{instant}.cfg"
        router.send(name, toggle(on=not is_on))
        process = start(router, f"vr_cfg.sh -c {CACHE}/{name}")
        time.sleep(duration * (instant + 1) / INSTANTS)
        killed += kill(router, victims[instant % len(victims)])
        process.communicate()
        states.repaired(router)
        found = states.databags(router)
        now_on = found == worlds[True][1]
        assert now_on or found == worlds[False][1], f"instant {instant}: mixed databags"
        states.assert_same(worlds[now_on][0], states.state(router))
        undone += now_on == is_on
        if router.exists(f"{CACHE}/{name}"):
            router.command(f"vr_cfg.sh -c {CACHE}/{name}")
        is_on = not is_on
        assert states.databags(router) == worlds[is_on][1], f"instant {instant}: {name} is lost"
    assert killed >= INSTANTS
    assert undone >= 1, "no kill came before the commit: the instants are wrong"
    assert not is_on
    router.exec("systemctl", "start", "cloudstack-converge.socket", "cloudstack-converge.service")


World = tuple[list[str], dict[str, str]]


def measure(router: Router, run: str) -> tuple[dict[bool, World], float]:
    """Toggle thrice; return what the router is then, on and off, and the seconds of the quickest.

    What another load on the machine adds would put every kill behind the commit.
    """
    worlds, durations = {}, []
    for number, on in enumerate((True, False, True)):
        router.send(f"VR-{run}-whole-{number}.cfg", toggle(on=on))
        durations.append(router.command(f"vr_cfg.sh -c {CACHE}/VR-{run}-whole-{number}.cfg").seconds)
        worlds[on] = (states.state(router), states.databags(router))
    return worlds, min(durations)


@pytest.mark.parametrize("seconds", [0.15, 0.35])
def test_power_cut_while_converging(router: Router, seconds: float) -> None:
    """The router that comes back is whole, without anybody's help, and the drop is applied or still there.

    podman kills systemd a moment before the rest, so a converge may see it gone: it then refuses the drop, which is
    kept as failed, with the reason, like any other.
    """
    off_bags = states.databags(router)
    name = f"VR-power{seconds}.cfg"
    router.send(name, toggle(on=True))
    process = start(router, f"vr_cfg.sh -c {CACHE}/{name}")
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
        router.send(name, toggle(on=True))
        router.command(f"vr_cfg.sh -c {CACHE}/{name}")
    assert "10.7.77.1/24" in router.facts.addresses("eth0")
    router.send(f"off-{name}", toggle(on=False))
    router.command(f"vr_cfg.sh -c {CACHE}/off-{name}")
    assert states.databags(router) == off_bags


@contextmanager
def full(router: Router, directory: str) -> Iterator[None]:
    """Let a directory be on a disk of its own without a free byte."""
    aside = f"/root/aside{directory.replace('/', '-')}"
    router.shell(
        f"cp -a {directory} {aside} && mount -t tmpfs -o size=512k,mode=700 tmpfs {directory}"
        f" && cp -a {aside}/. {directory}/"
    )
    router.shell(f"head -c 1m /dev/zero > {directory}/junk", check=False)
    try:
        yield
    finally:
        router.shell(f"rm -f {directory}/junk && rm -rf {aside} && cp -a {directory} {aside} && umount {directory}")
        router.shell(f"find {directory} -mindepth 1 -delete && cp -a {aside}/. {directory}/ && rm -r {aside}")


@pytest.mark.parametrize("directory", ["/etc/cloudstack", "/var/lib/cloudstack", "/var/cache/cloud"])
def test_a_full_disk_is_an_error_and_the_old_state_stands(router: Router, directory: str) -> None:
    before, databags = states.state(router), states.databags(router)
    name = drops.named("full", len(directory))
    body = drops.ingress(700, "192.0.2.20", ports=(7000, 7009))
    with full(router, directory):
        if directory == CACHE:
            # The file cannot be copied as a whole, and the command is run all the same (contract.md).
            router.shell(f"echo '{json.dumps(body)}' > {CACHE}/{name}", check=False)
            answer = router.command(f"update_config.py {name}", check=False)
        else:
            answer = router.drop(name, body, check=False)
        assert answer.returncode == 1, answer
        assert answer.stderr.count("\n") == 1, answer
        assert FULL in answer.stderr or directory == CACHE, answer
        assert states.databags(router) == databags
        states.assert_same(before, states.state(router))
    router.drop(drops.named("room", len(directory)), body)
    router.drop(drops.named("again", len(directory)), {**body, "rules": [{**body["rules"][0], "revoked": True}]})
    states.assert_same(before, states.state(router))


def test_a_drop_that_cannot_be_archived_is_not_committed(router: Router) -> None:
    """The reason is the whole reason, and the name does not count as taken."""
    before, databags = states.state(router), states.databags(router)
    name = drops.named("archive", 1)
    with full(router, f"{CACHE}/processed"):
        answer = router.drop(name, drops.ingress(700, "192.0.2.20", ports=(7000, 7009)), check=False)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert FULL in answer.stderr
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


def test_ten_commands_at_once_are_all_applied(router: Router) -> None:
    """N10: each waits for the others, and none is lost."""
    before = states.state(router)
    ports = range(7000, 7010)
    for port in ports:
        router.send(f"at-once-{port}.json", drops.forward("192.0.2.20", (port, port), "10.7.0.11"))
    running = [start(router, f"update_config.py at-once-{port}.json") for port in ports]
    ended = [(process.communicate(), process.returncode) for process in running]
    assert [status for _output, status in ended] == [0] * len(ports), ended
    forwards = json.loads(router.read(f"{states.DATABAGS}/forwardingrules.json"))
    assert {rule["public_ports"] for rule in forwards["192.0.2.20"]} >= {f"{port}:{port}" for port in ports}
    states.change(router, *(drops.forward("192.0.2.20", (port, port), "10.7.0.11", revoke=True) for port in ports))
    states.assert_same(before, states.state(router))
