# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A clock that jumps by years, as after a migration to another host: no drop is lost, and nothing waits for it.

The kernel's clock is that of the machine under the lab and stays as it is. What jumps is the time of day that Python
tells whatever converges: Ansible, the collection, and the resident parent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import drops, wiring
from tests.bench.measuring import choose_way
from tests.lab.lab import Lab
from tests.lab.router import Router
from tests.scenarios import states

YEAR = 31_536_000
OFFSET = "/run/clock-offset"
PACKAGES = "/opt/cloudstack/venv/lib/python3.11/site-packages"
JUMPING = f"""
import time

def _jumping(clock, unit):
    def tell():
        try:
            with open("{OFFSET}") as file:
                offset = int(file.read())
        except (FileNotFoundError, ValueError):
            offset = 0
        return clock() + offset * unit
    return tell

time.time = _jumping(time.time, 1)
time.time_ns = _jumping(time.time_ns, 1_000_000_000)
"""
ALL_THE_TIME = f"""
while :; do
  for years in 10 -10 1 0; do echo $((years * {YEAR})) > {OFFSET}.new && mv {OFFSET}.new {OFFSET} && sleep 0.03; done
done
"""


@pytest.fixture(scope="module", name="router")
def _router() -> Iterator[Router]:
    """Return a router whose Python believes in the offset in a file."""
    with Lab("clock") as lab:
        made = wiring.booted(lab)
        made.drop(drops.name("ip_associations.json"), drops.public_addresses(2))
        made.put(f"{PACKAGES}/jumping_clock.py", JUMPING)
        # Python runs the lines of such files that import something at each start (site).
        made.put(f"{PACKAGES}/jumping_clock.pth", "import jumping_clock\n")
        made.exec("systemctl", "restart", "cloudstack-converge.service")
        choose_way(made, cold=False)
        yield made


def take(router: Router, number: int) -> dict[str, Any]:
    """Send the drop of a VM that was not there, and return its record."""
    name = drops.name("vm_dhcp_entry.json")
    router.drop(name, drops.dhcp_entry(number))
    record = states.record(router, name)
    assert record["rc"] == 0
    assert record["changed"] == ["dhcp_dns"]
    assert 0 <= record["duration"] < 60
    assert drops.vm_address(number) in router.read("/etc/cloudstack/dhcpentry.json")
    return record


def test_drops_are_taken_when_the_clock_has_jumped(router: Router) -> None:
    """Years ahead, then years back: leases, records and what is kept go by other clocks, or by none."""
    this_year = time.gmtime().tm_year
    for number, years in enumerate((0, 10, -10, 0)):
        router.put(OFFSET, f"{years * YEAR}")
        started = take(router, number)["started"]
        assert abs(int(started[:4]) - (this_year + years)) <= 1, "the clock has not jumped"
    assert states.repaired(router) == []


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_drops_are_taken_while_the_clock_jumps(router: Router, *, cold: bool) -> None:
    if cold:
        choose_way(router, cold=True)
    router.exec("systemd-run", "--unit=jumping-clock", "--collect", "bash", "-c", ALL_THE_TIME)
    numbers = range(200, 206) if cold else range(100, 106)
    try:
        for number in numbers:
            take(router, number)
    finally:
        router.exec("systemctl", "stop", "jumping-clock")
    router.exec("rm", OFFSET)
    entries = json.loads(router.read("/etc/cloudstack/dhcpentry.json"))
    assert {drops.vm_address(number) for number in numbers} <= entries.keys()
    assert states.repaired(router) == []
