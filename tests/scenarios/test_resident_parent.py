# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The resident parent: the same results with it, without it, and while it is being killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from tests.bench import drops, wiring
from tests.lab.lab import Lab
from tests.lab.process import wait_for
from tests.lab.router import Router

UNIT = "cloudstack-converge.service"
SOCKET = "cloudstack-converge.socket"
MEMORY_LIMIT = 80 * 1024
"""KiB."""


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Lab("parent") as lab:
        made = wiring.booted(lab)
        made.drop(drops.name("ip_associations.json"), drops.public_addresses(3))
        yield made


def pid(router: Router) -> int:
    """Wait until the parent has loaded everything, and return its PID."""
    for _attempt in range(100):
        found = int(router.facts.unit(UNIT)["MainPID"])
        if found and "PLAY RECAP" in router.exec("journalctl", "--no-pager", f"_PID={found}").stdout:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{UNIT} is not ready: {router.facts.journal('--unit', UNIT)}")


def test_the_parent_converges_and_stays_small(router: Router) -> None:
    parent = pid(router)
    answer = router.drop(drops.name("vm_dhcp_entry.json"), drops.dhcp_entry(1))
    assert "dhcp_dns" in answer.stdout
    assert pid(router) == parent
    status = router.read(f"/proc/{parent}/status")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident <= MEMORY_LIMIT


def record(router: Router, name: str) -> dict[str, Any]:
    """Return the result record of a drop."""
    found: dict[str, Any] = json.loads(router.read(f"/var/lib/cloudstack/results/{name}.json"))
    return found


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_the_record_of_a_drop_has_its_phases(router: Router, *, warm: bool) -> None:
    if not warm:
        router.exec("systemctl", "stop", SOCKET, UNIT)
    good, wrong = (drops.name("vm_dhcp_entry.json") for _drop in range(2))
    router.drop(good, drops.dhcp_entry(5 if warm else 6))
    router.drop(wrong, drops.dhcp_entry(7) | {"mac_address": "02:09:00:00"}, check=False)
    if not warm:
        router.exec("systemctl", "start", SOCKET, UNIT)
    found = record(router, good)
    phases: dict[str, float] = found["phases"]
    done = {f"dhcp_dns.{phase}" for phase in ("check", "apply", "verify")}
    assert set(phases) == {"ingest", "model", "commit", *done, *(f"{name}.plan" for name in SERVICES)}
    assert 0 < sum(phases.values()) <= found["duration"]
    log = router.read("/var/log/cloudstack/router.log")
    assert log.count(f"{good}: done in ") == 1
    told = next(line for line in log.splitlines() if f"{good}: done in " in line)
    assert f", {found['commands']} commands: ingest " in told
    assert all(f" {name} " in told for name in phases)
    assert set(record(router, wrong)["phases"]) == {"ingest", "commit"}


def test_a_failed_drop_says_the_same_with_and_without_the_parent(router: Router) -> None:
    def attempt() -> tuple[int, str, str]:
        wrong: dict[str, Any] = drops.dhcp_entry(2) | {"mac_address": "02:09:00:00"}
        answer = router.drop("vm_dhcp_entry.json.wrong", wrong, check=False)
        return answer.returncode, answer.stdout, answer.stderr

    pid(router)
    warm = attempt()
    router.exec("systemctl", "stop", SOCKET, UNIT)
    cold = attempt()
    router.exec("systemctl", "start", SOCKET, UNIT)
    assert warm == cold
    assert warm[0] == 1


def test_variables_of_one_drop_do_not_reach_the_next(router: Router) -> None:
    """Each child starts from the memory of before the first request."""
    pid(router)
    names = [drops.name("vm_dhcp_entry.json") for _number in range(3)]
    for number, name in enumerate(names):
        router.drop(name, drops.dhcp_entry(10 + number))
    for name in names:
        assert record(router, name)["name"] == name
    assert "no change" in router.command("configure.py monitor_service.json").stdout


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_a_parent_that_is_dead_or_stuck_costs_time_only(router: Router, signal: str) -> None:
    parent = pid(router)
    router.exec("kill", f"-{signal}", str(parent))
    answer = router.drop(drops.name("vm_dhcp_entry.json"), drops.dhcp_entry(20))
    assert answer.returncode == 0
    if signal == "STOP":
        router.exec("kill", "-KILL", str(parent))
    # systemd hears of its end a moment later.
    wait_for(lambda: router.facts.unit(UNIT)["MainPID"] != str(parent), 30, "another parent")
    assert pid(router) != parent


def test_a_changed_collection_is_taken_up(router: Router) -> None:
    parent = pid(router)
    playbook = "/usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router/playbooks/converge.yml"
    router.exec("touch", playbook)
    assert router.command("configure.py monitor_service.json").returncode == 0
    router.command("configure.py monitor_service.json")
    assert pid(router) != parent


def test_a_router_that_cannot_be_planned_has_a_parent_all_the_same(router: Router) -> None:
    """It tells why when a drop comes, and takes drops as soon as the databag is right again."""
    path = "/etc/cloudstack/ips.json"
    good = router.read(path)
    router.put(path, "{", 0o600)
    router.exec("systemctl", "restart", UNIT)
    parent = pid(router)
    assert "no rehearsal: VrError: /etc/cloudstack/ips.json: damaged databag" in router.facts.journal("--unit", UNIT)
    answer = router.drop(drops.name("vm_dhcp_entry.json"), drops.dhcp_entry(40), check=False)
    router.put(path, good, 0o600)
    assert answer.returncode == 1
    assert "/etc/cloudstack/ips.json: damaged databag" in answer.stderr
    router.drop(drops.name("vm_dhcp_entry.json"), drops.dhcp_entry(40))
    assert pid(router) == parent


def test_killing_the_converge_at_any_time_loses_nothing(router: Router) -> None:
    """The child is killed at ten instants; the drop is taken by the cold run, whole."""
    for number in range(10):
        pid(router)
        name = drops.name("vm_dhcp_entry.json")
        router.send(name, drops.dhcp_entry(100 + number))
        delay = 0.02 * number
        command = (
            f"/opt/cloud/bin/update_config.py {name} & client=$!; sleep {delay};"
            f" pkill -KILL -P $(systemctl show -P MainPID {UNIT}); wait $client"
        )
        router.shell(command, check=False)
        if not router.exists(f"/var/cache/cloud/processed/{name}.gz"):
            router.command(f"update_config.py {name}")
        hosts = router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
        assert drops.vm_address(100 + number) in hosts
    assert "no change" in router.command("configure.py monitor_service.json").stdout


def at_once(router: Router, bodies: dict[str, dict[str, Any]]) -> dict[str, tuple[int, str]]:
    """Send drops whose commands all wait before the first has its turn; return exit status and output by name."""
    for name, body in bodies.items():
        router.send(name, body)
    run = "(/opt/cloud/bin/update_config.py $name >/tmp/said/$name 2>&1; echo $? >>/tmp/said/$name) &"
    all_wait = f"[ $(ls /run/cloudstack/waiting | wc -l) -ge {len(bodies)} ]"
    router.shell(
        "mkdir -p /run/cloudstack/waiting /tmp/said; exec 9>>/run/cloudstack/queue.lock; flock 9;"
        f" for name in {' '.join(bodies)}; do {run} done; until {all_wait}; do sleep 0.1; done; flock -u 9; wait",
        timeout=150,
    )
    said = {name: router.read(f"/tmp/said/{name}").splitlines() for name in bodies}
    return {name: (int(lines[-1]), "\n".join(lines[:-1])) for name, lines in said.items()}


def converges(router: Router) -> int:
    """Return how many converges there have been."""
    return router.read("/var/log/cloudstack/converge.log").count("=== 2")


def test_fifty_callers_at_once_each_hear_their_own_result(router: Router) -> None:
    """Every fifth drop is wrong; those that are right are taken together."""
    pid(router)
    bodies = {f"vm_dhcp_entry.json.crowd-{n}": drops.dhcp_entry(300 + n) for n in range(50)}
    wrong = {name for number, name in enumerate(bodies) if number % 5 == 0}
    for name in wrong:
        bodies[name] |= {"mac_address": "02:09:00:00"}
    before = converges(router)
    answers = at_once(router, bodies)
    assert {name for name, (status, _text) in answers.items() if status} == wrong
    for name, (_status, text) in answers.items():
        assert text.startswith(f"{name}: mac_address: expected" if name in wrong else f"{name}: dhcp_dns (")
        assert record(router, name)["rc"] == (name in wrong)
        assert router.exists(f"/var/cache/cloud/{f'failed/{name}.reason' if name in wrong else f'processed/{name}.gz'}")
    hosts = router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    right = [body["ipv4_address"] for name, body in bodies.items() if name not in wrong]
    assert all(address in hosts for address in right)
    assert len(wrong) < converges(router) - before <= len(wrong) + 4


def test_a_converge_that_fails_with_several_drops_is_done_for_each_alone(router: Router) -> None:
    """Whose fault it was is not known before; here it is nobody's."""
    pid(router)
    bodies = {f"vm_dhcp_entry.json.trio-{n}": drops.dhcp_entry(400 + n) for n in range(3)}
    before = converges(router)
    router.exec("mv", "/usr/bin/busctl", "/usr/bin/busctl.away")
    try:
        answers = at_once(router, bodies)
    finally:
        router.exec("mv", "/usr/bin/busctl.away", "/usr/bin/busctl")
    assert {status for status, _text in answers.values()} == {1}
    assert all("busctl" in text for _status, text in answers.values())
    assert all(record(router, name)["drops"] == 1 for name in bodies)
    assert converges(router) - before == 4
    again = at_once(router, bodies)
    assert {status for status, _text in again.values()} == {0}
    assert {record(router, name)["drops"] for name in bodies} == {3}
    assert "no change" in router.command("configure.py monitor_service.json").stdout
