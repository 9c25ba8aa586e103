# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Know every secret of the router, keep files that hold little else back, and take secrets out of what is handed on.

Three nets, each for what passes the one before: files that are never handed on, fields of databags and lines of
configurations whose value is replaced, and at last each secret value wherever it occurs, as it is, in base64 or escaped
as JSON does it (M2).
"""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from vrlib import command as vr

HIDDEN = b"***"
SHORTEST = 4
"""Characters of a secret that is replaced wherever it occurs: what is shorter is everywhere."""

WITHHELD = (
    "*.key", "*.jks", "*.p12", "*.pfx", "*agent.properties*", "*/.ssh/*", "*_history",
    "/etc/ssl/private/*", "/etc/cloudstack/ssl/*", "/etc/cloudstack/.*", "/etc/cloudstack/vmdata.json",
    "/etc/ssh/ssh_host_*", "/etc/shadow*", "/etc/gshadow*", "/var/backups/*",
    "/etc/ppp/*-secrets*", "*ipsec.secrets*", "/etc/ipsec.d/*.secrets*", "/etc/ipsec.d/private/*",
    "/etc/swanctl/*secret*", "/etc/swanctl/private/*", "/etc/swanctl/rsa/*", "/etc/swanctl/ecdsa/*",
    "/etc/swanctl/pkcs*", "/var/lib/cloudstack-passwords/*", "/var/lib/private/*", "/var/cache/cloud/*",
    "/var/lib/cloudstack/former/*", "/var/lib/cloudstack/commands/*", "/var/lib/cloudstack/root-password.digest",
    "/var/lib/cloudstack/transaction*", "/var/www/*", "/usr/local/cloud/*", "/var/lib/systemd/random-seed",
    "/var/lib/cloud/*",
)  # fmt: skip
"""Files that are in no archive, whoever asks; ``*`` stands for slashes, too."""

FIELDS = frozenset(
    {
        "vmpassword", "router_password", "userdata", "baremetalnotificationsecuritykey", "baremetalnotificationapikey",
        "authorized_key", "password", "preshared_key", "ipsec_psk", "peer_password", "key",
    }
)  # fmt: skip
"""The fields of databags whose values are secrets; keys of passwords.json are addresses, and all its values are."""
WHOLE = ("vmpassword", "vmdata")
"""The databags in which every value is one."""

_LINES = re.compile(
    rb"(?mi)^(.*\b(?:stats\s+auth|auth_pass|password|passwd|secret|psk|preshared[_-]?key)\b[ \t:=\"]+)(?!\*\*\*)(\S.*)$"
)
"""Lines of haproxy, FRR, keepalived, pppd and strongSwan after whose word a secret stands."""
_STATISTICS = re.compile(r"stats\s+auth\s+([^\s:]+):(\S+)")
_PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PEM_END = re.compile(rb"\A[A-Za-z0-9+/=\s]*-----END [A-Z ]*PRIVATE KEY-----")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.){4,})"')


def is_withheld(path: str) -> bool:
    """Tell whether a file is never handed on, by its path on the router."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in WITHHELD)


def redacted_bag(text: bytes, name: str) -> tuple[bytes, int]:
    """Return a databag with its secrets replaced, and how many that were; a damaged one is left to the other nets."""
    try:
        bag = json.loads(text)
    except ValueError:
        return text, 0
    count = 0

    def replaced(value: Any, secret: bool) -> Any:
        nonlocal count
        if isinstance(value, dict):
            return {key: replaced(item, secret or _is_secret(name, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, secret) for item in value]
        if not secret or value in (None, "", name):
            return value
        count += 1
        return HIDDEN.decode()

    return json.dumps(replaced(bag, False), indent=2, ensure_ascii=False).encode(), count


def _is_secret(bag: str, key: str) -> bool:
    return key.lower() in FIELDS or (bag in WHOLE and key != "id")


def redacted_lines(text: bytes) -> tuple[bytes, int]:
    """Return a text with what stands behind words like ``password`` replaced, and how many lines that were."""
    return _LINES.subn(rb"\1" + HIDDEN, text)


class Secrets:
    """Every secret value that the router's databags and files hold, to be taken out of anything."""

    def __init__(self, values: Iterable[str]) -> None:
        self._pattern = _compiled({form for value in values for form in _forms(value)})

    @classmethod
    def of_router(cls) -> Secrets:
        """Read them all; a databag that is damaged gives each text in it."""
        return cls(_all())

    def hide(self, data: bytes) -> tuple[bytes, int]:
        """Return data without secrets, and how many were replaced; what was cut in front of a key's end goes, too."""
        data, ends = _PEM_END.subn(HIDDEN, data)
        data, keys = _PEM.subn(HIDDEN, data)
        count = ends + keys
        if self._pattern is not None:
            data, values = self._pattern.subn(HIDDEN, data)
            count += values
        return data, count


def _forms(value: str) -> Iterator[bytes]:
    """Yield how a value may be written: raw, as JSON, and in base64 wherever it begins within three bytes."""
    if len(value) < SHORTEST:
        return
    raw = value.encode(errors="surrogatepass")
    escaped = json.dumps(value, ensure_ascii=False)[1:-1].encode(errors="surrogatepass")
    yield from (raw, escaped, json.dumps(value)[1:-1].encode(), base64.b64encode(raw))
    if len(raw) >= 8:
        for before in range(3):
            # Without the characters that also depend on what stands before and behind.
            text = base64.b64encode(b"\0" * before + raw)[(before * 8 + 5) // 6 :]
            core = text[: (len(raw) * 8 - (6 - before * 8 % 6) % 6) // 6]
            yield from (core, core.translate(bytes.maketrans(b"+/", b"-_")))


def _compiled(forms: set[bytes]) -> re.Pattern[bytes] | None:
    """Return one pattern for all, grouped by their first bytes: thousands cost little more than one."""
    longest = sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form))
    return re.compile(_tree(longest, 0), re.DOTALL) if longest else None


def _tree(forms: list[bytes], depth: int) -> bytes:
    if depth == 3 or len(forms) == 1:
        return b"(?:" + b"|".join(re.escape(form[depth:]) for form in forms) + b")"
    groups: dict[int, list[bytes]] = {}
    for form in forms:
        groups.setdefault(form[depth], []).append(form)
    branches = (re.escape(bytes([first])) + _tree(members, depth + 1) for first, members in groups.items())
    return b"(?:" + b"|".join(branches) + b")"


def _all() -> Iterator[str]:
    for folder in ("/etc/cloudstack", "/var/lib/cloudstack/former"):
        for path in _files(vr.at(folder)):
            if path.endswith(".json"):
                yield from of_bag(_text(path), os.path.basename(path).removesuffix(".json"))
    for path in _files(vr.at("/var/lib/cloudstack-passwords")):
        yield from (line.strip() for line in _text(path).splitlines())
    for line in _text(vr.at("/etc/shadow")).splitlines():
        yield line.partition(":")[2].partition(":")[0]
    for path in ("/var/lib/cloudstack/redundancy/relay.key", "/var/lib/cloudstack/root-password.digest"):
        yield _text(vr.at(path)).strip()


def of_bag(text: str, name: str) -> Iterator[str]:
    """Yield the secrets of a databag; user data also as what its base64 stands for."""
    try:
        bag = json.loads(text)
    except ValueError:
        yield from _QUOTED.findall(text)
        return
    yield from _values(bag, name, False)


def _values(value: Any, bag: str, secret: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, bag, secret or _is_secret(bag, key))
    elif isinstance(value, list):
        # A record of vmdata is folder, name and content; all of them but the content are the same for every VM.
        public = bag == "vmdata" and len(value) == 3 and value[0] != "userdata" and "password" not in str(value[1])
        for item in value[2:] if bag == "vmdata" and len(value) == 3 and isinstance(value[0], str) else value:
            yield from _values(item, bag, secret and not public)
    elif isinstance(value, str):
        if secret:
            yield from (value, value.strip(), *_decoded(value))
        else:
            yield from (found[number] for found in _STATISTICS.finditer(value) for number in (1, 2))


def _decoded(value: str) -> Iterator[str]:
    try:
        yield base64.b64decode(value, validate=True).decode()
    except ValueError:
        return


def _files(folder: str) -> Iterator[str]:
    for place, _folders, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""
