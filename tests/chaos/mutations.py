# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make strange, wrong and hostile drops from right ones; the same seed makes the same drops."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from random import Random
from typing import Any

Json = dict[str, Any]
Steps = tuple[str | int, ...]

MARK = "chaosmark"
"""Part of every hostile text: what it makes on a router is found by it."""
OWNED = f"/tmp/{MARK}"
"""What a hostile text would make if a shell, or a daemon, took part of it for a command."""

HOSTILE = {
    "shell": f"{MARK}; touch {OWNED}",
    "shell substitution": f"$(touch {OWNED})`touch {OWNED}`",
    "shell quotes": f"'\"; touch {OWNED} #{MARK}",
    "option": f"--{MARK}",
    "nft": f'{MARK}" }}; add table inet {MARK}; #',
    "nft include": f'{MARK}\ninclude "/etc/shadow"',
    "dnsmasq": f"{MARK}\ndhcp-script={OWNED}",
    "dnsmasq comma": f"{MARK},set:{MARK},10.7.0.66,infinite",
    "dnsmasq conf-script": f"{MARK}\nconf-script=/usr/bin/touch {OWNED}",
    "haproxy": f"{MARK}\nprogram {MARK}\n\tcommand /usr/bin/touch {OWNED}",
    "haproxy line separator": f"{MARK}\u2028program {MARK}\u2028command /usr/bin/touch {OWNED}",
    "haproxy comment": f"{MARK} # \\",
    "systemd": f"%n%h{MARK}\nExecStart=/usr/bin/touch {OWNED}",
    "jinja": "{{ lookup('pipe', 'touch " + OWNED + "') }}{% raw %}",
    "path": f"../../../..{OWNED}",
    "absolute path": OWNED,
    "carriage return": f"{MARK}\r{MARK}",
    "newline at the end": f"{MARK}\n",
    "tab": f"{MARK}\t{MARK}",
    "next line": f"{MARK}\x85{MARK}",
    "NUL": f"{MARK}\0{MARK}",
    "escape": f"\x1b]0;{MARK}\x07",
    "64 KiB": MARK + "x" * 65536,
    "non-BMP": f"{MARK}\U0001f4a5\U00010348",
    "right to left": f"{MARK}\u202e\u2067",
    "lone surrogate": f"{MARK}\ud800",
    "blank": f" {MARK} {MARK} ",
    "percent": f"%s%n%{MARK}",
    "backslash": f"\\{MARK}\\n\\0\\",
}
"""What a field may hold when somebody means harm."""

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, -0.0),
    *("", " ", "0", "-1", "None", "null", "ERROR", "any", "all", "tcp", "0:0", "1:65535", "65535:1", "7:x", "٣:٣"),
    *("0.0.0.0", "0.0.0.0/0", "0.0.0.0/02", "::/0", "::", "255.255.255.255", "224.0.0.1", "127.0.0.1", "10.7.0.1/24"),
    *("10.7.0.256", "010.7.0.1", "1.2.3", "fe80::1%eth0", "::ffff:10.7.0.1", "2001:db8::/129", "255.0.255.0"),
    *("0.0.0.0,::/0", "10.0.0.0/8,,", ",", "eth0", "eth13", "eth99999", "lo", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"),
    *([], {}, [[]], [None], {"": None}, [0, 65535], [65535, 0], [1, 2, 3], ["1", "2"]),
)
"""What a field may hold when somebody makes a mistake."""


def paths(value: Any, path: Steps = ()) -> Iterator[Steps]:
    """Yield the way to every value inside a value, lists and objects included."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for step, inner in items:
        yield (*path, step)
        yield from paths(inner, (*path, step))


def find(body: Any, path: Steps) -> Any:
    """Return the value at the end of a path."""
    for step in path:
        body = body[step]
    return body


def replaced(body: Json, path: Steps, value: Any) -> Json:
    """Return a copy with one value replaced."""
    copy = deepcopy(body)
    find(copy, path[:-1])[path[-1]] = value
    return copy


def hostile(bodies: Mapping[str, Json]) -> Iterator[tuple[str, Steps, str, Json]]:
    """Yield `(type, path, name of the text, body)`: every text of every type, and every key, replaced by each text."""
    for kind, body in bodies.items():
        for path in paths(body):
            if isinstance(find(body, path), str):
                for name, text in HOSTILE.items():
                    yield kind, path, name, replaced(body, path, text)


class Mutator:
    """Makes drops from right ones: by mixing what other drops have in the same field, and by mistakes."""

    def __init__(self, seed: int, bodies: Iterable[Json]) -> None:
        """Take right bodies, with their `type`; there must be one of every type that shall be made."""
        self.chance = Random(seed)
        self.bodies: dict[str, list[Json]] = defaultdict(list)
        self.values: dict[str | int, list[Any]] = defaultdict(list)
        for body in bodies:
            self.bodies[body["type"]].append(body)
            for path in paths(body):
                self.values[self._field(path)].append(find(body, path))
        self.kinds = sorted(self.bodies)

    @staticmethod
    def _field(path: Steps) -> str | int:
        """Return the name of the field that a path ends in; elements of lists go by the name of their list."""
        return next((step for step in reversed(path) if isinstance(step, str)), 0)

    def mixed(self, kind: str) -> Json:
        """Return a body of a type with some fields as others have them: often right, sometimes not."""
        body = deepcopy(self.chance.choice(self.bodies[kind]))
        places = [path for path in paths(body) if path != ("type",)]
        for path in self.chance.sample(places, min(len(places), self.chance.randint(1, 4))):
            self._put(body, path, deepcopy(self.chance.choice(self.values[self._field(path)])))
        return body

    def mistaken(self, kind: str) -> Json:
        """Return a body of a type with a mistake in it: a strange or hostile value, or a field too few or too many."""
        body = self.mixed(kind)
        places = [path for path in paths(body) if path != ("type",)]
        path = self.chance.choice(places)
        match self.chance.randrange(5):
            case 0:
                self._drop(body, path)
            case 1:
                self._put(body, path, self.chance.choice(list(HOSTILE.values())))
            case 2:
                self._put(body, (*path[:-1], self._extra(path)), self.chance.choice(STRANGE))
            case _:
                self._put(body, path, deepcopy(self.chance.choice(STRANGE)))
        return body

    def _extra(self, path: Steps) -> str | int:
        """Return a field that is not there; a list is too short for one, so its element is hit."""
        return self.chance.choice([*HOSTILE.values(), "id", MARK]) if isinstance(path[-1], str) else path[-1]

    def damaged(self, data: bytes) -> bytes:
        """Return what a broken copy leaves of a drop."""
        at = self.chance.randrange(len(data))
        return self.chance.choice(
            (
                data[:at],
                data[at:],
                data + data,
                data[:at] + b"\0" * (len(data) - at),
                data[:at] + bytes([data[at] ^ (1 << self.chance.randrange(8))]) + data[at + 1 :],
                data[:at] + self.chance.randbytes(16) + data[at:],
                self.chance.randbytes(self.chance.randrange(200)),
                b"[" * self.chance.randrange(1, 5000) + data,
            )
        )

    @staticmethod
    def _put(body: Json, path: Steps, value: Any) -> None:
        """Replace a value, unless what it was in has been replaced before."""
        try:
            find(body, path[:-1])[path[-1]] = value
        except (LookupError, TypeError):
            return

    @staticmethod
    def _drop(body: Json, path: Steps) -> None:
        try:
            del find(body, path[:-1])[path[-1]]
        except (LookupError, TypeError):
            return


def encode(body: Json) -> bytes:
    """Return the bytes of a drop as the management server writes them; what UTF-8 cannot hold is escaped."""
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()
