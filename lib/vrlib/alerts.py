# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep alerts, one line each, and hand those that are newer than a moment to the management server.

A record is ``yyyy-MM-dd HH:mm:ss,mmm [SEVERITY] [process] text``, in UTC. Whoever writes takes its time under a lock.
So records are in the order of their times, and none of a second that is over comes later: a reader that leaves out the
second that runs delivers each record once, although the server remembers whole seconds only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import syslog
import time
from collections.abc import Iterator
from typing import Any

from vrlib import command as vr

LOG = "/var/log/cloudstack/alerts.log"
OLD = f"{LOG}.1"
LOCK = "/run/cloudstack/alerts.lock"
REPEATS = "/run/cloudstack/alerts.json"
MOST_BYTES = 1024 * 1024
"""When the log is renamed; one older file is kept."""
MOST_RECORDS, MOST_ANSWER = 100, 32 * 1024
"""What one answer may be: the server makes a mail of each record."""
WINDOW = 600.0
"""Seconds in which a record of the same process and text is only counted."""
TEXT = 1000

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_PRIORITIES = {
    "INFO": syslog.LOG_INFO,
    "NOTIF": syslog.LOG_NOTICE,
    "ALERT": syslog.LOG_ALERT,
    "CRIT": syslog.LOG_CRIT,
}


def main(args: list[str]) -> None:
    """Print the alerts that are newer than the moment given; VMware writes null where there is no argument."""
    if args in ([], ["null"]):
        moment = ""
    else:
        moment = " ".join(args)
        if len(args) != 2 or not _is_moment(moment):
            raise vr.CommandError(
                f"getRouterAlerts.sh: {vr.one_line(ascii(moment))[:100]}: expected yyyy-MM-dd HH:mm:ss"
            )
    found, older = newer(moment)
    print("\\n".join(_bounded(found, older)) or "No Alerts")


def add(args: list[str]) -> None:
    """Write an alert of severity, process and text."""
    if len(args) != 3 or args[0] not in _PRIORITIES:
        raise vr.CommandError(f"usage: vr-alert {'|'.join(_PRIORITIES)} PROCESS TEXT")
    write(*args)


def _is_moment(text: str) -> bool:
    if not _MOMENT.fullmatch(text):
        return False
    try:
        time.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return False
    return True


def newer(moment: str) -> tuple[list[str], int]:
    """Return the newest records after a moment, oldest first, and how many more there are.

    Those of the second that runs wait for the next call.
    """
    with locked():
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        texts = [_content(vr.at(path)) for path in (LOG, OLD)]
    kept: list[str] = []
    older = 0
    for text in texts:
        for line in reversed(text.splitlines()):
            if moment < line[:19] < now and _MOMENT.match(line):
                if len(kept) < MOST_RECORDS:
                    kept.append(line)
                else:
                    older += 1
    return kept[::-1], older


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _bounded(found: list[str], older: int) -> list[str]:
    """Return the newest records that fit into an answer; the first of them says so if it stands for others."""
    room, kept = MOST_ANSWER - 200, list[str]()
    for line in reversed(found):
        room -= len(line.encode()) + 2
        if room < 0:
            break
        kept.insert(0, line)
    left = older + len(found) - len(kept)
    if left and kept:
        if len(kept) == MOST_RECORDS:
            left, kept = left + 1, kept[1:]
        kept.insert(0, f"{kept[0][:23]} [NOTIF] [alerts] {left} older alerts are in {LOG}")
    return kept


def write(severity: str, process: str, text: str) -> None:
    """Write an alert to the log and the journal; one that was written within ten minutes is only counted.

    A log or a count that cannot be written does not stop whoever has an alert: the journal has it then.
    """
    process, text = clean(process), clean(text)
    with locked():
        now = time.time()
        repeats = {key: item for key, item in _repeats().items() if _is_current(key, item, now)}
        key = f"{severity} {process} {text}"
        if key in repeats:
            repeats[key][1] += 1
        else:
            repeats[key] = [now, 0]
            _append(severity, process, text)
        _save(repeats)


def flush() -> None:
    """Write how often alerts came that were only counted, as soon as their ten minutes are over."""
    with locked():
        known, now = _repeats(), time.time()
        kept = {key: item for key, item in known.items() if _is_current(key, item, now)}
        if kept != known:
            _save(kept)


def _is_current(key: str, item: list[Any], now: float) -> bool:
    """Tell whether an alert is still being counted; one whose time is over is written with its count."""
    if 0 <= now - item[0] < WINDOW:
        return True
    if item[1]:
        severity, process, text = key.split(" ", 2)
        _append(severity, process, f"{text} ({item[1] + 1} times in {WINDOW / 60:.0f} min)")
    return False


def clean(text: str) -> str:
    """Return text without what would end a record or a line: control characters, backslashes, runs of blanks."""
    return vr.one_line(text).replace("\\", "/")[:TEXT]


def _append(severity: str, process: str, text: str) -> None:
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f",{int(now * 1000) % 1000:03d}"
    record = f"{stamp} [{severity}] [{process}] {text}\n".encode("utf-8", errors="replace")
    syslog.syslog(_PRIORITIES[severity], f"[{process}] {text}")
    path = vr.at(LOG)
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_size + len(record) > MOST_BYTES:
                os.replace(path, vr.at(OLD))
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), "ab", buffering=0) as file:
            written = file.write(record)
            if written != len(record):
                os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        syslog.syslog(syslog.LOG_WARNING, f"{LOG}: {error.strerror}")


def _repeats() -> dict[str, list[Any]]:
    try:
        with open(vr.at(REPEATS), encoding="utf-8") as file:
            found: dict[str, list[Any]] = json.load(file)
    except (FileNotFoundError, ValueError):
        # It is in memory and replaced as a whole: a damaged one is nobody's count.
        return {}
    return found


def _save(repeats: dict[str, list[Any]]) -> None:
    """Keep what is counted; without it an alert that comes again is written again."""
    try:
        vr.write_atomically(vr.at(REPEATS), json.dumps(repeats).encode())
    except OSError as error:
        syslog.syslog(syslog.LOG_WARNING, f"{REPEATS}: {error.strerror}")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the alerts; everybody who does is done within milliseconds. Where no lock can be made they are not held."""
    path = vr.at(LOCK)
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            file = stack.enter_context(open(path, "a", encoding="ascii"))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            syslog.syslog(syslog.LOG_WARNING, f"{LOCK}: {error.strerror}")
        yield
