# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what an archive of diagnostics is made of: files, outputs of commands, and journals of daemons.

Files of the original that are other ones here are answered with ours.
"""

from __future__ import annotations

import glob
import gzip
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from vrlib import bounded, secrets
from vrlib import command as vr

MOST_FILE = 5 * 1024 * 1024
MOST_OUTPUT = 2 * 1024 * 1024
OVERLAP = 65536
"""Bytes that are read before those that are kept: a secret that begins there must be seen whole."""
SCRIPT_LIMIT = 30.0
OPERATORS = "/etc/cloudstack-diagnostics.d"

NAMES = {
    "iptables": (("nft", "list", "ruleset"), ("iptables-save",)),
    "ipaddr": (("ip", "address"),),
    "ifconfig": (("ip", "address"),),
    "iprule": (("ip", "rule"),),
    "iproute": (("ip", "route", "show", "table", "all"),),
    "route": (("ip", "route", "show", "table", "all"),),
}
"""What may be asked for by name, in any case."""

DNSMASQ = ("/etc/dnsmasq.conf", "/etc/dnsmasq.cloudstack/*", "/etc/dnsmasq.cloudstack/*/*")
OURS = {
    "/var/log/cloud.log": ("/var/log/cloudstack/router.log", "/var/log/cloudstack/converge.log"),
    "/var/log/routerServiceMonitor.log": ("/var/log/cloudstack/alerts.log", "/var/log/cloudstack/alerts.log.1"),
    "/etc/dhcphosts.txt": DNSMASQ,
    "/etc/dhcpopts.txt": DNSMASQ,
    "/etc/dnsmasq.conf": DNSMASQ,
    "/etc/dnsmasq.d/cloud.conf": DNSMASQ,
    "/etc/dnsmasq-resolv.conf": (*DNSMASQ, "/etc/resolv.conf"),
    "/var/lib/misc/dnsmasq.leases": ("/var/lib/misc/dnsmasq*.leases",),
    "/etc/ipsec.d/l2tp.conf": ("/etc/swanctl/conf.d/*.conf", "/etc/swanctl/swanctl.conf"),
    "/var/log/dnsmasq.log": ("unit:dnsmasq*",),
    "/var/log/haproxy.log": ("unit:haproxy*",),
    "/var/log/daemon.log": ("unit:*",),
}
"""Files of the original, and what says the same here."""

ALWAYS = {
    "links.log": ("ip", "-s", "-s", "link"),
    "listeners.log": ("ss", "--listening", "--tcp", "--udp", "--numeric", "--processes"),
    "counters.log": ("nft", "list", "counters"),
    "units.log": ("systemctl", "--no-pager", "--all", "list-units", "--type=service,timer,socket"),
    "kernel.log": ("journalctl", "--no-pager", "--dmesg", "--lines=500"),
}
CONNTRACK = ("/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max")
ALWAYS_FILES = ("/var/lib/cloudstack/health/basic.json", "/var/lib/cloudstack/health/advanced.json")
LAST_RESULTS = 20

_ADDRESS = r"[0-9.]{7,15}"
SCRIPTS = {
    "checkrouter.sh": "",
    "get_template_version.sh": "",
    "getRouterMonitorResults.sh": "(false)?",
    "getRouterAlerts.sh": r"([0-9-]+ [0-9:]+)?",
    "checkbatchs2svpn.sh": rf"({_ADDRESS} ?)*",
    "netusage.sh": rf"-g( -l {_ADDRESS})?",
    "vpc_netusage.sh": rf"-l {_ADDRESS} -g|-g( -l {_ADDRESS})?",
    "get_haproxy_stats.sh": rf"{_ADDRESS} [0-9]{{1,5}}",
}
"""The commands that only read, and their arguments."""
_PACKED = (b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"BZh", b"PK\x03\x04", b"\x04\x22\x4d\x18", b"LPKSHHRH")
"""What packed files and journals begin with: what is in them cannot be looked through for secrets."""


class RefusedError(Exception):
    """Say in the words of fileinfo.txt why an item is not in the archive."""


class FullError(Exception):
    """Say why nothing more is added."""


class Found(NamedTuple):
    """A member of the archive: its name in it, and its content, without secrets of the kind that its name tells."""

    name: str
    content: bytes
    redacted: int = 0


def of_item(item: str, end: float) -> tuple[list[Found], str]:
    """Return what is found for an item, and what fileinfo.txt says besides; RefusedError where there is nothing.

    What is started for it is stopped at ``end``, a time of the monotonic clock.
    """
    _left(end)
    try:
        return _of_item(item, end)
    except OSError as error:
        raise RefusedError(f"Refused: {error.strerror}") from None


def _of_item(item: str, end: float) -> tuple[list[Found], str]:
    inner = item.removeprefix("[").removesuffix("]").strip()
    if inner.lower() in NAMES:
        name = inner.lower()
        return [Found(f"{name}.log", b"\n".join(output(argv, end) for argv in NAMES[name]))], ""
    if item.startswith("["):
        return [_script(inner.split(), end)], ""
    if not item.startswith("/") or ".." in item.split("/"):
        raise RefusedError("Refused: expected a path, a name or [script arguments]")
    if not os.path.lexists(vr.at(item)) and item in OURS:
        return _ours(item, end)
    return [of_file(item)], ""


def _ours(item: str, end: float) -> tuple[list[Found], str]:
    found: list[Found] = []
    for source in OURS[item]:
        if source.startswith("unit:"):
            found.append(Found(f"{item[1:]}", journal(source.removeprefix("unit:"), end)))
            continue
        prefix = len(vr.ROOT)
        paths = [path[prefix:] for path in sorted(glob.glob(vr.at(source))) if os.path.isfile(path)]
        found += [of_file(path) for path in paths if not secrets.is_withheld(path)]
    if not found:
        raise RefusedError("File Not Found!!")
    return found, "(here: " + ", ".join(dict.fromkeys(OURS[item])) + ")"


def of_file(path: str) -> Found:
    """Return the last part of a file, under its full name; links are resolved, and both ends are judged."""
    real = os.path.realpath(vr.at(path))
    there = real.removeprefix(vr.ROOT)
    if any(map(secrets.is_withheld, (path, os.path.normpath(path), there))):
        raise RefusedError("Withheld: secret")
    if there.startswith(("/proc/", "/sys/", "/dev/")):
        raise RefusedError("Refused: no file of a disk")
    try:
        data, count = _read(real), 0
    except FileNotFoundError:
        raise RefusedError("File Not Found!!") from None
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedError(f"Refused: {vr.one_line(getattr(error, 'strerror', None) or error)}") from None
    if there.startswith("/etc/cloudstack/") and there.endswith(".json"):
        data, count = secrets.redacted_bag(data, os.path.basename(there).removesuffix(".json"))
    return Found(os.path.normpath(path).lstrip("/"), data, count)


def _read(real: str) -> bytes:
    """Return the last part of a file, or what a rotated log holds; other packed files are refused by how they begin."""
    # What is no regular file any more when it is opened does not hold this up.
    handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise RefusedError("Refused: no regular file")
    with open(handle, "rb") as file:
        head = file.read(max(map(len, _PACKED)))
        file.seek(0)
        if head.startswith(_PACKED[0]):
            with gzip.GzipFile(fileobj=file) as log:
                return log.read(MOST_FILE)
        if head.startswith(_PACKED):
            raise RefusedError("Refused: packed, so nobody can look for secrets in it")
        file.seek(max(status.st_size - MOST_FILE - OVERLAP, 0))
        return file.read(MOST_FILE + OVERLAP)


def _script(words: list[str], end: float) -> Found:
    """Run a command that only reads, or one of the operator's, without a shell."""
    name, arguments = (words or [""])[0], words[1:]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", name):
        raise RefusedError("Refused: expected the plain name of a script")
    pattern = SCRIPTS.get(name)
    if pattern is not None:
        if not re.fullmatch(pattern, " ".join(arguments)):
            raise RefusedError("Refused: with these arguments it does not only read")
        program = vr.at(f"{vr.COMMANDS}/{name}")
    else:
        program = vr.at(f"{OPERATORS}/{name}")
        if not bounded.is_operators(program):
            raise RefusedError("Refused: no script that only reads, and none of the operator's")
    stored = "_".join(re.sub(r"[^A-Za-z0-9.:-]", "-", word) for word in words)[:120]
    return Found(f"scripts/{stored}.log", output((program, *arguments), end))


def output(argv: tuple[str, ...], end: float) -> bytes:
    """Return what a program prints, and how it ended if that was not well."""
    done = bounded.run(argv, limit=min(SCRIPT_LIMIT, _left(end)), most=MOST_OUTPUT)
    ended = b"" if done.status == 0 else f"\n[exit status {done.status}]\n".encode()
    return done.stdout + done.stderr + ended


def _left(end: float) -> float:
    """Return the seconds until the end, if there are any."""
    left = end - time.monotonic()
    if left <= 0:
        raise FullError("the time is over")
    return left


def journal(unit: str, end: float) -> bytes:
    """Return the last part of the journal of units."""
    words = ("journalctl", "--no-pager", "--output=short-iso", "--lines=20000", f"--unit={unit}")
    done = bounded.run(words, limit=min(SCRIPT_LIMIT, _left(end)), most=8 * MOST_OUTPUT)
    return done.stdout[-MOST_OUTPUT - OVERLAP :] + done.stderr


def always(end: float) -> Iterator[Found]:
    """Yield what is in every archive."""
    yield Found("report.txt", output((vr.at(f"{vr.COMMANDS}/vr"), "report"), end))
    for name, argv in ALWAYS.items():
        yield Found(name, output(argv, end))
    counts = [f"{os.path.basename(path)} = {_line(path)}\n" for path in CONNTRACK]
    yield Found("connection_tracking.log", "".join(counts).encode())
    results = sorted(glob.glob(vr.at(f"{vr.RESULTS}/*.json")), key=_modified)[-LAST_RESULTS:]
    for path in (*results, *map(vr.at, ALWAYS_FILES)):
        # Records are pruned while this reads them.
        with suppress(RefusedError):
            yield of_file(path[len(vr.ROOT) :])


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _line(path: str) -> str:
    try:
        with open(vr.at(path), encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        return str(error.strerror)
