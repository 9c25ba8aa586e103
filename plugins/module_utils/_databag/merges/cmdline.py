# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge the boot arguments: the databag ``cmdline``, and the addresses they give."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges import interfaces, uses
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.stored import under
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merges.workspace import (
    Bag,
    Workspace,
    records,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema import cmdline
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.schema.checker import NO_VALUE

# Which NIC is what, by kind of router (behaviour.md, section 1): network type and the argument with its MTU.
NICS: dict[str, tuple[tuple[str, str], ...]] = {
    "router": (("guest", "privateMtu"), ("control", ""), ("public", "publicMtu")),
    "vpcrouter": (("control", ""),),
    "dhcpsrvr": (("guest", "privateMtu"), ("control", "")),
    "ilbvm": (("guest", "privateMtu"), ("control", "")),
}


def settled(arguments: dict[str, str]) -> dict[str, str]:
    """Return the arguments that mean something.

    The server sends a redundant isolated pair ``redundant_state=PRIMARY`` on both sides: keepalived alone
    knows who is primary, so the argument is left out. ``redundant_router`` counts with any value.
    """
    config = {
        name: value
        for name, value in arguments.items()
        if value not in NO_VALUE and name not in ("redundant_state", "redundant_router")
    }
    if "redundant_router" in arguments:
        config["redundant_router"] = "true"
    return config


def address_records(config: dict[str, str]) -> list[dict[str, Any]]:
    """Return the ``ips`` records that the arguments give, in the shape of the original's."""
    macs = config.get("nic_macs", "").split("|")
    found = []
    for number, (nw_type, mtu) in enumerate(NICS[config["type"]]):
        if f"eth{number}ip" not in config:
            continue
        record: dict[str, Any] = {
            "public_ip": config[f"eth{number}ip"],
            "netmask": config[f"eth{number}mask"],
            "gateway": config.get("gateway" if nw_type == "public" else "localgw", ""),
            "add": True,
            "source_nat": False,
            "one_to_one_nat": False,
            "nic_dev_id": str(number),
            "nw_type": nw_type,
        }
        if mtu in config:
            record["mtu"] = config[mtu]
        if number < len(macs) and macs[number]:
            record["vif_mac_address"] = macs[number].lower()
        found.append(interfaces.complete(record, f"eth{number}"))
    return found


def merge_cmdline(workspace: Workspace, body: dict[str, Any], _file: str) -> None:
    """Store the arguments and their addresses; those of earlier arguments go, those of drops stay.

    The same arguments come again at every boot. They must not bring back an address that was taken away
    since, nor replace what an ``ips`` drop said about one.
    """
    config = settled(body["cmd_line"])
    before = workspace.read("cmdline").get("config")
    if before == config and records(workspace.read("ips")):
        return
    taken = []
    for record in address_records(before) if before else []:
        found = interfaces.find(workspace.read("ips"), record["public_ip"])
        if found and _is_of_arguments(found, record):
            interfaces.take(workspace, record["public_ip"])
            taken.append(record["public_ip"])
    for record in address_records(config):
        if interfaces.find(workspace.read("ips"), record["public_ip"]) is None:
            interfaces.put(workspace, record)
    uses.forget(workspace, (ip for ip in taken if interfaces.find(workspace.read("ips"), ip) is None))
    workspace.edit("cmdline")["config"] = config


def _is_of_arguments(found: dict[str, Any], record: dict[str, Any]) -> bool:
    """Tell a record that arguments made from one that a drop made, which has ``first_i_p``."""
    return "first_i_p" not in found and found["nw_type"] == record["nw_type"]


def adopt_arguments(bag: Bag) -> Bag:
    """Settle the boot arguments; the original writes ``redundant_router`` as true or false."""
    if "config" not in bag:
        return {}
    config = under("config", cmdline.stored_arguments, bag["config"])
    if config.get("redundant_router") == "false":
        del config["redundant_router"]
    return {"config": settled(config)}
