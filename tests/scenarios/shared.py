# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A shared network: a router that does not route, VMs in two subnets of one NIC, and drops about them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.router import Answer, Router
from tests.scenarios.drops import Drop, named

ROUTER, ALIAS = "10.30.0.5", "10.30.1.5"
MASK = "255.255.255.0"
GATEWAYS = {"10.30.0.0/24": "10.30.0.1", "10.30.1.0/24": "10.30.1.1"}
RESOLVERS = ("203.0.113.53", "203.0.113.54")
VMS = {
    "first": ("10.30.0.11", "02:01:00:00:0b:01"),
    "second": ("10.30.0.12", "02:01:00:00:0b:02"),
    "third": ("10.30.1.13", "02:01:00:00:0b:03"),
}
CMDLINE = (
    f"template=domP name=r-301-VM eth0ip={ROUTER} eth0mask={MASK} gateway=10.30.0.1 privateMtu=1500"
    " domain=lab.internal cidrsize=24 dhcprange=10.30.0.1 eth1ip=169.254.5.45 eth1mask=255.255.0.0 type=dhcpsrvr"
    f" disable_rp_filter=true dns1={RESOLVERS[0]} dns2={RESOLVERS[1]} logrotatefrequency=*:00:00"
)


@dataclass
class Shared:
    """The router and the VMs by name; drops sent through it get names of their own."""

    router: Router
    vms: Mapping[str, Host]
    sent: int = 0

    def drop(self, kind: str, body: Drop) -> Answer:
        """Send a drop and have it taken."""
        self.sent += 1
        return self.router.drop(named(kind, self.sent), body)


def network(lab: Lab, cmdline: str = CMDLINE) -> Shared:
    """Make the network and wait until its router has booted; no drop is sent yet."""
    for segment in ("guest", "control"):
        lab.segment(segment)
    nics = {"eth0": ("guest", lab.mac("r1.guest")), "eth1": ("control", lab.mac("r1.control"))}
    router = lab.router("r1", cmdline, nics)
    vms = {name: lab.host(name, "guest", f"{address}/24", mac=mac) for name, (address, mac) in VMS.items()}
    router.wait_boot()
    return Shared(router, vms)


def entry(name: str, *, mac: str | None = None, address: str | None = None, **fields: object) -> Drop:
    """Return the DHCP entry of a VM."""
    known_address, known_mac = VMS.get(name, ("", ""))
    ip = address or known_address
    return {
        "host_name": name,
        "mac_address": mac or known_mac,
        "ipv4_address": ip,
        "ipv6_duid": "00:03:00:01:02:01:00:00:0b:01",
        "dns_addresses": ROUTER,
        "default_gateway": f"{ip.rpartition('.')[0]}.1",
        "default_entry": True,
        "lease_time": 0,
        "remove": False,
        "type": "dhcpentry",
        **fields,
    }


def alias(*, revoke: bool = False) -> Drop:
    """Return the router's address in the second subnet."""
    one = {"revoke": revoke, "ip_address": ALIAS, "netmask": MASK, "count": 1}
    return {"aliases": [one], "type": "ipaliases"}


def ranges() -> Drop:
    """Return the subnets with their gateways."""
    found = [
        {"router_ip_address": own, "gateway": gateway, "netmask": MASK, "first_ip_of_subnet": gateway}
        for own, gateway in zip((ROUTER, ALIAS), GATEWAYS.values(), strict=True)
    ]
    return {"entries": found, "type": "dhcpconfig"}


def data(address: str, user_data: bytes | None, **keys: str | None) -> Drop:
    """Return the metadata of a VM; a key's underscores are dashes."""
    blob = None if user_data is None else base64.b64encode(user_data).decode()
    items = [["userdata", "user-data", blob]]
    items += [["metadata", key.replace("_", "-"), value] for key, value in keys.items()]
    return {"vm_ip_address": address, "vm_metadata": items, "type": "vmdata"}


def password(address: str, text: str) -> Drop:
    """Return a password for a VM."""
    return {"ip_address": address, "password": text, "type": "vmpassword"}
