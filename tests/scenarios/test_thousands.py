# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A pod that restarts: thousands of DHCP entries and metadata in one aggregate, while VMs go on asking (A1, A3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bench import drops, wiring
from tests.bench.measuring import MEASURE, send_aggregate
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import RenewalStream, dhcp
from tests.lab.router import Router
from tests.scenarios.asking import Asking
from tests.scenarios.clients import dig
from tests.scenarios.web import curl

COUNT, FIRST = 2000, 20
ROUTER = "10.1.0.1"
MEMORY = 256
"""MiB that the largest process of a converge may take (J6)."""

PATIENCE = 5.0
"""Seconds that a VM waits for a name."""

LOG_PER_ENTRY = 200
"""Bytes that all logs may grow by for each entry (A1)."""


@dataclass(frozen=True)
class Pod:
    """A router with its first VMs; the very first of them has the address of the very last, too."""

    router: Router
    client: Host
    last: Host


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    with Lab("thousands") as lab:
        router = wiring.booted(lab)
        client, last = (
            lab.host(name, "guest", f"{drops.vm_address(number)}/16", mac=drops.dhcp_entry(number)["mac_address"])
            for name, number in (("vm", 0), ("last", COUNT - 1))
        )
        apply(router, [body for number in range(FIRST) for body in vm(number)])
        yield Pod(router, client, last)


def vm(number: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the drops of a VM."""
    return [("vm_dhcp_entry.json", drops.dhcp_entry(number)), ("vm_metadata.json", drops.metadata(number))]


def apply(router: Router, bodies: list[tuple[str, dict[str, Any]]]) -> int:
    """Apply drops as one aggregate, without the resident parent; return the MiB of the largest process."""
    router.exec("systemctl", "stop", "cloudstack-converge.socket", "cloudstack-converge.service")
    said = router.exec("/usr/bin/python3", "-c", MEASURE, *send_aggregate(router, bodies), timeout=300).stdout.split()
    _seconds, memory, status = said[:3]
    assert status == "0", said
    return int(memory)


def daemons(router: Router) -> list[str]:
    """Return what a restart or a reload of a daemon changes: main processes, and the workers of nginx."""
    pids = [router.facts.unit(unit)["MainPID"] for unit in ("dnsmasq", "nginx", "cloudstack-passwords")]
    return [*pids, router.shell("pgrep -P $(cat /run/nginx.pid)").stdout]


def rereads(router: Router) -> int:
    """Return how often dnsmasq has read its hosts."""
    return router.facts.journal("--unit", "dnsmasq").count("read /etc/dnsmasq.cloudstack/dhcp-hosts")


def log_size(router: Router) -> int:
    """Return the bytes of all logs but the journal's."""
    return int(router.shell("cat /var/log/cloudstack/* | wc -c").stdout)


def test_two_thousand_vms_in_one_aggregate_lose_no_question(pod: Pod) -> None:
    """One reread, no restart and no reload; DNS and DHCP answer a hundred questions per second all the time."""
    router = pod.router
    before = daemons(router), rereads(router), log_size(router)
    names = ("vm-00000", "data-server.bench.internal")
    with Asking(pod.client, ROUTER, names, PATIENCE) as asking, RenewalStream(pod.client, ROUTER) as renewing:
        memory = apply(router, [body for number in range(COUNT) for body in vm(number)])
    assert min(asking.count, renewing.sent) > 100
    assert (asking.lost, renewing.lost) == (0, 0)
    assert (daemons(router), rereads(router)) == (before[0], before[1] + 1)
    assert log_size(router) - before[2] < 2 * COUNT * LOG_PER_ENTRY
    assert memory < MEMORY
    last = drops.vm_address(COUNT - 1)
    asked = curl(pod.last, f"http://{ROUTER}/latest/local-hostname")
    assert asked == f"vm-{COUNT - 1:05d}"
    assert dig(pod.client, ROUTER, f"vm-{COUNT - 1:05d}") == [last]
    assert [offer["address"] for offer in dhcp(pod.client, mac=drops.dhcp_entry(COUNT - 1)["mac_address"])] == [last]


def test_entries_of_other_pods_touch_nothing(pod: Pod) -> None:
    """A3: they are kept, and no daemon hears of them."""
    router = pod.router
    before = daemons(router), rereads(router), router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    foreign = [
        {**drops.dhcp_entry(COUNT + number), "ipv4_address": f"10.9.{number // 250}.{2 + number % 250}"}
        for number in range(COUNT)
    ]
    apply(router, [("vm_dhcp_entry.json", entry) for entry in foreign])
    assert (daemons(router), rereads(router), router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")) == before
