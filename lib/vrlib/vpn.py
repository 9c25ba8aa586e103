# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask charon about the tunnels of site-to-site VPN: which are up, for the management server and for their keeper."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple

from vrlib import command as vr

TUNNELS = "/var/lib/cloudstack/vpn/tunnels.json"
"""What a converge has written of the tunnels."""
SOCKET = "/run/charon.vici"
MOMENT = 0.3
"""How long an SA that is at work may hold up the others, in seconds; it is left out then."""
ASKED_AGAIN = 4
"""How often charon is asked then, a little apart: an SA is at work for a moment only."""
APART = 0.05
ANSWER = 5.0
"""How long charon may take for an answer that waits for no SA, in seconds; the management server waits for 30."""
CARRYING = (b"INSTALLED", b"REKEYING")
DISCONNECTED = 11
TEXTS = {
    0: "IPsec SA found;Site-to-site VPN have connected",
    DISCONNECTED: "IPsec SA not found;Site-to-site VPN have not connected",
}
"""What the management server knows by heart (contract.md)."""


class Tunnel(NamedTuple):
    """Say what there is of a connection: an IKE SA that is up, or under way, children that carry traffic, peers."""

    established: bool = False
    connecting: bool = False
    installed: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()


class Seen(NamedTuple):
    """What charon has of each connection, by name; not `complete` where an SA was at work all the time."""

    tunnels: dict[str, Tunnel]
    complete: bool


def tunnels() -> list[dict[str, Any]]:
    """Return what a converge has written; none on a router without a tunnel."""
    try:
        with open(vr.at(TUNNELS), encoding="utf-8") as file:
            found: list[dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return []
    return found


def connect(seconds: float = ANSWER) -> socket.socket | None:
    """Return a connection to charon, each answer within so many seconds; None when it does not run.

    Raises CommandError when nobody takes the connection: so many wait before a charon that hangs.
    """
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(seconds)
    try:
        channel.connect(vr.at(SOCKET))
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    except OSError as error:
        channel.close()
        raise vr.CommandError(f"charon does not answer: {error}") from error
    return channel


def seen() -> Seen | None:
    """Return what charon has, None when it does not run; CommandError when it does not answer.

    It lists SAs one after the other, and waits for one that is at work. Who asks for another shall have an answer.
    """
    channel = connect(MOMENT)
    if channel is None:
        return None
    # Only in the router's own Python.
    import vici

    try:
        with channel:
            return Seen(listed(vici.Session(channel)), complete=True)
    except (OSError, vici.exception.SessionException):
        # Something is at work, or charon is: it says which when it is asked for what it has at hand.
        return _at_hand()


def _at_hand() -> Seen | None:
    import vici

    known: dict[str, Tunnel] = {}
    for _attempt in range(ASKED_AGAIN):
        channel = connect()
        if channel is None:
            return None
        try:
            with channel:
                found = listed(vici.Session(channel), {"noblock": "yes"})
        except (OSError, vici.exception.SessionException) as error:
            raise vr.CommandError(f"charon does not answer: {error}") from error
        known = {name: _both(known.get(name), found.get(name)) for name in {*known, *found}}
        time.sleep(APART)
    return Seen(known, complete=False)


def listed(ike: Any, how: dict[str, str] | None = None) -> dict[str, Tunnel]:
    """Return what charon has of each connection, by name; `how` it is asked is in the README of the vici plugin."""
    found: dict[str, Tunnel] = {}
    for answer in ike.list_sas(how):
        for name, sa in answer.items():
            found[name] = _both(found.get(name), _tunnel(sa))
    return found


def _tunnel(sa: dict[str, Any]) -> Tunnel:
    state, children = sa["state"].decode(), sa.get("child-sas", {}).values()
    tasks = [*sa.get("tasks-queued", ()), *sa.get("tasks-active", ())]
    return Tunnel(
        established=state in ("ESTABLISHED", "REKEYING"),
        connecting=state == "CONNECTING" or b"CHILD_CREATE" in tasks or b"QUICK_MODE" in tasks,
        installed=frozenset(child["name"].decode() for child in children if child["state"] in CARRYING),
        addresses=frozenset((sa["remote-host"].decode(),)),
    )


def _both(one: Tunnel | None, other: Tunnel | None) -> Tunnel:
    """Return what two SAs of a connection are together."""
    one, other = one or Tunnel(), other or Tunnel()
    return Tunnel(
        one.established or other.established,
        one.connecting or other.connecting,
        one.installed | other.installed,
        one.addresses | other.addresses,
    )


def states() -> dict[str, int]:
    """Return 0 for each peer that is connected, by all that has to be there: an IKE SA and traffic that it carries."""
    known = seen()
    if known is None:
        return {}
    up = {name for name, tunnel in known.tunnels.items() if tunnel.established and tunnel.installed}
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
