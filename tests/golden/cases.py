# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turn the databags of a case into what the router must become, as text a human can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.adopt import adopt
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Nic, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    advertising,
    bgp,
    dhcp_dns,
    interfaces,
    load_balancer,
    metadata,
    passwords,
    redundancy,
    system,
    vpn,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import bindings, tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import Announce, IpBatch, Wanted

GOLDEN = Path(__file__).resolve().parent
TEMPLATES = GOLDEN.parents[1] / "templates"
CPUS = 2
# Files whose last part alone would not say what they are.
NAMES = {
    "/etc/hosts": "etc-hosts",
    "/etc/ssh/sshd_config.d/cloudstack.conf": "sshd.conf",
    "/etc/iproute2/rt_tables.d/cloudstack.conf": "rt_tables",
    dhcp_dns.HOSTS: "dns-hosts",
    passwords.LISTEN: "passwords-listen",
    system.TIMER_FILE: "logrotate.timer",
}


def cases() -> list[Path]:
    """Return the directories of all cases."""
    return sorted(path.parent for path in GOLDEN.glob("*/nics.json"))


def databags(case: Path) -> dict[str, Any]:
    """Return the databags as the store hands them out: those of the original in our shape."""
    return {path.stem: adopt(path.stem, _read(path)) for path in sorted((case / "databags").glob("*.json"))}


def nics(case: Path) -> list[Nic]:
    """Return the NICs that are plugged in, from name to MAC address."""
    return [Nic(name, mac) for name, mac in _read(case / "nics.json").items()]


def renderer() -> Renderer:
    """Return a renderer over the project's own templates."""
    return Renderer({str(path.relative_to(TEMPLATES)): path.read_text("utf-8") for path in TEMPLATES.rglob("*.j2")})


def outcome(case: Path) -> dict[str, str]:
    """Return every expected file of a case, by name."""
    return rendered(build(databags(case), nics(case)))


def rendered(router: Router) -> dict[str, str]:
    """Return everything that is written for a router, by the name of its file."""
    render = renderer()
    rules, firewall = tables.wanted(router, render)
    del rules
    host = system.wanted(router, render, system.Given(ssh_keys=("ssh-ed25519 AAAA the hypervisor's agent",)))
    links = interfaces.wanted(router, CPUS)
    dns = (dhcp_dns.names(router), *(dhcp_dns.wanted(router, s, render) for s in dhcp_dns.servers(router)))
    pair = redundancy.wanted(router, render) if router.settings.redundant else ()
    told = (advertising.wanted(router, render),) if advertising.guests(router) else ()
    told += (bgp.wanted(router, render),) if bgp.neighbors(router) else ()
    tunnels = (vpn.wanted(router, render),) if router.vpn.tunnels else ()
    data = (metadata.wanted(router, render), passwords.wanted(router))
    services = (
        links,
        firewall,
        host,
        system.timer(router),
        *dns,
        *data,
        *_balancer(router, render),
        *tunnels,
        *told,
        *pair,
    )
    files = {_name(f.path): f.content for service in services for f in service.files}
    bound = bindings.wanted(router, render)
    files |= {_name(bound.path): bound.content} if bound else {}
    return {
        **files,
        "network.txt": _network(router),
        "settings.txt": _lines(f"{path} = {value}" for service in services for path, value in service.knobs),
        "units.txt": _units(services),
        **({"metadata.txt": _lines(_data(router))} if router.vm_data else {}),
        "reports.txt": _lines(
            [*(f"pending: {p}" for p in router.pending), *(f"warning: {w}" for w in router.warnings)]
        ),
    }


def _name(path: str) -> str:
    """Return the name of an expected file; those of a tier begin with the tier's."""
    found = Path(path)
    tier = f"{found.parent.name}-" if found.parent.name.startswith(dhcp_dns.TIER) else ""
    return NAMES.get(path, f"{tier}{found.name}")


def _balancer(router: Router, render: Renderer) -> tuple[Wanted, ...]:
    """Return the load balancer of a router that has one; what is encrypted in a case stays so."""
    balancer = router.load_balancer
    if balancer is None:
        return ()
    return (load_balancer.wanted(balancer, {sent.name: sent.key for sent in balancer.certificates}, render),)


def _data(router: Router) -> Iterator[str]:
    """Yield the files that each VM reads, and who has a password waiting."""
    for address, vm in metadata.vms(router.vm_data).items():
        yield from (f"{address} {name}: {content!r}" for name, content in vm.files().items())
    yield from (f"{address} has a password" for address in router.passwords)


def _network(router: Router) -> str:
    """Return the lines that make a router with bare NICs what it must be, and what it announces."""
    found = []
    for step in interfaces.compare(router, interfaces.Network()):
        if isinstance(step, IpBatch):
            found += [f"ip {line}" for line in step.lines]
        elif isinstance(step, Announce):
            found += [
                f"announce {ip} on {device} {f'to {hop}' if hop else ''}".strip() for device, ip, hop in step.addresses
            ]
    return _lines(found)


def _units(services: tuple[Wanted, ...]) -> str:
    return _lines(f"{u.name} {'runs' if u.running else 'is stopped'}" for service in services for u in service.units)


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
