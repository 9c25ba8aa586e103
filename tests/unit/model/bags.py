# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databags in the shape that the merge writes, as small as a test needs them."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic

Record = dict[str, Any]


def address(ip: str, nw_type: str = "public", **fields: Any) -> Record:
    """Return a record of `ips`."""
    return {"public_ip": ip, "netmask": "255.255.255.0", "add": True, "nw_type": nw_type, **fields}


def ips(**devices: list[Record]) -> Record:
    """Return the databag `ips`."""
    return {"id": "ips", **devices}


def cmdline(**arguments: str) -> Record:
    """Return the databag `cmdline` of an isolated network's router."""
    return {"id": "cmdline", "config": {"type": "router", "name": "r-1-VM", **arguments}}


def firewall(*rules: Record) -> Record:
    """Return the databag `firewallrules`, with ids from 1."""
    return {"id": "firewallrules", **{str(n): {"id": n, **rule} for n, rule in enumerate(rules, start=1)}}


def ingress(ip: str = "192.0.2.10", **fields: Any) -> Record:
    """Return an ingress rule."""
    return {
        "src_ip": ip,
        "protocol": "tcp",
        "traffic_type": "Ingress",
        "source_cidr_list": ["0.0.0.0/0"],
        "dest_cidr_list": [],
        "default_egress_policy": False,
        "revoked": False,
        **fields,
    }


def egress(policy: bool, **fields: Any) -> Record:
    """Return an egress rule; without further fields it is the default policy."""
    return {
        **ingress("", protocol="all", source_cidr_list=[]),
        "traffic_type": "Egress",
        "default_egress_policy": policy,
        **fields,
    }


def nics(**macs: str) -> list[Nic]:
    """Return NICs by name, such as eth0="0a" for the last byte of the MAC."""
    return [Nic(name, f"02:00:00:00:00:{last}") for name, last in macs.items()]


def mac(last: str) -> str:
    """Return the MAC address with the given last byte, as the data may spell it."""
    return f"02:00:00:00:00:{last}".upper()


def dual_stack_shared() -> dict[str, Record]:
    """Return the databags of the router of a shared network with IPv6, whose routers are others."""
    ways = {"gateway": "10.1.1.254", "ip6gateway": "2001:db8:a:1::fe"}
    arguments = cmdline(type="dhcpsrvr", eth0ip6="2001:db8:a:1::5", eth0ip6prelen="64", **ways)
    return {"cmdline": arguments, "ips": ips(eth0=[address("10.1.1.5", "guest")])}
