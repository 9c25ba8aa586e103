# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask charon about the tunnels of site-to-site VPN: which are up, for the management server and for their keeper."""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple

from vrlib import command as vr

TUNNELS = "/var/lib/cloudstack/vpn/tunnels.json"
"""What a converge has written of the tunnels."""
SOCKET = "/run/charon.vici"
ANSWER = 20.0
"""How long charon may take for an answer, in seconds; the management server waits for 30."""
DISCONNECTED = 11
TEXTS = {
    0: "IPsec SA found;Site-to-site VPN have connected",
    DISCONNECTED: "IPsec SA not found;Site-to-site VPN have not connected",
}
"""What the management server knows by heart (contract.md)."""


class Tunnel(NamedTuple):
    """Say what there is of a connection: an IKE SA that is up or under way, and the children that carry traffic."""

    established: bool
    connecting: bool
    installed: frozenset[str]


def tunnels() -> list[dict[str, Any]]:
    """Return what a converge has written; none on a router without a tunnel."""
    try:
        with open(vr.at(TUNNELS), encoding="utf-8") as file:
            found: list[dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return []
    return found


def connect() -> socket.socket | None:
    """Return a connection to charon, None when it does not run."""
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(ANSWER)
    try:
        channel.connect(vr.at(SOCKET))
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    return channel


def listed(ike: Any) -> dict[str, Tunnel]:
    """Return what charon has of each connection, by name."""
    found: dict[str, Tunnel] = {}
    for answer in ike.list_sas():
        for name, sa in answer.items():
            known = found.get(name, Tunnel(False, False, frozenset()))
            state, children = sa["state"].decode(), sa.get("child-sas", {}).values()
            carrying = {child["name"].decode() for child in children if child["state"] in (b"INSTALLED", b"REKEYING")}
            busy = state == "CONNECTING" or b"CHILD_CREATE" in _tasks(sa) or b"QUICK_MODE" in _tasks(sa)
            found[name] = Tunnel(
                known.established or state in ("ESTABLISHED", "REKEYING"),
                known.connecting or busy,
                known.installed | carrying,
            )
    return found


def _tasks(sa: dict[str, Any]) -> list[bytes]:
    return [*sa.get("tasks-queued", ()), *sa.get("tasks-active", ())]


def states() -> dict[str, int]:
    """Return 0 for each peer that is connected, by all that has to be there: an IKE SA and traffic that it carries."""
    channel = connect()
    if channel is None:
        return {}
    # Only in the router's own Python.
    import vici

    with channel:
        try:
            known = listed(vici.Session(channel))
        except (OSError, vici.exception.SessionException) as error:
            raise vr.CommandError(f"charon does not answer: {error}") from error
    up = {name for name, tunnel in known.items() if tunnel.established and tunnel.installed}
    return {tunnel["peer"]: 0 for tunnel in tunnels() if tunnel["name"] in up}


def batch(peers: list[str]) -> None:
    """Print the state of each peer, in the order asked for: checkbatchs2svpn.sh."""
    known = states() if peers else {}
    codes = [(peer, known.get(peer, DISCONNECTED)) for peer in peers]
    print("".join(f"{peer}:{code}:{TEXTS[code]}&" for peer, code in codes), end="")


def single(args: list[str]) -> None:
    """Print the state of one peer and end with its code: checks2svpn.sh."""
    if not args:
        print("Fail to find VPN peer address!")
        raise SystemExit(1)
    code = states().get(args[0], DISCONNECTED)
    print(TEXTS[code])
    raise SystemExit(code)
