# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load balancer of the `loadbalancer` databag: haproxy's lines as sent, certificates, and what to open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port that clients may use; `ip` None means every address haproxy listens on with that port."""

    ip: IPv4Address | None
    port: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as sent, line ends normalised; `password` is the one of an encrypted key."""

    name: str
    certificate: str
    key: str = field(repr=False)
    chain: str = ""
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """What the management server asks of haproxy.

    `addresses` are those that the databags give this router, also on NICs that are not plugged in yet. The lines hold
    the password of the statistics page; `places` say where in the drop each of them stands.
    """

    lines: tuple[str, ...] = field(repr=False)
    listeners: tuple[Listener, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    addresses: frozenset[IPv4Address] = frozenset()
    places: tuple[str, ...] = field(default=(), repr=False, compare=False)


def load_balancer(bags: Mapping[str, Any]) -> LoadBalancer | None:
    """Return the load balancer, None until a drop has asked for one.

    The databag has one record; the records of several would be one configuration (G3). Lines end where haproxy ends
    them: Python would end some at signs that users may write, such as U+2028.
    """
    records = bags.get("loadbalancer", {}).get("config") or []
    if not records:
        return None
    opened = (rule for record in records for key in ("add_rules", "stat_rules") for rule in record.get(key) or ())
    certificates = (_certificate(sent) for record in records for sent in record.get("ssl_certs") or ())
    lines = list(_lines(records))
    return LoadBalancer(
        lines=tuple(line for _place, line in lines),
        listeners=tuple(sorted({_listener(rule) for rule in opened if rule}, key=_order)),
        certificates=tuple(sorted(certificates, key=lambda found: found.name)),
        addresses=frozenset(_addresses(bags)),
        places=tuple(place for place, _line in lines),
    )


def _lines(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each line of the configurations with its JSON path: an element may hold several."""
    for number, record in enumerate(records):
        for at, text in enumerate(record["configuration"]):
            for line in text.split("\n"):
                yield f"rules[{number}].configuration[{at}]", line


def _listener(rule: str) -> Listener:
    """Return what `ip:port:…` opens; the statistics of visibility `all` say 0.0.0.0/0."""
    ip, port, _rest = rule.split(":", 2)
    return Listener(values.address(ip), int(port))


def _order(listener: Listener) -> tuple[int, int]:
    return (int(listener.ip or 0), listener.port)


def _certificate(sent: Mapping[str, Any]) -> Certificate:
    return Certificate(
        name=sent["name"],
        certificate=_text(sent["cert"]),
        key=_text(sent["key"]),
        chain=_text(sent.get("chain") or ""),
        password=sent.get("password") or None,
    )


def _text(pem: str) -> str:
    """Return PEM with line feeds only: what users paste often has carriage returns."""
    lines = (line.strip() for line in pem.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def _addresses(bags: Mapping[str, Any]) -> Iterator[IPv4Address]:
    """Yield the addresses of the router, those that a redundant pair shares included."""
    config = bags.get("cmdline", {}).get("config", {})
    candidates = [config.get("guestgw"), *(config.get(f"eth{number}ip") for number in range(3))]
    for name, fields in (("ips", ("public_ip",)), ("guestnetwork", ("router_guest_ip", "router_guest_gateway"))):
        for key, entries in bags.get(name, {}).items():
            for entry in () if key == "id" else entries:
                candidates += [entry.get(field_name) for field_name in fields]
    yield from (ip for ip in map(values.address, candidates) if ip)
