# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Network

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Kind, Settings
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.settings import settings
from tests.unit.model.bags import cmdline


def of(**arguments: str) -> Settings:
    """Return the settings for boot arguments."""
    return settings({"cmdline": cmdline(**arguments)})


def test_settings_of_nothing_are_an_isolated_router() -> None:
    assert settings({}) == Settings("router", Kind.ISOLATED)


@pytest.mark.parametrize("kind", list(Kind))
def test_settings_know_every_kind(kind: Kind) -> None:
    assert of(type=kind.value).kind is kind


def test_settings_read_resolvers_and_networks() -> None:
    """The text null is no resolver; two equal ones are one; IPv6 ones are not DHCP's."""
    found = of(
        dns1="null",
        dns2="203.0.113.53",
        internaldns1="203.0.113.53",
        internaldns2="2001:db8::53",
        vpccidr="10.2.0.0/16",
    )
    assert found.resolvers == ("203.0.113.53",)
    assert found.vpc_cidr == IPv4Network("10.2.0.0/16")


def test_settings_read_the_management_network() -> None:
    found = of(mgmtcidr="10.9.0.0/16,10.8.0.0/16", localgw="169.254.0.1")
    assert found.management_networks == (IPv4Network("10.9.0.0/16"), IPv4Network("10.8.0.0/16"))
    assert found.management_gateway == IPv4Address("169.254.0.1")


@pytest.mark.parametrize(
    ("arguments", "per_address"),
    [
        ({"type": "router"}, True),
        ({"type": "vpcrouter"}, False),
        ({"type": "vpcrouter", "vpc_firewall_enabled": "true"}, True),
    ],
)
def test_settings_have_a_firewall_per_address(arguments: dict[str, str], per_address: bool) -> None:
    assert of(**arguments).per_ip_firewall is per_address


@pytest.mark.parametrize(("value", "wanted"), [("false", False), ("true", True), ("", True)])
def test_settings_have_a_public_network_unless_told_otherwise(value: str, wanted: bool) -> None:
    assert of(has_public_network=value).public_network is wanted


def test_settings_decode_a_key_that_lost_its_padding() -> None:
    """Boot scripts of old cut the text at the second "="."""
    key = "ssh-rsa AAAAB3 cloud@manager"
    encoded = base64.b64encode(f"{key}\n".encode()).decode()
    assert encoded.endswith("=")
    assert of(authorized_key=encoded.rstrip("=")).ssh_keys == of(authorized_key=encoded).ssh_keys == (key,)


def test_settings_do_not_show_the_root_password() -> None:
    assert "s3cret" not in repr(of(vmpassword="s3cret"))
