# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.cmdline import parse_cmdline
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import Bag, merge
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import Drop
from tests.unit.databag.support import ARGUMENTS, drop, ips, merged


def boot(**changes: Any) -> Drop:
    """Return the boot arguments with some changed, and those that are None left out."""
    given = {**ARGUMENTS, **changes}
    return drop("cmdline", cmd_line={name: value for name, value in given.items() if value is not None})


def nics(bags: dict[str, Bag]) -> dict[str, list[tuple[str, str, str]]]:
    """Return address, network type and gateway of every record."""
    return {
        device: [(record["public_ip"], record["nw_type"], record.get("gateway", "")) for record in records]
        for device, records in bags["ips"].items()
        if device != "id"
    }


def test_parse_cmdline_keeps_values_whole() -> None:
    """The original cuts at a second equals sign, and base64 loses its padding."""
    text = " template=domP authorized_key=c3No== type=router a=b=c= empty= \n"
    assert parse_cmdline(text) == {
        "type": "cmdline",
        "cmd_line": {
            "template": "domP",
            "authorized_key": "c3No==",
            "type": "router",
            "a": "b=c=",
            "empty": "",
        },
    }


def test_parse_cmdline_takes_the_last_of_repeated_arguments() -> None:
    assert parse_cmdline("type=router advert_int=1 advert_int=2")["cmd_line"] == {"type": "router", "advert_int": "2"}


def test_parse_cmdline_splits_at_percent_signs_without_blanks() -> None:
    """Xen."""
    assert parse_cmdline("%template=domP%type=vpcrouter%name=r-1-VM\0")["cmd_line"] == {
        "template": "domP",
        "type": "vpcrouter",
        "name": "r-1-VM",
    }
    assert parse_cmdline("type=router password=50%off")["cmd_line"]["password"] == "50%off"


def test_parse_cmdline_takes_the_type_from_its_own_argument() -> None:
    """The original finds any `type=` in the text."""
    assert parse_cmdline("note=mytype=ilbvm subtype=x type=dhcpsrvr")["cmd_line"]["type"] == "dhcpsrvr"


def test_parse_cmdline_leaves_words_of_the_kernel_out() -> None:
    assert parse_cmdline("ro -- /x=y type=router *=z")["cmd_line"] == {"ro": "", "type": "router"}


@pytest.mark.parametrize("text", ["", " \n", "name=r-1-VM", "type=", "subtype=router"])
def test_parse_cmdline_refuses_a_text_without_type(text: str) -> None:
    with pytest.raises(DropError) as caught:
        parse_cmdline(text)
    assert str(caught.value) == "cmdline: type: expected an argument such as type=router, got nothing"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {},
            {
                "eth0": [("10.1.1.1", "guest", "")],
                "eth1": [("169.254.3.101", "control", "")],
                "eth2": [("192.0.2.10", "public", "192.0.2.1")],
            },
        ),
        (
            {"localgw": "10.20.0.1"},
            {
                "eth0": [("10.1.1.1", "guest", "10.20.0.1")],
                "eth1": [("169.254.3.101", "control", "10.20.0.1")],
                "eth2": [("192.0.2.10", "public", "192.0.2.1")],
            },
        ),
        (
            {"type": "vpcrouter", "eth0ip": "169.254.4.1", "eth1ip": None, "eth2ip": None},
            {"eth0": [("169.254.4.1", "control", "")]},
        ),
        (
            {"type": "dhcpsrvr", "eth2ip": None},
            {"eth0": [("10.1.1.1", "guest", "")], "eth1": [("169.254.3.101", "control", "")]},
        ),
        (
            {"type": "ilbvm", "eth2ip": None},
            {"eth0": [("10.1.1.1", "guest", "")], "eth1": [("169.254.3.101", "control", "")]},
        ),
        ({"eth0ip": "null", "eth1ip": "None", "eth2ip": ""}, None),
    ],
)
def test_merge_cmdline_makes_the_addresses_of_each_kind(arguments: dict[str, Any], expected: Any) -> None:
    bags = merged(boot(**arguments))
    assert (nics(bags) if "ips" in bags else None) == expected


def test_merge_cmdline_gives_macs_and_mtus() -> None:
    macs = "02:00:45:6E:00:01|0e:00:a9:fe:03:65|1e:00:2d:00:00:0a"
    bags = merged(boot(nic_macs=macs, publicMtu="1500", privateMtu="null"))["ips"]
    assert [bags[f"eth{n}"][0]["vif_mac_address"] for n in range(3)] == macs.lower().split("|")
    assert bags["eth2"][0]["mtu"] == "1500"
    assert "mtu" not in bags["eth0"][0]
    assert bags["eth0"][0]["nic_dev_id"] == "0"


def test_merge_cmdline_settles_the_arguments() -> None:
    config = merged(boot(redundant_router="1", redundant_state="PRIMARY", domain="null", dns1="None"))["cmdline"][
        "config"
    ]
    assert config["redundant_router"] == "true"
    assert not {"redundant_state", "domain", "dns1"} & set(config)


@pytest.mark.parametrize("value", ["", "false", "null", "1"])
def test_merge_cmdline_is_redundant_with_any_value(value: str) -> None:
    assert merged(boot(redundant_router=value))["cmdline"]["config"]["redundant_router"] == "true"


def test_merge_cmdline_again_replaces_its_addresses_and_leaves_others() -> None:
    bags = merged(boot(), ips({"public_ip": "192.0.2.99"}), boot(eth0ip="10.9.9.1", eth2ip="192.0.2.11"))
    assert nics(bags) == {
        "eth0": [("10.9.9.1", "guest", "")],
        "eth1": [("169.254.3.101", "control", "")],
        "eth2": [("192.0.2.11", "public", "192.0.2.1"), ("192.0.2.99", "public", "192.0.2.1")],
    }


def test_merge_cmdline_does_not_replace_what_a_drop_said() -> None:
    """An ips drop knows the MAC and what is source NAT."""
    said = merged(boot(), ips({"source_nat": True}))
    assert merge(said, boot(domain="other.internal"))["ips"] == said["ips"]
    assert merged(ips({"source_nat": True}), boot())["ips"] == said["ips"]


def test_merge_cmdline_at_a_reboot_brings_no_released_address_back() -> None:
    bags = merged(boot(), ips({"add": False}))
    assert "eth2" not in merge(bags, boot())["ips"]


def test_merge_cmdline_makes_the_addresses_again_when_there_are_none() -> None:
    bags = {"cmdline": merged(boot())["cmdline"]}
    assert merge(bags, boot()) == merged(boot())
