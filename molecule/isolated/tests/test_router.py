# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The router of the scenario is the one the lab wired, and carries what the image promises."""

# ruff: noqa: S101  (assert is what tests are made of)

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.topologies import ISOLATED_NICS

OFF_UNTIL_CONFIGURED = ("haproxy", "keepalived", "conntrackd", "frr", "strongswan", "radvd")
CONFIGURED_AT_BOOT = ("dnsmasq", "nginx", "ssh")


@pytest.mark.parametrize("nic", sorted(ISOLATED_NICS))
def test_nic_has_the_mac_it_was_wired_with(host: Any, nic: str) -> None:
    assert host.file(f"/sys/class/net/{nic}/address").content_string.strip() == ISOLATED_NICS[nic][1]


def test_release_is_the_one_the_management_server_accepts(host: Any) -> None:
    words = host.file("/etc/cloudstack-release").content_string.split()
    assert words[:3] == ["Cloudstack", "Release", "4.23.0"]


def test_sshd_listens_where_the_management_server_connects(host: Any) -> None:
    assert host.service("ssh").is_running
    assert host.check_output("sshd -T | grep -E '^(port|passwordauthentication) '").splitlines() == [
        "port 3922",
        "passwordauthentication no",
    ]


def test_host_keys_are_the_routers_own(host: Any) -> None:
    made = host.file("/etc/ssh/ssh_host_ed25519_key").mtime
    assert made >= host.file("/proc/1").mtime


def test_nobody_can_log_in_with_a_password(host: Any) -> None:
    assert host.check_output("getent shadow root").split(":")[1] == "*"


@pytest.mark.parametrize("unit", OFF_UNTIL_CONFIGURED)
def test_daemon_is_installed_and_off(host: Any, unit: str) -> None:
    assert host.check_output(f"systemctl show --property=LoadState --value {unit}") == "loaded"
    assert not host.service(unit).is_running
    assert not host.service(unit).is_enabled


@pytest.mark.parametrize("unit", CONFIGURED_AT_BOOT)
def test_daemon_that_the_boot_arguments_ask_for_runs(host: Any, unit: str) -> None:
    assert host.service(unit).is_running


def test_router_forwards_and_filters_no_reverse_path(host: Any) -> None:
    values = {
        name: host.sysctl(f"net.ipv4.{name}") for name in ("ip_forward", "ip_nonlocal_bind", "conf.all.rp_filter")
    }
    assert values == {"ip_forward": 1, "ip_nonlocal_bind": 1, "conf.all.rp_filter": 0}
