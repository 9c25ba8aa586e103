# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Site-to-site VPN: the files that strongSwan's charon reads, and what is to be told to a daemon that runs.

The daemon is asked only when a file differs from what it was told last: no other drop touches a tunnel (H3).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Tunnel
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare as compare_files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import vpn_filter
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    File,
    RemoveFile,
    Run,
    Step,
    Unit,
    Wanted,
)

HEADER = "# Owned by cloudstack.virtual_router (vpn): do not edit."
DIRECTORY = "/etc/swanctl/conf.d"
PREFIX = "cloudstack-"
"""What names of our files begin with; others in the directory are nobody's of ours."""
KEEPER_FILE = "/var/lib/cloudstack/vpn/tunnels.json"
"""What the keeper and the status commands know of the tunnels; it holds no secret."""
TOLD = "/run/cloudstack/vpn.told"
"""What the daemon was told last, as sha256sum prints it: its unit writes that when it starts."""
DAEMON, KEEPER = "strongswan", "cloudstack-vpn"
UNITS = (DAEMON, KEEPER)


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator says of all tunnels: role variables `vpn_default_proposals` and `vpn_protected_devices`."""

    default_proposals: bool = False
    protected_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TellDaemon(Step):
    """Have charon load its files, and end the SAs of connections that are gone or not as they were.

    `digests` are of all connections wanted, by name. It is started if it does not run.
    """

    digests: tuple[tuple[str, str], ...]
    ended: tuple[str, ...]
    tunnels: tuple[Tunnel, ...]

    @property
    def summary(self) -> str:
        ended = f", end {', '.join(self.ended)}" if self.ended else ""
        return f"load {len(self.digests)} VPN connections{ended}"


def wanted(router: Router, render: Callable[..., str], options: Options = Options()) -> Wanted:
    """Return the files, which both routers of a pair have, and the daemons, which the primary alone runs."""
    tunnels = router.vpn.tunnels
    if not tunnels:
        return Wanted(units=tuple(Unit(name, running=False) for name in reversed(UNITS)))
    files = [_connection(tunnel, render, options) for tunnel in tunnels]
    files.append(File(KEEPER_FILE, _known(tunnels)))
    return Wanted(files=tuple(files), units=tuple(Unit(name, running=router.active) for name in UNITS))


def units(router: Router) -> tuple[str, ...]:
    """Return what the primary of a pair runs and its backup does not."""
    return tuple(f"{name}.service" for name in UNITS) if router.vpn.tunnels else ()


def compare(router: Router, target: Wanted, live: Live, present: Iterable[str], told: Mapping[str, str]) -> list[Step]:
    """Return what is missing; `present` are the files of ours, `told` is what the daemon was told last.

    The daemon starts with its files, and what runs without a tunnel is stopped before they go.
    """
    known = {file.path for file in target.files}
    gone = [RemoveFile(path) for path in sorted(present) if path not in known]
    writes = compare_files(Wanted(files=target.files), live)
    content = {file.path: file.content for file in target.files}
    digests = {tunnel.name: digest(content[path(tunnel)]) for tunnel in router.vpn.tunnels}
    daemons = compare_files(Wanted(units=target.units), live)
    stop, start = ([step for step in daemons if _is(step, verb)] for verb in ("stop", "start"))
    tell: list[Step] = []
    if digests and router.active and (DAEMON not in live.active or dict(told) != digests):
        ended = tuple(sorted(name for name, known_as in told.items() if digests.get(name) != known_as))
        start = [step for step in start if DAEMON not in step.summary]
        tell = [TellDaemon(tuple(sorted(digests.items())), ended, router.vpn.tunnels)]
    return [*stop, *writes, *gone, *tell, *start]


def _is(step: Step, verb: str) -> bool:
    return isinstance(step, Run) and step.argv[1] == verb


def path(tunnel: Tunnel) -> str:
    """Return the file of a connection."""
    return f"{DIRECTORY}/{PREFIX}{tunnel.name}.conf"


def record(digests: Mapping[str, str]) -> str:
    """Return what is written down of what the daemon was told."""
    return "".join(f"{known_as}  {PREFIX}{name}.conf\n" for name, known_as in sorted(digests.items()))


def recorded(text: str) -> dict[str, str]:
    """Return the digests by connection, of the lines that are such."""
    lines = re.finditer(rf"^([0-9a-f]*)  {PREFIX}(\S+)\.conf$", text, re.MULTILINE)
    return {line[2]: line[1] for line in lines}


def digest(content: str) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(content.encode()).hexdigest()


def secret(psk: str) -> str:
    """Return a pre-shared key as swanctl.conf(5) takes it: base64, so that no character of it has a meaning there."""
    return "0s" + base64.b64encode(psk.encode()).decode()


def lifetimes(limit: int) -> tuple[int, int]:
    """Return when to renew what lives for `limit` seconds, and how long that may take: 90 % and the rest."""
    renewed = max(limit * 9 // 10, 1)
    return renewed, max(limit - renewed, 1)


def _connection(tunnel: Tunnel, render: Callable[..., str], options: Options) -> File:
    more = ("default",) if options.default_proposals else ()
    ike_rekey, ike_over = lifetimes(tunnel.ike_lifetime)
    text = render(
        "swanctl/site_to_site.conf.j2",
        header=HEADER,
        tunnel=tunnel,
        ike_proposals=(*tunnel.ike_proposals, *more),
        esp_proposals=(*tunnel.esp_proposals, *more),
        ike_rekey=ike_rekey,
        ike_over=ike_over,
        esp_rekey=lifetimes(tunnel.esp_lifetime)[0],
        secret=secret(tunnel.psk),
    )
    return File(path(tunnel), text, mode=0o600, secret=True)


def _known(tunnels: Iterable[Tunnel]) -> str:
    """Return what who keeps tunnels open, and who tells of them, has to know."""
    found = [
        {
            "peer": tunnel.peer,
            "name": tunnel.name,
            "children": [name for name, _networks in tunnel.children],
            "passive": tunnel.passive,
            "resolve": tunnel.address is None,
            "device": tunnel.device,
            "local": str(tunnel.local_address),
        }
        for tunnel in tunnels
    ]
    return json.dumps(found, indent=1) + "\n"


SHARE = Share(sets=lambda router: (vpn_filter.peers(router),), primary_units=units)
