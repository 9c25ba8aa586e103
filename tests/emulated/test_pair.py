# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A pair of emulated routers elects one primary, and the other takes over when that one loses its power.

How fast is for containers to show: emulation is slow, so advertisements are three seconds apart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.emulated.restored import Restored
from tests.lab.lab import Lab
from tests.lab.probes import ask, tcp
from tests.lab.process import LabError, wait_for
from tests.scenarios import pair as pairs
from tests.scenarios import states
from tests.scenarios.pair import SERVED, SOURCE_NAT, STATIC, Pair

INTERVAL = 3.0
PATIENCE = 120.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab("emulated-pair", kind=Restored) as lab:
        made = pairs.make(lab, INTERVAL)
        for router in made.routers.values():
            router.wait_boot()
        made.settle(timeout=PATIENCE)
        for router in made.routers.values():
            drops = [(name, json.dumps(body).encode()) for name, body in pairs.drops(router.name)]
            router.send("VR-all.cfg", states.aggregate(drops))
            router.command("vr_cfg.sh -c /var/cache/cloud/VR-all.cfg")
        made.settle(timeout=PATIENCE)
        yield made


def _enters(pair: Pair) -> list[str | None]:
    probes = (tcp(SOURCE_NAT, 2222), tcp(STATIC, SERVED))
    return [ask(pair.internet, probe).server for probe in probes]


def test_one_is_primary_and_packets_enter_by_it(pair: Pair) -> None:
    assert pair.owners() == [pair.primary.name]
    assert _enters(pair) == ["web", "db"]


def test_the_other_takes_over_when_the_primary_loses_its_power(pair: Pair) -> None:
    primary, backup = pair.primary, pair.backup
    primary.power_off()
    lost = time.monotonic()

    def taken() -> bool:
        try:
            return pair.states() == {backup.name: "PRIMARY"}
        except LabError:
            return False

    wait_for(taken, PATIENCE, f"{backup.name} is not primary")
    print(f"primary after {time.monotonic() - lost:.1f} s, advertisements {INTERVAL:g} s apart")
    assert _enters(pair) == ["web", "db"]


def test_it_comes_back_as_backup(pair: Pair) -> None:
    """A boot without boot arguments, after a power cut: what its databags say."""
    off = next(router for router in pair.routers.values() if not router.is_on)
    off.start()
    off.wait_boot()
    pair.settle(timeout=PATIENCE)
    assert pair.backup is off
    assert _enters(pair) == ["web", "db"]
