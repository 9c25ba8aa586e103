# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nobody sends from an address of the router, by any NIC, in either family: real packets through the real ruleset.

They are looked for before the kernel decides their way: so neither its reverse path filter nor its look at local
addresses has a part in it.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import answer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import Packet, Packet6
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.why import explain
from tests.unit.apply.namespace import Namespace, namespace, needs_root
from tests.unit.plan import test_why, test_why6
from tests.unit.plan.test_ipv6 import isolated

PROBE = """
table inet probe {
    set seen4 { typeof ip saddr . iifname; size 65535; flags dynamic; }
    set seen6 { typeof ip6 saddr . iifname; size 65535; flags dynamic; }
    chain believed {
        type filter hook prerouting priority -200;
        iifname "eth*" add @seen4 { ip saddr . iifname };
        iifname "eth*" ip6 hoplimit 64 add @seen6 { ip6 saddr . iifname };
    }
}
"""
SHARED = {"10.1.1.2": "32", "2001:db8:a:1::2": "64", "fe80::1": "64"}
"""What the primary of a pair has on eth0, and VRRP moves."""
OWN = {"10.1.1.1", "2001:db8:a:1::1", "192.0.2.10", "2001:db8:f::10"}
ANYCAST = {"2001:db8:a:1::", "2001:db8:f::"}
"""Every router of a network has that address (RFC 4291, section 2.6.1)."""
NEIGHBOURS = {"eth0": {"10.1.1.9", "2001:db8:a:1::9", "fe80::9"}, "eth2": {"192.0.2.9", "2001:db8:f::9", "fe80::9"}}


def sent(space: Namespace, router: Router, nic: str) -> set[str]:
    """Send a packet from everybody by a NIC, and return who is believed."""
    mac = next(known.mac for known in router.nics if known.name == nic)
    frames = []
    for number, source in enumerate(sorted({*OWN, *SHARED, *ANYCAST, *NEIGHBOURS[nic]}), 1):
        ip = ip_address(source)
        if isinstance(ip, IPv4Address):
            frames.append((nic, test_why.frame(Packet(ip, IPv4Address("203.0.113.7"), "udp", 53), number, mac)))
        else:
            packet = Packet6(ip, IPv6Address("2001:db8:99::7"), "udp", 53)
            frames.append((nic, test_why6.frame(packet, number, mac)))
    space(("python3", "-c", test_why.SENDER), stdin=json.dumps(frames))
    found: set[str] = set()
    for name in ("seen4", "seen6"):
        listed = json.loads(space(("nft", "-j", "list", "set", "inet", "probe", name)))
        (held,) = (item["set"] for item in listed["nftables"] if "set" in item)
        found |= {item["concat"][0] for item in held.get("elem", ()) if item["concat"][1] == nic}
    return found & {*OWN, *SHARED, *ANYCAST, *NEIGHBOURS[nic]}


PAIR = {"redundant_router": "true", "guestgw": "10.1.1.2", "guestgw6": "2001:db8:a:1::2"}


@needs_root
@pytest.mark.parametrize("state", [VrrpState.UNKNOWN, VrrpState.PRIMARY, VrrpState.BACKUP])
def test_nobody_sends_from_an_address_of_the_router(state: VrrpState) -> None:
    """But the primary from those that it shares with its backup, which announces nothing from them itself."""
    router = isolated(state=state, **({} if state is VrrpState.UNKNOWN else PAIR))
    with namespace() as space:
        test_why.set_up(space, router, PROBE)
        if state is VrrpState.PRIMARY:
            for address, length in SHARED.items():
                space.ip(f"address add {address}/{length} dev eth0 {'nodad' * (':' in address)}")
        assert space(("ping", "-c1", "-W5", "10.1.1.1")), "the router itself does"
        assert space(("ping", "-c1", "-W5", "2001:db8:a:1::1"))
        if state is VrrpState.BACKUP:
            assert sent(space, router, "eth0") == NEIGHBOURS["eth0"] | set(SHARED)
            return
        unshared = {"10.1.1.2", "2001:db8:a:1::2"} if state is VrrpState.UNKNOWN else set()
        assert sent(space, router, "eth0") == NEIGHBOURS["eth0"] | unshared
        assert sent(space, router, "eth2") == NEIGHBOURS["eth2"] | {"fe80::1"}, "that is of another link"


def asked(source: str, nic: str) -> Packet | Packet6:
    """Return a packet to somebody outside."""
    ip = ip_address(source)
    if isinstance(ip, IPv4Address):
        return Packet(ip, IPv4Address("203.0.113.7"), "udp", 53, nic=nic)
    return Packet6(ip, IPv6Address("2001:db8:99::7"), "udp", 53, nic=nic)


@pytest.mark.parametrize("source", sorted({*OWN, *SHARED} - {"fe80::1"}))
def test_who_asks_is_told_so(source: str) -> None:
    """What is the router's own comes from the router, and by a NIC from nobody."""
    primary = isolated(state=VrrpState.PRIMARY, **PAIR)
    assert explain(primary, asked(source, "")).nic_in == answer.OWN
    for nic in ("eth0", "eth2"):
        found = explain(primary, asked(source, nic))
        assert (found.ends, found.stages[-1].what, found.stages[-1].by) == (
            answer.DROPPED,
            f"{source} is the router's own, nobody else can send from it",
            "chain sources",
        )
