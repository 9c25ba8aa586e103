# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import tracemalloc

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic
from tests.golden.cases import rendered
from tests.unit.databag.support import ADDRESS, drop

NICS = [Nic("eth0", "02:00:00:00:00:00"), Nic("eth1", "02:00:00:00:00:01"), Nic("eth2", ADDRESS["vif_mac_address"])]


def peak(netmask: str) -> int:
    """Return the bytes that a static NAT on a public subnet takes at most while it is merged, planned and rendered."""
    drops = [drop("cmdline"), drop("ips", ip_address=[{**ADDRESS, "netmask": netmask}]), drop("staticnatrules")]
    tracemalloc.start()
    rendered(build(merge_all({}, drops), NICS))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used


def test_the_length_of_a_prefix_costs_nothing() -> None:
    """A6: subnets are never taken apart into their addresses; of a /8 these would be 16 million."""
    peak("255.255.255.0")
    assert peak("255.0.0.0") < 2 * peak("255.255.255.0")
