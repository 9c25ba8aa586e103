# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a router has become, in a form that two routers, or one before and after, are compared by."""

from __future__ import annotations

import difflib
import json
import uuid
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from tests.lab.router import CACHE, Answer, Router, with_private_keys
from tests.scenarios.drops import Drop

SERVED = ("/var/www/cloudstack", "/var/lib/cloudstack-passwords")
"""Metadata, and the passwords that wait or were fetched."""

WATCHED = ("/etc", "/var/lib/cloudstack/nftables", *SERVED)
"""Where a converge that has nothing to do must not write; databags are among it."""
DAEMONS = ("dnsmasq", "nginx", "cloudstack-passwords", "ssh")
FILES = (
    "/var/lib/cloudstack/nftables/ruleset.nft",
    "/var/lib/cloudstack/nftables/usage.nft",
    "/etc/dnsmasq.conf",
    "/etc/dnsmasq.cloudstack",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/hostname",
    *SERVED,
)
TABLES = ("cloudstack", "cloudstack_usage")
DATABAGS = "/etc/cloudstack"

CONVERGE = "configure.py monitor_service.json"
"""A converge without a drop."""


def ordered(directory: Path) -> list[str]:
    """Return the drops of a directory in the order they were sent."""
    lines = (directory / "ORDER").read_text(encoding="utf-8").splitlines()
    return [line.split(" ", 1)[1] for line in lines if line.startswith("file ")]


def aggregate(drops: Iterable[tuple[str, bytes]], scripts: Sequence[str] = ()) -> bytes:
    """Return an aggregate of drops `(name, content)` as the management server writes it, then further commands."""
    parts = [b"#Apache CloudStack Virtual Router Config File\n<version>\n1.0\n</version>\n"]
    for name, content in drops:
        parts.append(b"<file>\n%s/%s\n%s\n</file>\n" % (CACHE.encode(), name.encode(), content))
        parts.append(b"<script>\n/opt/cloud/bin/update_config.py %s\n</script>\n" % name.encode())
    parts += [b"<script>\n%s\n</script>\n" % script.encode() for script in scripts]
    return b"".join(parts)


def apply_together(router: Router, name: str, directory: Path, drops: Iterable[str]) -> Answer:
    """Apply drops of a directory in one converge, as after a restart of the network."""
    bodies = [(drop.split("-", 1)[1], with_private_keys((directory / drop).read_bytes())) for drop in drops]
    router.send(name, aggregate(bodies))
    return router.command(f"vr_cfg.sh -c {CACHE}/{name}")


def change(router: Router, *bodies: Drop, check: bool = True) -> Answer:
    """Apply drops in one converge, under names that were never used before."""
    unique = uuid.uuid4()
    numbered = [(f"{body['type']}.json.{unique}.{i}", json.dumps(body).encode()) for i, body in enumerate(bodies)]
    router.send(f"VR-{unique}.cfg", aggregate(numbered))
    return router.command(f"vr_cfg.sh -c {CACHE}/VR-{unique}.cfg", check=check)


def record(router: Router, name: str = "converge") -> dict[str, Any]:
    """Return the result record of a converge."""
    found: dict[str, Any] = json.loads(router.read(f"/var/lib/cloudstack/results/{name}.json"))
    return found


def repaired(router: Router) -> list[str]:
    """Converge without a drop, and return the services that it found changed."""
    router.command(CONVERGE)
    changed: list[str] = record(router)["changed"]
    return changed


def contents(router: Router, *paths: str) -> dict[str, str]:
    """Return files and what is in them, by path."""
    script = 'find "$@" -type f 2>/dev/null | sort | while read -r path; do sha256sum "$path"; done'
    lines = router.exec("sh", "-c", script, "contents", *paths).stdout.splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def databags(router: Router) -> dict[str, str]:
    """Return the databags in force by path, with their digests."""
    found = contents(router, DATABAGS)
    return {path: digest for path, digest in found.items() if "/." not in path and path.endswith(".json")}


def network(router: Router) -> list[str]:
    """Return ruleset, links, addresses, routes and policy rules, line by line: what decides over a packet."""
    found = [line for name in TABLES for line in table(router, name)]
    for name, link in sorted(router.facts.links().items()):
        if name.startswith("eth"):
            power = "up" if "UP" in link["flags"] else "down"
            found.append(f"link {name} {link['address']} mtu {link['mtu']} {power}")
            found += [f"address {name} {address}" for address in _by_subnet(router.facts.addresses(name))]
            found += [f"address {name} {address}" for address in sorted(router.facts.addresses(name, "inet6"))]
    routes = router.exec("ip", "-4", "route", "show", "table", "all").stdout.splitlines()
    routes += router.exec("ip", "-6", "route", "show", "table", "main").stdout.splitlines()
    rules = router.exec("ip", "rule", "show").stdout.splitlines()
    return found + sorted(f"route {' '.join(route.split())}" for route in routes) + [f"rule {rule}" for rule in rules]


def _by_subnet(addresses: list[str]) -> list[str]:
    """Order what means nothing in the kernel's order: subnets, and the addresses of each after its primary one."""
    subnets: dict[str, list[str]] = {}
    for address in addresses:
        subnets.setdefault(str(ip_interface(address).network), []).append(address)
    return [address for _network, own in sorted(subnets.items()) for address in (own[0], *sorted(own[1:]))]


def table(router: Router, name: str) -> list[str]:
    """Return a table's rules, sets and counters, without their order of making and without what packets put there."""
    lines = router.exec("nft", "--stateless", "list", "table", "inet", name).stdout.splitlines()[1:-1]
    return [line for part in sorted("\n".join(lines).split("\n\n")) for line in _part(part)]


def _part(part: str) -> list[str]:
    head, _equals, elements = part.partition("elements = {")
    if "flags dynamic" in head:
        # Its end looks otherwise while it is empty.
        return [line for line in head.splitlines() if line.strip("\t }")]
    return head.splitlines() + sorted(element.strip(" {}\n\t") for element in elements.split(",") if elements)


def state(router: Router) -> list[str]:
    """Return all that the drops decide, line by line: the network, and the files of the services."""
    return network(router) + [f"{digest} {path}" for path, digest in contents(router, *FILES).items()]


def assert_same(expected: Sequence[str], found: Sequence[str]) -> None:
    """Fail with what is missing (-) and what is too much (+)."""
    lines = difflib.unified_diff(expected, found, "expected", "found", n=0, lineterm="")
    text = "\n".join(lines)
    assert not text, text
