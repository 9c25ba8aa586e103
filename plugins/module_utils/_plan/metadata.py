# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Metadata and user data: the web server, and one small directory per VM that it serves by the VM's address.

The tree below WEB_ROOT: `<address>` is a link to `.vms/<address>,<digest>`, a directory with a file per key, and the
files `.user-data` and `.index`, which no key can be called. A change is a new directory beside the old one and the
renaming of one link. The digest tells what the directory holds, and it and every file in it bear a time of last change
made from the digest: so an edit by hand is found by looking at times, and 2,000 unchanged VMs are never read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.metadata import Items
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    Run,
    Step,
    Unit,
    Wanted,
)

WEB_ROOT = "/var/www/cloudstack"
LAYOUT = b"layout 1"
"""Goes into the digests, so that a router that changes its layout writes every directory anew."""

STORE = ".vms"
"""A hidden name: no address of a client is spelled like this."""

CONFIG = "/etc/nginx/nginx.conf"
CERTIFICATE, KEY = "/etc/ssl/certs/cloudstack-metadata.pem", "/etc/ssl/private/cloudstack-metadata.key"
HEADER = "# Owned by cloudstack.virtual_router (metadata): do not edit."
OFFERED = "/run/cloudstack/nginx/*.conf"
"""Pieces of the web server's configuration that no databag decides, and that no reboot survives."""
USER_DATA, INDEX = ".user-data", ".index"
PORTS = (80, 443)
WEB = "nginx"
CERTIFICATE_UNIT = "cloudstack-metadata-certificate"


@dataclass(frozen=True, slots=True)
class Vm:
    """The data of a VM, known by a digest of what its drop said; the files are only made when they are written."""

    address: str
    digest: str
    items: Items = field(compare=False, repr=False)

    @property
    def target(self) -> str:
        """Return where the link of the VM leads, below WEB_ROOT."""
        return f"{STORE}/{self.address},{self.digest}"

    @property
    def stamp(self) -> int:
        """Return the time of last change of everything in the directory, in seconds: 30 bits of the digest.

        A file system with small inodes ends in 2038 (ext4 of 128 bytes, XFS without bigtime), some count in twos.
        """
        return int(self.digest[:8], 16) & 0x7FFFFFFE

    def files(self) -> dict[str, bytes]:
        """Return the content of each file by its name in the VM's directory.

        Null is an empty file and an empty text is no file at all (drops.md); folders of other names are not served.
        """
        found = {}
        for folder, name, content in self.items:
            if not name or content == "":
                continue
            if folder == "userdata" and name == "user-data":
                found[USER_DATA] = decode(content or "")
            elif folder == "metadata":
                found[name] = (content or "").encode()
        names = sorted(name for name in found if name != USER_DATA)
        return found | {INDEX: "".join(f"{name}\n" for name in names).encode()}


@dataclass(frozen=True, slots=True)
class PublishMetadata(Step):
    """Write the directories of VMs and switch their links over, then remove what no VM has any more."""

    vms: tuple[Vm, ...]
    gone: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"publish the metadata of {len(self.vms)} VMs, withdraw that of {len(self.gone)}"

    @property
    def before(self) -> str:
        return "".join(f"{address}\n" for address in self.gone)

    @property
    def after(self) -> str:
        return "".join(f"{vm.address} {vm.digest}\n" for vm in self.vms)


def decode(text: str) -> bytes:
    """Decode base64 of either alphabet (RFC 4648), with or without its padding and with line breaks."""
    plain = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4))


def vms(data: Mapping[str, Items]) -> dict[str, Vm]:
    """Return the VMs by address."""
    encode = json.JSONEncoder(check_circular=False).encode
    return {address: Vm(address, _digest(encode(items)), items) for address, items in data.items()}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12, person=LAYOUT).hexdigest()


def compare(wanted: Mapping[str, Vm], links: Mapping[str, str], damaged: Iterable[str]) -> list[Step]:
    """Return the one step from the links that are there to the ones wanted; `damaged` are VMs to write anew."""
    broken = set(damaged)
    stale = [vm for vm in wanted.values() if links.get(vm.address) != vm.target or vm.address in broken]
    gone = sorted(name for name in links if name not in wanted)
    return [PublishMetadata(tuple(stale), tuple(gone))] if stale or gone else []


def wanted(router: Router, render: Callable[..., str]) -> Wanted:
    """Return the web server's configuration and unit; without guest addresses it does not run."""
    listen = [f"[{ip}]" if ":" in ip else ip for ip in router.service_addresses]
    fields = {"listen": listen, "root": WEB_ROOT, "certificate": CERTIFICATE, "key": KEY, "offered": OFFERED}
    config = render("nginx/nginx.conf.j2", header=HEADER, **fields)
    check = ("nginx", "-t", "-q", "-c", "{}")
    return Wanted(
        files=(File(CONFIG, config, effect=Effect.RELOAD, checker=check),),
        units=(Unit(WEB, running=bool(listen)),),
    )


def sockets(router: Router) -> frozenset[tuple[str, int]]:
    """Return the addresses and ports that the web server listens on."""
    return frozenset((ip, port) for ip in router.service_addresses for port in PORTS)


def certificate(present: bool) -> list[Step]:
    """Return the making of the self-signed certificate, which every router makes for itself once."""
    make = ("systemctl", "start", f"{CERTIFICATE_UNIT}.service")
    return [] if present else [Run(make, "make the certificate of the metadata server")]


def _guest_rules(_router: Router) -> tuple[str, ...]:
    """Let VMs ask; all that nginx and the password server can hold must not be one VM's."""
    return (
        "tcp dport { 80, 443, 8080 } add @service_connections { ip saddr ct count over 100 } reject with tcp reset",
        "tcp dport { 80, 443, 8080 } accept",
    )


SHARE = Share(guest_rules=_guest_rules)
