# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.dns import search_list
from tests.unit.model.bags import address, cmdline, ips, nics

NICS = nics(eth0="00", eth1="01", eth2="02")


def bags(vms: dict[str, str] | None = None, tier: dict[str, Any] | None = None, **arguments: str) -> dict[str, Any]:
    """Return the databags of a network with VMs by address and name; `tier` makes it one of a VPC."""
    found: dict[str, Any] = {
        "cmdline": cmdline(**({"type": "vpcrouter"} if tier else {}), **arguments),
        "ips": ips(eth0=[address("10.1.1.1", "guest"), address("10.1.2.1", "guest")]),
        "dhcpentry": {
            ip: {"mac_address": f"02:00:00:00:09:{n:02x}", "host_name": name, field(ip): ip}
            for n, (ip, name) in enumerate((vms or {}).items())
        },
    }
    return found | ({"guestnetwork": {"eth0": [{"add": True, **tier}]}} if tier else {})


def field(ip: str) -> str:
    return "ipv6_address" if ":" in ip else "ipv4_address"


LONG = "abcdefghij.corp{0:02}.example{0:02}-company{0:02}.com"
SAME = "abcdefghij{0:02}.corp.example-company.com"


@pytest.mark.parametrize(
    ("domains", "fit"),
    [
        pytest.param([LONG.format(n) for n in range(6)], 6, id="as many as fit"),
        pytest.param([LONG.format(n) for n in range(8)], 6, id="two too many"),
        pytest.param([SAME.format(n) for n in range(30)], 15, id="their tails compressed"),
        pytest.param([".".join(["a" * 60] * 4), "b.example", "c." + "d" * 10], 1, id="the first nearly all"),
        pytest.param([], 0, id="none"),
        pytest.param(["x.y", "y.x", "x.y.x"], 3, id="short ones"),
    ],
)
def test_search_list_holds_what_dnsmasq_takes(domains: list[str], fit: int) -> None:
    """One more is refused, and then there is none at all; a scenario asks dnsmasq itself."""
    assert search_list(domains) == tuple(domains[:fit])


def test_search_list_is_no_longer_than_a_line_that_dnsmasq_reads() -> None:
    domains = [f"{n}.{'x' * 50}.example" for n in range(40)]
    assert len(",".join(search_list(domains))) <= 900
    assert len(search_list(domains)) > 10


def test_build_says_which_search_domains_are_left_out() -> None:
    router = build(bags(dnssearchorder=",".join(LONG.format(n) for n in range(8))), NICS)
    assert router.settings.search_domains == tuple(LONG.format(n) for n in range(6))
    assert router.warnings == (
        f"search list: option 119 holds 6 of 8 domains, without {LONG.format(6)}, {LONG.format(7)}",
    )
    assert build(bags(dnssearchorder="a.test.,b.test,a.test"), NICS).warnings == ()


def test_build_says_that_a_tier_has_more_resolvers_than_dhcp_can_tell() -> None:
    servers = [f"203.0.113.{n}" for n in range(70)]
    told = build(bags(tier={"dns": ",".join(servers)}), NICS).warnings
    assert told == ("eth0: 70 DNS servers are given, VMs are told of 63",)
    assert build(bags(tier={"dns": ",".join(servers[:62])}), NICS).warnings == ()


def test_build_says_which_names_are_in_no_dns() -> None:
    vms = {"10.1.1.11": "wpad", "10.1.1.12": "ISATAP", "10.1.2.13": "localhost", "10.1.1.14": "web", "fd00::9": "wpad"}
    told = build(bags(vms), NICS).warnings
    assert [line.split(",")[0] for line in told] == [
        "VM 10.1.1.11: the name wpad is not in DNS",
        "VM 10.1.1.12: the name ISATAP is not in DNS",
        "VM 10.1.2.13: the name localhost is not in DNS",
        "VM fd00::9: the name wpad is not in DNS",
    ]


def test_build_takes_an_absolute_domain_for_the_domain() -> None:
    assert build(bags(domain="cs2cloud.internal."), NICS).settings.domain == "cs2cloud.internal"
    (device,) = build(bags(tier={"domain_name": "db.cs2cloud.internal."}), NICS).devices
    assert device.domain == "db.cs2cloud.internal"
