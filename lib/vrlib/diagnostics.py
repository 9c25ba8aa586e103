# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at the network from the router, for the management server: ping, arping and traceroute with checked words.

What is allowed is a list: tools, the form of a target, and options with the range of each value. Whatever is not on it
starts nothing. Flooding, broadcasts, announcements and whatever reads a file or asks a third party are left out.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vrlib import bounded
from vrlib import command as vr

LIMIT = 55.0
"""Seconds for a tool and the look-up of its target; the agent gives up after 60 and shows nothing (contract.md)."""
MOST = 65536
"""Bytes of either output that are printed."""
REFUSED = 2

Check = Callable[[str], bool]
_LABEL = "[A-Za-z0-9-]{1,63}"
_HOST = re.compile(rf"(?!-)(?!.{{254}}){_LABEL}(\.{_LABEL})*\.?")
_RTM_GETROUTE, _NLM_F_REQUEST, _RTN_LOCAL, _RTA_DST, _RTA_OIF = 26, 1, 2, 1, 4


class RefusedError(Exception):
    """Say which word is not allowed."""


class Tool(NamedTuple):
    """A program with the words it always gets, its options, and defaults that stand in where the option is absent."""

    argv: tuple[str, ...]
    options: dict[str, Check | None]
    defaults: dict[str, str]
    length: bool = False


def within(low: float, high: float, pattern: str = r"[0-9]{1,5}") -> Check:
    """Make the check of a number."""
    return lambda word: re.fullmatch(pattern, word) is not None and low <= float(word) <= high


def is_nic(word: str) -> bool:
    """Tell whether there is a NIC of that name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}", word) is not None and os.path.exists(
        vr.at(f"/sys/class/net/{word}")
    )


def is_own(word: str) -> bool:
    """Tell whether an address is the router's."""
    return is_address(word) and route(word)[0] == _RTN_LOCAL


def is_address(word: str) -> bool:
    """Tell whether a word is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9A-Fa-f:.]+", word) is not None


def is_target(word: str) -> bool:
    """Tell whether a word is an address or may be the name of a host."""
    return is_address(word) or _HOST.fullmatch(word) is not None


_DECIMAL = r"[0-9]{1,3}(\.[0-9]{1,3})?"
_COUNT = within(1, 100)
_PING: dict[str, Check | None] = {
    "-c": _COUNT,
    "-i": within(0.2, 10, _DECIMAL),
    "-W": within(1, 10, _DECIMAL),
    "-w": within(1, 50),
    "-s": within(0, 65507),
    "-t": within(1, 255),
    "-I": lambda word: is_nic(word) or is_own(word),
    "-M": lambda word: word in ("do", "want", "dont"),
    "-p": lambda word: re.fullmatch(r"[0-9A-Fa-f]{1,32}", word) is not None,
    "-Q": within(0, 255),
    **dict.fromkeys(("-n", "-q", "-v", "-D", "-O", "-R", "-r", "-4", "-6")),
}
_ARPING: dict[str, Check | None] = {
    "-c": _COUNT,
    "-w": within(1, 50),
    "-I": is_nic,
    "-s": is_own,
    **dict.fromkeys(("-b", "-D", "-f", "-q")),
}
_TRACE: dict[str, Check | None] = {
    "-m": within(1, 64),
    "-f": within(1, 64),
    "-q": within(1, 5),
    "-w": within(1, 5, _DECIMAL),
    "-z": within(0, 5, _DECIMAL),
    "-p": within(1, 65535),
    "-i": is_nic,
    "-s": is_own,
    "-N": within(1, 32),
    **dict.fromkeys(("-n", "-I", "-T", "-U", "-F", "-4", "-6")),
}
TOOLS = {
    "ping": Tool(("ping",), _PING, {"-c": "4"}),
    "ping6": Tool(("ping", "-6"), _PING, {"-c": "4"}),
    "arping": Tool(("arping",), _ARPING, {"-c": "4"}),
    "traceroute": Tool(("traceroute",), _TRACE, {"-m": "20"}, length=True),
    "traceroute6": Tool(("traceroute", "-6"), _TRACE, {"-m": "20"}, length=True),
}


def main(args: list[str]) -> None:
    """Print the three parts; the exit status is 0 whatever the tool came to."""
    end = time.monotonic() + LIMIT
    try:
        argv = command(args)
    except RefusedError as error:
        done = bounded.Outcome(b"", str(error).encode(), REFUSED)
    else:
        done = bounded.run(argv, limit=max(end - time.monotonic(), 0.1), most=MOST)
    out, err = part(done.stdout), part(done.stderr)
    print(f"{out}\n&&\n{err}&&\n{done.status}" if out else f"&&\n{err}&&\n{done.status}")


def part(output: bytes) -> str:
    """Return a part of the answer: trimmed, and with no ``&&`` in it or at its end."""
    return re.sub("&(?=&|$)", "& ", output.decode(errors="replace").strip())


def command(args: list[str]) -> list[str]:
    """Return the words that are run, or refuse; no target begins like an option."""
    if len(args) < 2 or args[0] not in TOOLS:
        known = ", ".join(TOOLS)
        raise RefusedError(f"{_shown(args[0]) if args else 'nothing'}: expected one of {known}, and a target")
    tool, target = TOOLS[args[0]], args[1]
    if not is_target(target):
        raise RefusedError(f"{_shown(target)}: expected an IPv4 or IPv6 address, or the name of a host")
    found = list(_options(tool, args[2:]))
    given = {name for name, _value in found}
    found += [(name, value) for name, value in tool.defaults.items() if name not in given]
    if args[0] == "arping" and "-I" not in given:
        found.append(("-I", _device(target)))
    words = [word for pair in found if pair[0] for word in pair if word is not None]
    return [*tool.argv, *words, target, *(value for name, value in found if not name and value)]


def _options(tool: Tool, words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield option and value; the length of traceroute's packets has no name."""
    left = iter(words)
    for word in left:
        name, glued = word[:2], word[2:]
        if tool.length and re.fullmatch("[0-9]{1,5}", word) and int(word) <= 65000:
            yield "", word
            continue
        if name not in tool.options:
            raise RefusedError(f"{_shown(word)}: expected one of {' '.join(tool.options)}")
        check = tool.options[name]
        if check is None:
            if glued:
                raise RefusedError(f"{_shown(word)}: expected {name} alone")
            yield name, None
            continue
        value = glued or next(left, "")
        if value.startswith("-") or not check(value):
            raise RefusedError(f"{name} {_shown(value)}: expected an allowed value of {name}")
        yield name, value


def _shown(word: str) -> str:
    return vr.one_line(ascii(word))[:100]


def _device(target: str) -> str:
    """Return the NIC of the route to an address: arping alone refuses on a router with several."""
    try:
        address = target if is_address(target) else socket.gethostbyname(target)
        found = route(address)[1]
        return socket.if_indextoname(found)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RefusedError(f"{_shown(target)}: no NIC leads there: {why}") from None


def route(address: str) -> tuple[int, int]:
    """Ask the kernel for the route to an address: its type and the number of its NIC (rtnetlink(7)); 0, 0 if none."""
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBBBBBI", family, ip.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = head + struct.pack("=HH", 4 + len(ip.packed), _RTA_DST) + ip.packed
    message = struct.pack("=IHHII", 16 + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(2.0)
        kernel.send(message)
        answer = kernel.recv(65536)
    _length, kind = struct.unpack_from("=IH", answer)
    if kind != _RTM_GETROUTE - 2:
        return 0, 0
    route_type, position, device = answer[16 + 7], 16 + 12, 0
    while position + 4 <= len(answer):
        size, attribute = struct.unpack_from("=HH", answer, position)
        if size < 4:
            break
        if attribute == _RTA_OIF:
            (device,) = struct.unpack_from("=I", answer, position + 4)
        position += (size + 3) & ~3
    return route_type, device
