# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load balancer: haproxy's files, what the packet filter opens for it, and what it may not take.

haproxy runs while it has something to listen on. A configuration that does not differ is not reloaded (G2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import one_line
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import (
    Certificate,
    LoadBalancer,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Role, Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import haproxy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import compare as compare_files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.nft import NamedSet
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import (
    CERTIFICATES,
    Bind,
    Section,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.share import Share
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    File,
    HaproxyService,
    RemoveFile,
    Run,
    Step,
    Unit,
    Wanted,
)

CONFIG = "/etc/haproxy/haproxy.cfg"
ADDED_WORDS = "/etc/haproxy/cloudstack-words"
"""What the role's variable adds to `haproxy_words`, a line a keyword."""
HEADER = "# Owned by cloudstack.virtual_router (load_balancer): do not edit."
UNIT = "haproxy"
_DROP = "load_balancer.json"
_MARK = "# Decrypted from "


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening TCP socket; `ip` None is every address."""

    ip: IPv4Address | None
    port: int
    program: str


def sections(balancer: LoadBalancer | None) -> tuple[Section, ...]:
    """Return the configuration as current haproxy takes it; nothing without a load balancer."""
    return () if balancer is None else haproxy.translate(haproxy.parse(balancer.lines))


def wanted(balancer: LoadBalancer, keys: Mapping[str, str], render: Callable[..., str]) -> Wanted:
    """Return the files and the unit; `keys` are the private keys without encryption, by the certificate's name."""
    parts = sections(balancer)
    files = [
        File(pem_path(sent), pem(sent, keys[sent.name]), mode=0o600, secret=True) for sent in balancer.certificates
    ]
    text = render("haproxy/haproxy.cfg.j2", header=HEADER, sections=parts)
    files.append(File(CONFIG, text, mode=0o600, secret=True))
    return Wanted(files=tuple(files), units=(Unit(UNIT, running=bool(haproxy.binds(parts))),))


def compare(target: Wanted, live: Live, present: Iterable[str], hidden: tuple[str, ...] = ()) -> list[Step]:
    """Return what is missing. `present` are the files in the directory of certificates, `hidden` no message shows."""
    writes = compare_files(replace(target, units=()), live)
    unit = target.units[0]
    running = unit.name in live.active
    service: list[Step] = []
    if unit.running and (writes or not running):
        service = [HaproxyService("reload" if running else "start", target.files, hidden)]
    elif not unit.running and (writes or running):
        service = [HaproxyService("stop" if running else "judge", target.files, hidden)]
    known = {file.path for file in target.files}
    return [*writes, *service, *(RemoveFile(path) for path in sorted(present) if path not in known)]


def stop() -> list[Step]:
    """Return the step that stops haproxy."""
    return [Run(("systemctl", "stop", f"{UNIT}.service"), f"stop {UNIT}")]


def pem_path(sent: Certificate) -> str:
    """Return where a certificate's file is."""
    return f"{CERTIFICATES}/{sent.name}.pem"


def encrypted(sent: Certificate) -> bool:
    """Tell whether the key needs its password: PKCS #8 says so in its title (RFC 7468), older PEM in a header."""
    return "BEGIN ENCRYPTED PRIVATE KEY" in sent.key or "Proc-Type: 4,ENCRYPTED" in sent.key


def pem(sent: Certificate, key: str) -> str:
    """Return certificate, chain and key as the one file that haproxy reads.

    The first line of a decrypted one tells what it was made from, so that openssl need not be asked at every
    converge; text before the first BEGIN is no part of a PEM (RFC 7468, section 2).
    """
    body = f"{sent.certificate}{sent.chain}{key}"
    return f"{_MARK}{_digest(*_source(sent), body)}\n{body}" if encrypted(sent) else body


def decrypted_key(sent: Certificate, live: str | None) -> str | None:
    """Return the key from the live file if that was made from this very certificate, None if it is to be made anew."""
    mark, _newline, body = (live or "").partition("\n")
    public = f"{sent.certificate}{sent.chain}"
    if mark == f"{_MARK}{_digest(*_source(sent), body)}" and body.startswith(public):
        return body.removeprefix(public)
    return None


def _source(sent: Certificate) -> tuple[str, ...]:
    return (sent.key, sent.password or "")


def _digest(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def opened(router: Router) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the elements `address . port` for clients, public and guests, and those for the control network.

    What enters by a public address has met the firewall of that address before.
    """
    balancer = router.load_balancer
    if balancer is None:
        return (), ()
    bound = haproxy.binds(sections(balancer))
    everywhere = {listener.port for listener in balancer.listeners if listener.ip is None}
    asked = {(listener.ip, listener.port) for listener in balancer.listeners}
    asked |= {(bind.ip, bind.port) for bind in bound if bind.port in everywhere}
    control = {a.ip for device in router.by_role(Role.CONTROL) for a in device.addresses}
    inside = sorted((ip, port) for ip, port in asked if ip is not None and ip in control)
    outside = sorted((ip, port) for ip, port in asked if ip is not None and ip in balancer.addresses - control)
    return tuple(f"{ip} . {port}" for ip, port in outside), tuple(f"{ip} . {port}" for ip, port in inside)


def new_binds(router: Router, committed: Router) -> tuple[Bind, ...]:
    """Return what this change makes haproxy listen on; the committed configuration was judged when it came."""
    before = frozenset(haproxy.binds(sections(committed.load_balancer)))
    return tuple(bind for bind in haproxy.binds(sections(router.load_balancer)) if bind not in before)


def is_new(router: Router, committed: Router) -> bool:
    """Tell whether lines or listeners differ: what was committed before a guard was there must not stop a boot."""
    return _asked(router.load_balancer) != _asked(committed.load_balancer)


def _asked(balancer: LoadBalancer | None) -> object:
    return balancer and (balancer.lines, balancer.listeners)


def require_known_words(balancer: LoadBalancer, added: str) -> None:
    """Raise RefusedError for a word that no load balancer needs, and for a wrong line of the added ones (N3)."""
    # Most converges judge nothing, and it takes 11 ms to load.
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import haproxy_guard

    own = {ip for ip in balancer.addresses if not ip.is_unspecified}
    try:
        guard = haproxy_guard.Guard(own, tuple(added.splitlines()))
    except haproxy_guard.WordsError as error:
        raise RefusedError(ADDED_WORDS, "line", "place, keyword and arguments", one_line(str(error))) from error
    places = balancer.places or ("rules[0].configuration",) * len(balancer.lines)
    refused = guard.refusal(map(haproxy_guard.Line, balancer.lines, places))
    if refused:
        expected = "words that the role load_balancer knows"
        got = str(refused)
        for secret in haproxy.secrets(haproxy.parse(balancer.lines)):
            got = got.replace(secret, "…")
        raise RefusedError(_DROP, refused.where, expected, one_line(got))


def require_bound(balancer: LoadBalancer) -> None:
    """Raise RefusedError for a listener that the drop opens and its configuration does not have."""
    bound = haproxy.binds(sections(balancer))
    for asked in balancer.listeners:
        if not any(bind.port == asked.port and _same(bind.ip, asked.ip) for bind in bound):
            where = f"{asked.ip or '*'}:{asked.port}, which no bind has"
            raise RefusedError(_DROP, "rules[0].add_rules", "listeners of the configuration", where)


def _same(bound: IPv4Address | None, asked: IPv4Address | None) -> bool:
    return bound is None or asked is None or bound == asked


def require_own_addresses(binds: Iterable[Bind], balancer: LoadBalancer) -> None:
    """Raise RefusedError for a listener on an address that is not the router's (G4).

    One that the drop itself opens waits for its address: haproxy binds it all the same (net.ipv4.ip_nonlocal_bind), so
    it answers as soon as the address comes, and the model tells it as pending until then.
    """
    opened_by_drop = {(listener.ip, listener.port) for listener in balancer.listeners}
    for bind in binds:
        if bind.ip is None or bind.ip.is_loopback or bind.ip in balancer.addresses:
            continue
        if (bind.ip, bind.port) not in opened_by_drop:
            raise RefusedError(_DROP, "rules[0].configuration", "listeners on addresses of this router", str(bind))


def require_free(binds: Iterable[Bind], sockets: Iterable[Socket]) -> None:
    """Raise RefusedError for a listener on a port that another daemon has (G4)."""
    taken = [socket for socket in sockets if socket.program != UNIT]
    for bind in binds:
        for socket in taken:
            if bind.port == socket.port and (bind.ip is None or socket.ip in (None, bind.ip)):
                where = f"{bind}, which {socket.program} listens on"
                raise RefusedError(_DROP, "rules[0].configuration", "listeners on free ports", where)


def parse_sockets(listing: str) -> list[Socket]:
    """Return the IPv4 listeners of `ss -Hltnp`; one on [::] takes IPv4 as well unless it is v6only."""
    found = []
    for row in (line.split() for line in listing.splitlines()):
        host, _colon, port = row[3].rpartition(":") if len(row) > 3 else ("", "", "")
        host = host.partition("%")[0].removeprefix("[::ffff:").removesuffix("]")
        program = row[5].partition('(("')[2].partition('"')[0] if len(row) > 5 else ""
        if port.isdigit() and (host in ("*", "0.0.0.0") or ":" not in host.removeprefix("[")):  # noqa: S104
            ip = None if host in ("*", "0.0.0.0") else IPv4Address(host)  # noqa: S104 - read, not bound
            found.append(Socket(ip, int(port), program or "another program"))
    return found


def _sets(router: Router) -> tuple[NamedSet, ...]:
    """Return the listeners: those for public and guest NICs, and those for the control NIC."""
    outside, inside = opened(router)
    key = "ipv4_addr . inet_service"
    return (NamedSet("load_balancer_listeners", key, outside), NamedSet("control_listeners", key, inside))


def _input_rules(_router: Router) -> tuple[str, ...]:
    return (
        "iifname @public_nics ip daddr . tcp dport @load_balancer_listeners accept",
        "iifname @guest_nics ip daddr . tcp dport @load_balancer_listeners accept",
        "iifname @control_nics ip daddr . tcp dport @control_listeners accept",
    )


def closed(old: Router, new: Router) -> frozenset[str]:
    """Return the listeners that a change closes, as `address . port`."""
    if old.load_balancer == new.load_balancer:
        return frozenset()
    return frozenset(element for elements in opened(old) for element in elements).difference(*opened(new))


SHARE = Share(sets=_sets, input_rules=_input_rules, closes=closed)
