# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What users ran into where routers grew: work, memory and logs are counted here, times are in the benchmark."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import drops, wiring
from tests.bench.measuring import MEASURE
from tests.lab.lab import Lab
from tests.lab.router import CACHE, Router
from tests.scenarios import states

PARENT = ("cloudstack-converge.socket", "cloudstack-converge.service")
APPLY_MEMORY = 256
IDLE_MEMORY = 150
"""MiB (A12, J6)."""
LOG_OF_A_DROP = 8192
"""Bytes that a small drop may add to all logs; what grows with the router is not logged (A1, J3)."""


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Return a router with 230 public addresses."""
    with Lab("field") as lab:
        made = wiring.booted(lab)
        made.drop(drops.name("ip_associations.json"), drops.public_addresses(230))
        yield made


def result(router: Router, prefix: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a drop and return its result record."""
    name = drops.name(prefix)
    router.drop(name, body)
    return states.record(router, name)


def aggregate(router: Router, bodies: list[tuple[str, dict[str, Any]]]) -> None:
    """Send drops in one converge."""
    name, content = drops.aggregate(bodies)
    router.send(name, content)
    router.command(f"vr_cfg.sh -c {CACHE}/{name}")


def test_the_200th_static_nat_starts_as_many_processes_as_the_first(router: Router) -> None:
    """A7, A8; what was not loaded since it was last looked at is not listed, so both come after a load."""
    result(router, "staticnat_rules.json", drops.static_nat(1))
    first = result(router, "staticnat_rules.json", drops.static_nat(2))
    aggregate(router, [("staticnat_rules.json", drops.static_nat(number)) for number in range(3, 200)])
    last = result(router, "staticnat_rules.json", drops.static_nat(200))
    assert (last["commands"], last["changed"]) == (first["commands"], first["changed"])


def test_one_more_forward_starts_as_many_processes_with_2000_there(router: Router) -> None:
    """A9, A10, A17: none of them per rule."""
    first = result(router, "forwarding_rules.json", drops.forwards(1, 5000))
    many = result(router, "forwarding_rules.json", drops.forwards(2000))
    last = result(router, "forwarding_rules.json", drops.forwards(1, 5001))
    assert first["commands"] == many["commands"] == last["commands"]


def test_a_vm_touches_dhcp_and_nothing_else(router: Router) -> None:
    """A11; each service's time is told, so that a slow one is seen (A14), and the record can be read again (A15)."""
    services = ("/etc/nginx", "/etc/keepalived", "/etc/haproxy", "/var/lib/cloudstack/nftables", "/etc/ssh")
    before = router.facts.snapshot(services, ("nginx", "dnsmasq", "cloudstack-passwords", "ssh"))
    found = result(router, "vm_dhcp_entry.json", drops.dhcp_entry(1))
    assert found["changed"] == ["dhcp_dns"]
    assert {name.split(".")[0] for name in found["phases"] if name.endswith(".apply")} == {"dhcp_dns"}
    assert router.facts.snapshot(services, ("nginx", "dnsmasq", "cloudstack-passwords", "ssh")) == before
    assert (found["rc"], found["duration"] > 0) == (0, True)


def test_ten_thousand_rules_take_less_than_256_mib(router: Router) -> None:
    """A12, A19: nobody else's memory is counted than that of the largest process; a minute is a tenth of the limit."""
    router.exec("systemctl", "stop", *PARENT)
    name = drops.name("forwarding_rules.json")
    router.send(name, drops.forwards(10_000))
    command = ("/usr/bin/python3", "-c", MEASURE, "/opt/cloud/bin/update_config.py", name)
    seconds, mebibytes, status = router.exec(*command, timeout=300).stdout.split()[:3]
    router.exec("systemctl", "start", *PARENT)
    assert status == "0"
    assert int(mebibytes) < APPLY_MEMORY
    assert float(seconds) < 60


def test_an_idle_router_takes_less_than_150_mib(router: Router) -> None:
    """J6: what all processes have for themselves, and their share of what they have together."""
    router.command(states.CONVERGE)
    script = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ { sum += $2 } END { print int(sum / 1024) }'"
    assert 20 < int(router.shell(script).stdout) < IDLE_MEMORY


def test_a_drop_adds_little_to_the_logs_of_a_large_router(router: Router) -> None:
    """A1, J3: with 12,000 forwards there."""

    def size() -> int:
        return int(router.shell("cat /var/log/cloudstack/*.log | wc -c").stdout)

    before = size()
    for number in range(2, 7):
        router.drop(drops.name("vm_dhcp_entry.json"), drops.dhcp_entry(number))
    assert 0 < (size() - before) / 5 < LOG_OF_A_DROP


def test_100_vms_within_seconds_never_meet_a_start_limit(router: Router) -> None:
    """A16: they are read anew, not restarted; and once for all (A1)."""
    before = router.facts.unit("dnsmasq")
    bodies = [("vm_dhcp_entry.json", drops.dhcp_entry(number)) for number in range(10, 110)]
    aggregate(router, list(itertools.islice(bodies, 90)))
    for prefix, body in bodies[90:]:
        router.drop(drops.name(prefix), body)
    after = router.facts.unit("dnsmasq")
    assert (after["MainPID"], after["NRestarts"]) == (before["MainPID"], before["NRestarts"])
    hosts = router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    assert all(body["ipv4_address"] in hosts for _prefix, body in bodies)


def test_root_has_no_password_and_no_account_has_a_known_one(router: Router) -> None:
    """M1: neither on the console nor by SSH."""
    shadow = [line.split(":")[:2] for line in router.read("/etc/shadow").splitlines()]
    assert [name for name, password in shadow if password and password[0] not in "!*"] == []
    assert not [name for name, password in shadow if password == ""]
    settings = router.exec("sshd", "-T").stdout.lower()
    assert "passwordauthentication no" in settings
    assert "permitemptypasswords no" in settings


def test_the_state_is_kept_until_a_newer_one_is_complete(router: Router) -> None:
    """J2: a reboot in the middle of what the server sends, without it, ends with the databags as they were."""
    databags = states.databags(router)
    router.send("forwarding_rules.json.half", json.dumps(drops.forwards(1, 6000))[:-20])
    router.reboot()
    assert states.databags(router) == databags
    assert states.repaired(router) == []
