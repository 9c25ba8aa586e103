# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the monitoring databag asks for."""

from __future__ import annotations

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.monitoring import monitoring, records

CONFIG = "[ssh]:processname=sshd:servicename=ssh:pidfile=/x:,[dhcp]:processname=dnsmasq:servicename=x:pidfile=y:,"


@pytest.mark.parametrize(
    ("bag", "basic", "advanced"),
    [
        ({}, 0, 0),
        ({"health_checks_enabled": True}, 3, 0),
        ({"health_checks_enabled": False, "health_checks_basic_run_interval": 5}, 0, 0),
        ({"health_checks_enabled": True, "health_checks_basic_run_interval": 0}, 0, 0),
        ({"health_checks_enabled": True, "health_checks_advanced_run_interval": 90}, 3, 90),
    ],
)
def test_intervals(bag: dict[str, object], basic: int, advanced: int) -> None:
    found = monitoring({"monitorservice": bag})
    assert (found.interval("basic"), found.interval("advanced")) == (basic, advanced)


def test_sections_and_excluded_checks() -> None:
    bag = {"config": CONFIG, "excluded_health_checks": " gateways_check.py,, dns_check.py"}
    found = monitoring({"monitorservice": bag})
    assert found.sections == ("ssh", "dhcp")
    assert found.excluded == {"gateways_check.py", "dns_check.py"}
    assert monitoring({"monitorservice": {"excluded_health_checks": ""}}).excluded == frozenset()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (";;", []),
        ("a=1,b= 2;", [{"a": "1", "b": "2"}]),
        ("a=1;b=2", [{"a": "1"}, {"b": "2"}]),
        ("no record;a=x=y", [{"a": "x=y"}]),
        ("vmName=a,b,ip=1.2.3.4;ip=null", [{"ip": "null"}]),
        ("gatewaysIps=192.0.2.1 198.51.100.1 ;", [{"gatewaysIps": "192.0.2.1 198.51.100.1"}]),
    ],
)
def test_records(text: str, found: list[dict[str, str]]) -> None:
    assert records(text) == found
