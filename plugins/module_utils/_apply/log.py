# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log what is done to the router: to a file for people, and to the journal with fields to look for.

``journalctl DROP=<name>`` shows all that a drop has caused, ``TRANSACTION=`` what one converge did, ``SERVICE=`` what
was done for one service (systemd.journal-fields(7), Journal Native Protocol).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

FILE = "/var/log/cloudstack/router.log"
JOURNAL = "/run/systemd/journal/socket"
IDENTIFIER = "cloudstack-router"
INFO, WARNING = 6, 4
MOST = 32 * 1024
"""Bytes of a line in the journal; one datagram takes more, but no line says more that anybody reads."""
MOST_DROPS = 100
_about: dict[str, tuple[str, ...]] = {}


def about(*, transaction: str | None = None, drops: Iterable[str] | None = None, service: str | None = None) -> None:
    """Say what the lines that this process writes from now on are about; what is None stays, and no service is ""."""
    if transaction is not None:
        _about["TRANSACTION"] = (transaction,)
    if drops is not None:
        _about["DROP"] = tuple(drops)[:MOST_DROPS]
    if service is not None:
        _about["SERVICE"] = (service,) if service else ()


def write_log(line: str) -> None:
    """Append a line to the router's log and the journal; what is logged never holds a secret (M2).

    Whatever it says, it is one line in either, and no text that cannot be written fails a converge.

    With a full disk the journal alone has it, and says why: a log must not keep a router from being repaired.
    """
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    to_journal(line, INFO, _about)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        with open(FILE, "a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
    except OSError as error:
        to_journal(f"{FILE}: {error.strerror}", WARNING, _about)


def to_journal(line: str, priority: int, fields: dict[str, tuple[str, ...]]) -> None:
    """Send a line to the journal; priorities are those of syslog(3), and a field may have several values."""
    told = {"MESSAGE": (line,), "PRIORITY": (str(priority),), "SYSLOG_IDENTIFIER": (IDENTIFIER,), **fields}
    data = b"".join(_field(name, value) for name, values in told.items() for value in values)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            # A journal that reads nothing must hold nobody up.
            wire.setblocking(False)
            wire.sendto(data, JOURNAL)
    except OSError:
        # Without a journal the file is all there is, and without both nobody could be told.
        return


def _field(name: str, value: str) -> bytes:
    """Return a field in the form that takes any text: a line break in it cannot begin another field."""
    text = value.encode("utf-8", errors="replace")[:MOST].decode(errors="ignore").encode()
    return name.encode() + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"
