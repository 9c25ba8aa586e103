# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a router up from what its hypervisor left, or from its databags alone.

The agent of the hypervisor writes ``cmdline`` (and more) into /var/cache/cloud some time after the machine started, in
several steps: the file is there first, empty, then it has content (KVM: guest-file-open, -write, -close). A command
line that was taken is deleted. So its presence is the one and only sign of work to do, whatever starts us, and a
reboot without a management server finds none and converges from the databags (J1, J2).

It also is the sign that the management server has started the router, and then the databags begin empty (start.py of
_databag). Each writing of the agent gets a mark, so that one is never taken for another. A router that was powered off
in good order is most likely started by the server: it waits for arguments, closed, before it serves what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from vrlib import channels, converge
from vrlib import command as vr
from vrlib.queue import turn

# cloudstack-boot.service ends us after 300 s.
LIMIT = 280.0
NIC_PATIENCE = 10.0
WRITER_PATIENCE = 5.0
# How long a router that was powered off waits for arguments: the agent writes them as soon as the guest agent answers.
HOLD = 15.0
_SETTLED = 0.3
_ROUNDS = 5

CMDLINE = Path(vr.at(f"{vr.INBOX}/cmdline"))
CMD_LINE = Path(vr.at(f"{vr.INBOX}/{vr.CMD_LINE}"))
BAG = Path(vr.at(f"{vr.DATABAGS}/cmdline.json"))
DONE = Path(vr.at(f"{vr.INBOX}/boot_up_done"))
SCRIPTS = Path(vr.at(f"{vr.INBOX}/cloud-scripts.tgz"))
SIGNATURE = Path(vr.at(f"{vr.INBOX}/cloud-scripts-signature"))
SIGNED = Path(vr.at("/var/lib/cloudstack/scripts-signed"))
SIGNED_BEFORE = Path(vr.at("/var/lib/cloudstack/scripts-signed.before"))
POWERED_OFF = Path(vr.at("/var/lib/cloudstack/powered-off"))
CONFIGURED = Path(vr.at("/run/cloudstack/configured"))
CLOSED = Path(vr.at("/run/cloudstack/closed"))
NICS = Path(vr.at("/sys/class/net"))

# The field of the drop that tells one writing of boot arguments from another: start.py of _databag.
MARK = "written"
Identity = tuple[int, int, int]


def main(args: list[str]) -> None:
    """Configure the router; a failure is one line with the priority of an error for the journal."""
    if args:
        raise vr.CommandError("usage: vr-boot")
    try:
        # Everything in one turn: nobody else shall take the boot arguments between writing and converge.
        with turn(LIMIT) as left:
            _boot(time.monotonic() + left)
    except (vr.CommandError, OSError) as error:
        raise vr.CommandError(f"{_priority(3)}boot: {error}") from None


def _boot(end: float) -> None:
    """Sign the scripts, then converge until no boot arguments are left; say that it is done only if it is."""
    _sign_scripts()
    if not CONFIGURED.exists() and not _is_asked() and (given := channels.fetch()):
        vr.write_atomically(str(CMDLINE), given.encode() + b"\n")
    if not any(path.exists() for path in (CMDLINE, CMD_LINE, BAG)):
        print("boot: no boot arguments and no databags yet: nothing to configure")
        return
    DONE.unlink(missing_ok=True)
    if not CONFIGURED.exists():
        _hold()
        _mark_what_lies_there()
        CLOSED.unlink(missing_ok=True)
    for _round in range(_ROUNDS):
        _configure(end)
        if not CMDLINE.exists() and not CMD_LINE.exists():
            break
    else:
        raise vr.CommandError(f"boot arguments were written {_ROUNDS} times in a row")
    _sign_scripts()
    vr.write_atomically(str(DONE), b"", 0o644)


def _configure(end: float) -> None:
    """Converge once, with boot arguments if there are any, and delete the command line that was taken."""
    taken = _take_cmdline()
    _wait_for_nics()
    request = converge.Request(vr.CMD_LINE) if CMD_LINE.exists() else converge.FROM_DATABAGS
    print("boot: " + converge.summary(converge.converge(request, max(end - time.monotonic(), 1.0))))
    if taken is not None and _identity(CMDLINE) == taken:
        channels.remember(CMDLINE.read_text(encoding="utf-8"))
        CMDLINE.unlink()
    CONFIGURED.touch(0o600)
    POWERED_OFF.unlink(missing_ok=True)


def _hold() -> None:
    """Wait for boot arguments after a power-off: vr-firewall has left the router closed, and so it stays meanwhile."""
    end = time.monotonic() + HOLD
    if not POWERED_OFF.exists() or _is_asked():
        return
    print(f"boot: it was powered off: waiting {HOLD:.0f} s for boot arguments")
    while not _is_asked() and time.monotonic() < end:
        time.sleep(0.05)


def _is_asked() -> bool:
    """Tell whether boot arguments are there, perhaps still being written."""
    return CMDLINE.exists() or CMD_LINE.exists()


def _mark_what_lies_there() -> None:
    """Mark a cmd_line.json that was there before the router was configured: it came with the start."""
    if CMDLINE.exists() or not CMD_LINE.exists():
        return
    try:
        drop = json.loads(CMD_LINE.read_bytes())
    except ValueError:
        return  # the converge says what is wrong with it
    if isinstance(drop, dict) and MARK not in drop:
        _write_drop(drop, _identity(CMD_LINE))


def _write_drop(drop: dict[str, Any], identity: Identity | None) -> None:
    """Write boot arguments as a drop that says which writing of them it was."""
    mark = ".".join(map(str, identity or ()))
    vr.write_atomically(str(CMD_LINE), json.dumps({**drop, MARK: mark}).encode())


def _take_cmdline() -> Identity | None:
    """Turn the command line into cmd_line.json; return which writing of the file that was, None without a file."""
    settled = _settled()
    if settled is None:
        return None
    content, identity = settled
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.cmdline import (
        parse_cmdline,
    )
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError

    try:
        drop = parse_cmdline(content.decode())
    except UnicodeDecodeError:
        raise vr.CommandError("cmdline: expected UTF-8 text") from None
    except DropError as error:
        raise vr.CommandError(str(error)) from None
    _write_drop(drop, identity)
    return identity


def _settled() -> tuple[bytes, Identity] | None:
    """Return the command line once its writer is done with it; None when there is no file."""
    end = time.monotonic() + WRITER_PATIENCE
    while (identity := _identity(CMDLINE)) is not None:
        content = CMDLINE.read_bytes()
        # An age below zero is a clock that was set back since: nobody is writing.
        fresh = 0 <= time.time() - identity[1] / 1e9 < _SETTLED
        if content.strip() and not fresh and _identity(CMDLINE) == identity:
            return content, identity
        if time.monotonic() > end:
            raise vr.CommandError(f"{CMDLINE.name}: empty or still being written after {WRITER_PATIENCE:.0f} s")
        time.sleep(0.05)
    return None


def _identity(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _wait_for_nics() -> None:
    """Give the NICs that the boot arguments name some time to appear; a NIC that does not is pending, no failure."""
    wanted = {f"eth{found[1]}" for key in _arguments() if (found := re.fullmatch(r"eth(\d+)ip6?", key))}
    end = time.monotonic() + NIC_PATIENCE
    while missing := sorted(name for name in wanted if not (NICS / name).exists()):
        if time.monotonic() > end:
            print(
                f"{_priority(4)}boot: not there after {NIC_PATIENCE:.0f} s: {', '.join(missing)}",
                file=sys.stderr,
            )
            return
        time.sleep(0.05)


def _arguments() -> dict[str, Any]:
    """Return the boot arguments that are about to be used; what is wrong with them is for the converge to say."""
    for path, field in ((CMD_LINE, "cmd_line"), (BAG, "config")):
        if path.exists():
            try:
                values = json.loads(path.read_bytes())
            except ValueError:
                return {}
            fields = values.get(field) if isinstance(values, dict) else None
            return fields if isinstance(fields, dict) else {}
    return {}


def _sign_scripts() -> None:
    """Record the SHA-512 of the script archive, which the management server compares; it is never unpacked.

    The digest of the archive before is kept, too: a live patch that is refused leaves the router what it was. An
    archive that comes again is another one, which may be refused.
    """
    if not SCRIPTS.exists():
        return
    with SCRIPTS.open("rb") as file:
        line = hashlib.file_digest(file, "sha512").hexdigest().encode() + b"\n"
    before = SIGNED.read_bytes() if SIGNED.exists() else b""
    if before != line or SCRIPTS.stat().st_mtime_ns > SIGNED.stat().st_mtime_ns:
        vr.write_atomically(str(SIGNED_BEFORE), before)
        vr.write_atomically(str(SIGNED), line)
    if not SIGNATURE.exists() or SIGNATURE.read_bytes() != line:
        vr.write_atomically(str(SIGNATURE), line, 0o644)


def _priority(level: int) -> str:
    """Return the mark by which the journal knows a line's priority (sd-daemon(3)); nothing on a terminal."""
    return f"<{level}>" if "JOURNAL_STREAM" in os.environ else ""
