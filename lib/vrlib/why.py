# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what becomes of a packet: ``vr why``."""

from __future__ import annotations

import ipaddress
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vrlib import command as vr
from vrlib import expected

if TYPE_CHECKING:
    import argparse

_NAMES = {4: {"1": "icmp", "6": "tcp", "17": "udp"}, 6: {"58": "icmp", "icmp6": "icmp", "icmpv6": "icmp"}}
_NAMES[6] |= {"6": "tcp", "17": "udp"}
_ECHO = {4: 8, 6: 128}


class _WordError(Exception):
    """A word that is not understood."""


def _refused(error: _WordError) -> int:
    """Say what was not understood; the status of a dropped packet is another."""
    sys.stderr.write(f"vr why: {error}\n")
    return 2


def why(chosen: argparse.Namespace) -> int:
    """Print what is said of the packet; the exit status is 1 if it is dropped, 2 if nothing is said or understood."""
    try:
        packet = _packet(chosen)
    except _WordError as error:
        return _refused(error)
    router = expected.router()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import DROPPED, UNKNOWN
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.why import explain

    if chosen.nic and router.device(chosen.nic) is None:
        known = ", ".join(device.name for device in router.devices)
        return _refused(_WordError(f"--in {vr.one_line(ascii(chosen.nic))}: expected one of {known}"))
    found = explain(router, packet)
    if chosen.json:
        stages = [{"what": stage.what, "by": stage.by} for stage in found.stages]
        names = ("ends", "nic_in", "nic_out", "source", "destination", "port")
        print(json.dumps({**{name: getattr(found, name) for name in names}, "stages": stages}, indent=1))
    else:
        for stage in found.stages:
            print(f"  {stage.what}" + (f"  [{stage.by}]" if stage.by else ""))
        port = f" {packet.protocol}/{found.port}" if packet.protocol in ("tcp", "udp") else f" {packet.protocol}"
        by = f" by {found.nic_out}" if found.nic_out else ""
        print(f"{found.ends}{by}: {found.source} -> {found.destination}{port}")
    return {DROPPED: 1, UNKNOWN: 2}.get(found.ends, 0)


def _packet(chosen: argparse.Namespace) -> Any:
    """Return the packet that is asked about."""
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.answer import Packet, Packet6

    source, destination = _address(chosen.source), _address(chosen.destination)
    family = source.version
    if family != destination.version:
        raise _WordError(f"{source} and {destination}: expected two addresses of one family")
    protocol, _slash, port = chosen.protocol.lower().partition("/")
    if protocol.isdecimal():
        protocol = protocol.lstrip("0") or "0"
    protocol = _NAMES[family].get(protocol, protocol)
    known = protocol in ("tcp", "udp", "icmp") or (protocol.isdecimal() and int(protocol) < 256)
    needs_port = protocol in ("tcp", "udp")
    if not known or (port and not (port.isdecimal() and int(port) < 65536)) or (needs_port and not port):
        wanted = "expected tcp/PORT, udp/PORT, icmp[/TYPE] or a number below 256"
        raise _WordError(f"{vr.one_line(ascii(chosen.protocol))[:100]}: {wanted}")
    number = int(port) if port else _ECHO[family] if protocol == "icmp" else 0
    kind: Any = Packet6 if family == 6 else Packet
    return kind(source, destination, protocol, number, nic=chosen.nic)


def _address(word: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # A NIC is said by --in: with one, the router's own address is not equal to it.
    if "%" not in word:
        with suppress(ValueError):
            return ipaddress.ip_address(word)
    raise _WordError(f"{vr.one_line(ascii(word))[:100]}: expected an IP address")
