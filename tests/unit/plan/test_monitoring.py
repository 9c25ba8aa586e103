# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When health checks run, and what they compare the router with."""

from __future__ import annotations

from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.monitoring import Monitoring
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import (
    Forward,
    Ports,
    VrrpState,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live, LiveFile
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.health import expected
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.monitoring import (
    compare,
    interval_file,
    timer,
    wanted,
)
from tests.unit.plan.samples import FIRST, VM1, host, isolated, vpc, with_settings

BASIC, ADVANCED = timer("basic"), timer("advanced")
ON = Monitoring(enabled=True, advanced=10)


def live(router_monitoring: Monitoring, active: set[str]) -> tuple[Live, set[str]]:
    """Return the live state in which this monitoring was applied."""
    files = wanted(isolated(monitoring=router_monitoring)).files
    found = {file.path: LiveFile(file.content, file.mode) for file in files}
    return Live(found, {}, frozenset(active)), set(found)


def summaries(asked: Monitoring, found: tuple[Live, set[str]]) -> list[str]:
    return [step.summary for step in compare(isolated(monitoring=asked), *found)]


def test_a_router_that_nobody_asked_has_no_timers() -> None:
    assert summaries(Monitoring(), (Live({}, {}, frozenset()), set())) == []


def test_timers_start_with_their_intervals() -> None:
    found = summaries(ON, (Live({}, {}, frozenset()), set()))
    assert found == [
        f"write {interval_file('basic')}",
        f"write {interval_file('advanced')}",
        "reload the unit files",
        f"restart {BASIC}, {ADVANCED}",
    ]
    (file, _other) = wanted(isolated(monitoring=ON)).files
    assert "OnUnitActiveSec=3min\n" in file.content


def test_what_is_repeated_restarts_nothing() -> None:
    assert summaries(ON, live(ON, {BASIC, ADVANCED})) == []


def test_one_interval_that_changes_restarts_one_timer() -> None:
    found = summaries(Monitoring(enabled=True, basic=90, advanced=10), live(ON, {BASIC, ADVANCED}))
    assert found == [f"write {interval_file('basic')}", "reload the unit files", f"restart {BASIC}"]


def test_interval_0_stops_a_type_and_disabled_both() -> None:
    found = summaries(Monitoring(enabled=True, advanced=0), live(ON, {BASIC, ADVANCED}))
    assert found == [f"remove {interval_file('advanced')}", "reload the unit files", f"stop {ADVANCED}"]
    found = summaries(Monitoring(advanced=10), live(ON, {BASIC, ADVANCED}))
    assert found[-1] == f"stop {BASIC}, {ADVANCED}"


def test_a_timer_that_somebody_stopped_is_started() -> None:
    assert summaries(ON, live(ON, {ADVANCED})) == [f"restart {BASIC}"]


def test_what_should_run_is_what_is_needed() -> None:
    units = expected(isolated())["units"]
    assert units["dhcp"] == ["dnsmasq"]
    assert units["loadbalancing"] == []
    assert expected(vpc())["units"]["dhcp"] == ["dnsmasq@tier_10_2_1_0", "dnsmasq@tier_10_2_2_0"]


def test_a_backup_is_expected_to_do_less() -> None:
    backup = with_settings(isolated(state=VrrpState.BACKUP), redundant=True)
    found = expected(backup)
    assert (found["units"]["dhcp"], found["units"]["webserver"], found["gateways"]) == ([], [], [])
    assert expected(isolated())["gateways"] == [
        ["eth2", "192.0.2.10", "192.0.2.1"],
        ["eth3", "198.51.100.20", "198.51.100.1"],
    ]


def test_what_the_server_names_and_the_databags_lack() -> None:
    config: dict[str, tuple[dict[str, str], ...]] = {
        "virtualMachines": (
            {"vmName": "renamed", "macAddress": "02:01:00:00:00:0B", "ip": "10.1.1.11", "dhcp": "true", "dns": "true"},
            {"vmName": "lost", "macAddress": "02:01:00:00:00:0c", "ip": "10.1.1.12", "dhcp": "true", "dns": "false"},
            {"vmName": "elsewhere", "macAddress": "02:01:00:00:00:0d", "ip": "10.9.9.9", "dhcp": "true", "dns": "true"},
            {"vmName": "without", "macAddress": "02:01:00:00:00:0e", "ip": "null", "dhcp": "true", "dns": "true"},
        ),
        "portForwarding": (
            {"sourceIp": str(FIRST), "sourcePortStart": "80", "destIp": str(VM1)},
            {"sourceIp": str(FIRST), "sourcePortStart": "8", "destIp": str(VM1)},
        ),
        "haproxyData": ({"sourceIp": "192.0.2.10", "sourcePortStart": "443"},),
        "systemThresholds": ({"minDiskNeeded": "200"},),
    }
    router = isolated(
        hosts=(host("10.1.1.11", "web"),),
        forwards=(Forward(FIRST, IPv4Address(VM1), "tcp", Ports(80, 81), Ports(80, 81)),),
        monitoring=Monitoring(enabled=True, config=config),
    )
    found = expected(router)
    assert found["lacking"] == {
        "dhcp_check.py": ["10.1.1.12"],
        "dns_check.py": [],
        "haproxy_check.py": ["192.0.2.10:443"],
        "iptables_check.py": ["192.0.2.10:8"],
    }
    assert found["thresholds"] == {"minDiskNeeded": "200"}
