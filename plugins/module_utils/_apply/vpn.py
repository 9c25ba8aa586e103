# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""charon at work: have it load its files, end what is gone, and see that it has what it was told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File

OPTIONS = "/etc/swanctl/cloudstack.json"
"""What the role's variables say; see `Options`."""
SOCKET = "/run/charon.vici"
"""Where charon listens for vici, which swanctl speaks too (strongSwan's README of the vici plugin)."""
OURS = "s2s-"
"""What names of our connections begin with."""
ANSWER = 20.0
"""How long charon may take for one answer, in seconds."""
FAREWELL = "1000"
"""How long a peer has to answer that a tunnel is gone, in milliseconds: it is gone then, whatever the peer says."""


def options() -> vpn.Options:
    """Return what the operator says of all tunnels; a router that was not told has the defaults."""
    found = files.read(OPTIONS)
    said = json.loads(found.content) if found else {}
    return vpn.Options(
        default_proposals=bool(said.get("default_proposals", False)),
        protected_devices=tuple(map(str, said.get("protected_devices", ()))),
    )


def told() -> dict[str, str]:
    """Return the digests of what charon was told last; nothing, or damaged, means that it is told anew."""
    found = files.read(vpn.TOLD)
    return vpn.recorded(found.content) if found else {}


def tell(step: vpn.TellDaemon, host: Host) -> None:
    """Carry out the step; CommandError with charon's words when it refuses a connection.

    What is under way is written down first: whoever comes after a failure, or a kill, tells it all of that again.
    """
    before, wanted = told(), dict(step.digests)
    differing = {name for name in {*before, *wanted} if before.get(name) != wanted.get(name)}
    under_way = {**before, **dict.fromkeys(differing, "")}
    _remember(under_way)
    if vpn.DAEMON in host.active:
        with session() as ike:
            # swanctl would wait for one that hangs for as long as it is let.
            ike.version()
            for name in step.ended:
                _end(ike, name)
        host.run(("swanctl", "--load-creds", "--noprompt"))
        host.run(("swanctl", "--load-conns"))
    else:
        host.run(("systemctl", "start", f"{vpn.DAEMON}.service"))
        # Its unit has written down that it was told everything, which is still to be seen.
        _remember(under_way)
    with session() as ike:
        _end_strays(ike, wanted)
        _must_have(ike, step)
    _remember(wanted)
    host.run.log(step.summary)


@contextmanager
def session() -> Iterator[Any]:
    """Open a session with charon; CommandError when it does not answer, or refuses."""
    # Not part of ansible-core: it is on routers alone, and only a change of a VPN needs it.
    import vici

    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(ANSWER)
        try:
            channel.connect(SOCKET)
            yield vici.Session(channel)
        except OSError as error:
            raise CommandError(("vici",), 1, f"charon does not answer: {error}") from error
        except (vici.exception.CommandException, vici.exception.SessionException) as error:
            raise CommandError(("vici",), 1, str(error)) from error


def _end(ike: Any, name: str) -> None:
    """Unload a connection and end its SAs; one that is not there is none to end."""
    from vici.exception import CommandException

    with suppress(CommandException):
        ike.unload_conn({"name": name})
    with suppress(CommandException):
        list(ike.terminate({"ike": name, "force": "yes", "timeout": FAREWELL}))


def _end_strays(ike: Any, wanted: Mapping[str, str]) -> None:
    """End tunnels of connections that no longer are: a daemon keeps what it no longer has a configuration for."""
    for found in list(ike.list_sas()):
        for name in found:
            if name.startswith(OURS) and name not in wanted:
                _end(ike, name)


def _must_have(ike: Any, step: vpn.TellDaemon) -> None:
    """Raise CommandError unless charon lists exactly the connections and secrets that are wanted, and an operator's."""
    names = {name.decode() for name in ike.get_conns()["conns"]}
    secrets = {name.decode() for name in ike.get_shared()["keys"]}
    for what, known, ours, before in (("connections", names, OURS, ""), ("secrets", secrets, f"ike-{OURS}", "ike-")):
        has = {name for name in known if name.startswith(ours)}
        wanted = {f"{before}{tunnel.name}" for tunnel in step.tunnels}
        if has != wanted:
            differing = ", ".join(sorted(has ^ wanted))
            raise CommandError(("swanctl", "--load-all"), 0, f"{what} are not as they were loaded: {differing}")


def _remember(digests: Mapping[str, str]) -> None:
    files.replace(File(vpn.TOLD, vpn.record(digests), mode=0o600))
