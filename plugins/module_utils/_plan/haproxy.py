# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""haproxy's configuration, understood just far enough to translate what current haproxy refuses or ignores.

Everything else stays as it was sent (G10): `haproxy_guard` and haproxy itself judge it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

# Section keywords of haproxy 2.6 (configuration manual, chapters 3 and 4).
_SECTIONS = (
    *("global", "defaults", "listen", "frontend", "backend", "userlist", "peers", "resolvers", "mailers", "cache"),
    *("program", "http-errors", "ring", "log-forward", "fcgi-app"),
)
_BIND = re.compile(r"(?:ipv4@)?(\*|[0-9.]*):([0-9]+)(?:-([0-9]+))?")
_NEEDS_HTTP = ("cookie", "appsession")
_PLACEHOLDER = "vmops"
_LENIENT = "no strict-limits"
_PEERS, _PEER = "cloudstack", "127.0.0.1:10389"
CERTIFICATES = "/etc/cloudstack/ssl"
"""The directory that the server's `bind` lines name; the load balancer is its only owner."""
_SET_COOKIES = range(1, 5)
"""How many Set-Cookie headers of one answer are searched for a cookie that is known by the start of its name."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its title line and its lines, without indentation."""

    title: str
    lines: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Return the section's keyword, empty for lines before the first section."""
        return next(iter(self.title.split()), "")

    @property
    def name(self) -> str:
        """Return the section's name, empty when it has none."""
        return "".join(self.title.split()[1:2])


@dataclass(frozen=True, slots=True)
class Bind:
    """An address and port haproxy listens on; `ip` None is every address."""

    ip: IPv4Address | None
    port: int

    def __str__(self) -> str:
        return f"{self.ip or '*'}:{self.port}"


def parse(lines: Iterable[str]) -> tuple[Section, ...]:
    """Return the sections of a configuration; indentation and blank lines mean nothing to haproxy."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        text = _stripped(line)
        if text.split()[:1] and text.split()[0] in _SECTIONS:
            found.append((text, []))
        elif text:
            if not found:
                found.append(("", []))
            found[-1][1].append(text)
    return tuple(Section(title, tuple(body)) for title, body in found)


def _stripped(line: str) -> str:
    """Return the line without the blanks around it, but with one that is escaped at the end."""
    text = line.strip()
    return f"{text} " if text.endswith("\\") else text


def translate(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Return the configuration as current haproxy takes it, so that the user gets what was asked for (G6, G7)."""
    translated, mode = [], "tcp"
    for section in sections:
        if section.kind == "defaults":
            mode = _mode(section) or "tcp"
        # Old haproxy did not start without a listener, so the server sends this one when there is no rule.
        if not (section.kind == "listen" and section.name == _PLACEHOLDER):
            translated.append(_translated(section, mode))
    return _with_memory(translated)


def _with_memory(sections: list[Section]) -> tuple[Section, ...]:
    """Let a new worker learn the stick tables of the old one: who sticks to whom shall survive a reload.

    The old worker connects to the peer of its own name (configuration manual of haproxy 2.6, section 3.5). It does so
    only when it has itself learned what others know, or has waited 5 to 10 s for nobody to answer.
    """
    if not any(line.startswith("stick-table ") for section in sections for line in section.lines):
        return tuple(sections)
    found = [replace(section, lines=tuple(map(_remembered, section.lines))) for section in sections]
    at = next((at for at, section in enumerate(found) if section.kind == "global"), None)
    if at is not None:
        found[at] = replace(found[at], lines=(*found[at].lines, f"localpeer {_PEERS}"))
        found.insert(at + 1, Section(f"peers {_PEERS}", (f"peer {_PEERS} {_PEER}",)))
    return tuple(found)


def _remembered(line: str) -> str:
    words = line.split()
    return f"{line} peers {_PEERS}" if words[0] == "stick-table" and "peers" not in words else line


def _translated(section: Section, default_mode: str) -> Section:
    lines = section.lines
    sticky = _proxy(section) and any(line.split()[0] in _NEEDS_HTTP for line in lines)
    if sticky and (_mode(section) or default_mode) != "http":
        # haproxy ignores stickiness by cookie, with a warning only, where the mode is not http.
        lines = ("mode http", *(line for line in lines if line.split()[0] != "mode"))
    if section.kind == "global":
        # Where maxconn needs more descriptors than the host grants, fewer connections are better than none.
        lines = (*lines, _LENIENT)
    return replace(section, lines=tuple(new for line in lines for new in _line(line)))


def _proxy(section: Section) -> bool:
    return section.kind in ("listen", "frontend", "backend")


def _mode(section: Section) -> str | None:
    modes = [line.split()[1] for line in section.lines if re.match(r"mode\s+\S", line)]
    return modes[-1] if modes else None


def _line(line: str) -> list[str]:
    """Return the line or lines that do today what this one did."""
    words = line.split()
    if words[0] == "appsession":
        return _appsession(words) or [line]
    if words[:2] == ["option", "forceclose"]:
        # haproxy 2.0 and later closes both sides with httpclose, and says so when it refuses forceclose.
        return ["option httpclose"]
    if words[:3] == ["no", "option", "forceclose"]:
        return ["no option httpclose"]
    if words[0] == "log" and words[1:] and words[1].startswith("127.0.0.1"):
        # The original's syslog daemon; here the journal listens, also inside haproxy's chroot (Debian's unit).
        return [" ".join(("log", "/dev/log", *words[2:]))]
    return [line]


def _appsession(words: list[str]) -> list[str]:
    """Return a stick table on the application's cookie; nothing when the line is not of haproxy 1.5's syntax.

    appsession learned `cookie` from answers, `request-learn` from requests too, and looked into the URL: after `;`
    or, with `mode query-string`, in the query (configuration manual of haproxy 1.5). With `prefix` the cookie's name
    only begins like that, and the rest of the name is part of the session.
    """
    names = {"len", "timeout", "mode"}
    cookie, rest = "".join(words[1:2]), words[2:]
    values = {word: rest[at + 1] for at, word in enumerate(rest[:-1]) if word in names}
    if not re.fullmatch(r"[A-Za-z0-9_.$-]+", cookie) or not values.get("len", "").isdigit() or "timeout" not in values:
        return []
    url = f"urlp({cookie})" if values.get("mode") == "query-string" else f"urlp({cookie},;)"
    prefix = "prefix" in rest
    length = int(values["len"]) + (len(cookie) + 32 if prefix else 0)
    lines = [f"stick-table type string len {length} size 200k expire {values['timeout']}"]
    lines += [f"stick {how} {key}" for key in (f"req.cook({cookie})", url) for how in _learning(rest)]
    lines.append(f"stick store-response res.cook({cookie})")
    return lines + (_by_prefix(cookie, rest) if prefix else [])


def _learning(rest: list[str]) -> tuple[str, ...]:
    return ("match", "store-request") if "request-learn" in rest else ("match",)


def _by_prefix(cookie: str, rest: list[str]) -> list[str]:
    """Return the rules for cookies whose name begins with the given text; the key is `name=value`."""
    pattern = re.sub(r"([.$])", r"[\1]", cookie)
    request = f"""req.fhdr(cookie),'regsub("^(.*[; ])?({pattern}[^;]*).*$","\\2")'"""
    condition = f"if {{ req.fhdr(cookie) -m reg '(^|[; ]){pattern}' }}"
    lines = [f"stick {how} {request} {condition}" for how in _learning(rest)]
    for at in _SET_COOKIES:
        header = f"res.fhdr(set-cookie,{at})"
        lines.append(f"stick store-response {header},field(1,;) if {{ {header} -m beg {cookie} }}")
    return lines


def binds(sections: Iterable[Section]) -> tuple[Bind, ...]:
    """Return the IPv4 addresses and ports that the sections listen on, each once."""
    lines = (line.split() for section in sections if _proxy(section) for line in section.lines)
    specs = (spec for words in lines if words[0] == "bind" and words[1:] for spec in words[1].split(","))
    return tuple(dict.fromkeys(bind for spec in specs for bind in _binds(spec)))


def _binds(spec: str) -> Iterator[Bind]:
    match = _BIND.fullmatch(spec)
    if match is None:
        return
    try:
        ip = None if match[1] in ("", "*", "0.0.0.0") else IPv4Address(match[1])  # noqa: S104 - no listener here
    except ValueError:
        return
    first = int(match[2])
    for port in range(first, min(int(match[3] or first), 65535) + 1):
        yield Bind(ip, port)


def secrets(sections: Iterable[Section]) -> tuple[str, ...]:
    """Return the passwords in the configuration: no message may repeat them (M2)."""
    found = []
    for words in (line.split() for section in sections for line in section.lines):
        if words[:2] == ["stats", "auth"] and words[2:]:
            found += [words[2], words[2].partition(":")[2]]
        elif words[0] == "user":
            found += [words[at + 1] for at, word in enumerate(words[:-1]) if word.endswith("password")]
    return tuple(sorted({secret for secret in found if secret}, key=len, reverse=True))
