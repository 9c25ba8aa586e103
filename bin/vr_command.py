# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one converge and report it: what the commands in /opt/cloud/bin share.

Nothing here imports Ansible, and little else (dataclasses alone costs 5 ms): a command must start at once. Where the
router's files are follows from where this file is installed (``<root>/opt/cloud/bin``) and never from the
environment, so that nobody who can set a variable can redirect a command that runs as root.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_BIN = os.path.dirname(os.path.abspath(__file__))
ROOT = _BIN.removesuffix("/opt/cloud/bin") if _BIN.endswith("/opt/cloud/bin") else ""

COMMANDS = "/opt/cloud/bin"
INBOX = "/var/cache/cloud"
DATABAGS = "/etc/cloudstack"
RESULTS = "/var/lib/cloudstack/results"
# Where a record is that the disk did not take; it is newer than one on disk.
UNWRITTEN = "/run/cloudstack/results"
LOG = "/var/log/cloudstack/converge.log"
COLLECTIONS = "/usr/share/ansible/collections"
PLAYBOOK = COLLECTIONS + "/ansible_collections/cloudstack/virtual_router/playbooks/converge.yml"
CMD_LINE = "cmd_line.json"

# Where the resident parent listens, and the seconds in which it has to say that it has begun.
PARENT = "/run/cloudstack/converge.sock"
ANSWER = 1.0
# How long a converge that is ended for its time may take to end, in seconds.
GRACE = 15.0

# The management server gives up after 600 s (contract.md); a line that says why must come before that.
LIMIT = 590.0

# First a letter or digit: neither hidden file nor option. No brace: Ansible templates extra variables.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class CommandError(Exception):
    """Report a failure in one line, which is all that the caller of a command gets to see."""


class UnjudgedError(CommandError):
    """Report a converge that failed with drops taken along: whose fault it was is not known."""


class Request(NamedTuple):
    """Say what to converge: a drop, an aggregate (its path), or neither.

    ``name`` is the name of the result record, and of the drop if ``drop`` says that there is one. ``waiting`` are drops
    that other commands wait to have taken.
    """

    name: str
    drop: bool = True
    aggregate: str | None = None
    keep: bool = True
    options: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def variables(self) -> str:
        """Return the extra variables of the playbook as JSON."""
        values: dict[str, Any] = {"vr_drops": [self.name] if self.drop else [], "vr_keep": self.keep}
        if self.aggregate is not None:
            values["vr_aggregate"] = self.aggregate
        if self.waiting:
            values["vr_waiting"] = self.waiting
        return json.dumps(values)


# A converge without a drop, and the name of its result record.
FROM_DATABAGS = Request("converge", drop=False)


class Played(NamedTuple):
    """Hold how a run of the playbook ended; ``ended`` says why when it was this command that ended it."""

    status: int
    output: bytes
    ended: str | None

    @property
    def killed(self) -> bool:
        """Tell whether it was ended by a signal, and not for its time."""
        return self.status < 0 and self.ended is None

    def end(self) -> str:
        """Say in words how it ended."""
        by_itself = f"ended with status {self.status}" if self.status >= 0 else f"ended by signal {-self.status}"
        return self.ended or by_itself


def at(path: str) -> str:
    """Return where an absolute path of the router is on this file system."""
    return ROOT + path


def one_line(text: object) -> str:
    """Return text without line breaks, control characters and runs of blanks, cut after 2,000 characters."""
    words = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:2000]


def check_name(name: str) -> str:
    """Return a file name of the inbox, or refuse it: separators, ``..`` and anything but letters, digits, ``._-``."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise CommandError(f"{one_line(ascii(name))[:100]}: expected the plain name of a file in {INBOX}")
    return name


def is_command(program: str) -> bool:
    """Tell whether a plain name is an executable file of /opt/cloud/bin."""
    path = at(f"{COMMANDS}/{program}")
    return bool(_NAME.fullmatch(program)) and os.path.isfile(path) and os.access(path, os.X_OK)


def is_due(name: str) -> bool:
    """Tell whether a drop waits to be taken; not if it was taken before (drops.md); an unknown name is an error."""
    if os.path.isfile(at(f"{INBOX}/{name}")):
        return True
    if os.path.isfile(at(f"{INBOX}/processed/{name}.gz")):
        return False
    raise CommandError(f"{name}: no such file in {INBOX}")


def converge(request: Request, limit: float) -> dict[str, Any]:
    """Converge and return the result record of a success; a failure is a CommandError with its reason.

    The caller has the turn. Boot arguments still in the inbox are merged by the playbook, before any drop. A converge
    that somebody killed may have put the drop into force or not: a second one finishes it or does it anew, and tells.
    """
    end = time.monotonic() + limit
    before = identity(request.name)
    played = _play(request, limit, before)
    unwritten = _log(request, played)
    if played.killed and identity(request.name) in (None, before):
        played = _play(request, max(end - time.monotonic(), 1.0), before)
        unwritten = _log(request, played)
    record = read_record(request.name) if identity(request.name) not in (None, before) else None
    # One that was killed after it had its record has done all that matters.
    if record is not None and accepted(record, unwritten) and played.status <= 0:
        return record
    said = _failed_task(played.output.decode(errors="replace"))
    what = f" ({one_line(said)[:500]})" if said else ""
    left = "and left no result" if record is None else "after its result was recorded"
    kind = UnjudgedError if request.waiting and record is None else CommandError
    raise kind(f"{request.name}: the converge {played.end()} {left}{what}, see {LOG}{unwritten}")


def accepted(record: dict[str, Any], unwritten: str = "") -> dict[str, Any]:
    """Return the record of a success; that of a failure is a CommandError with its reason."""
    if record.get("rc") != 0:
        raise CommandError(
            one_line(record.get("reason") or f"{record.get('name')}: failed without a reason") + unwritten
        )
    return record


def preview(request: Request, limit: float) -> str:
    """Run the playbook with the check options and return the diff it printed; nothing on the router changes."""
    before = identity(request.name)
    played = _play(request, limit)
    record = read_record(request.name) if identity(request.name) not in (None, before) else {}
    text = played.output.decode(errors="replace")
    if played.status != 0 or record.get("rc", 0) != 0:
        reason = record.get("reason") or _message(text) or f"the check {played.end()}"
        raise CommandError(one_line(reason))
    return "".join(_diff(text)).strip("\n")


def summary(record: dict[str, Any]) -> str:
    """Return one line for a record: name, services that changed, time, and what waits for a NIC."""
    parts = [", ".join(record.get("changed") or ()) or "no change"]
    parts += [f"pending: {one_line(item)}" for item in record.get("pending") or ()]
    parts += [f"warning: {one_line(item)}" for item in record.get("warnings") or ()]
    return f"{record.get('name')}: {'; '.join(parts)} ({record.get('duration', 0):.2f} s)"


def run(main: Callable[[list[str]], None]) -> None:
    """Call a command's main with its arguments; a failure is one line on stderr and exit status 1."""
    os.umask(0o077)
    try:
        main(sys.argv[1:])
    except (CommandError, OSError) as error:
        sys.stderr.write(one_line(error) + "\n")
        sys.exit(1)


def use_collection() -> None:
    """Make the collection's pure packages importable; they are namespace packages and need no Ansible."""
    folder = at(COLLECTIONS)
    if folder not in sys.path:
        sys.path.append(folder)


def write_atomically(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file by new content in one step; after a power loss it is the old one or the new one."""
    draft = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(draft, path)


def _play(request: Request, limit: float, before: object = None) -> Played:
    """Run the playbook, at most ``limit`` seconds; ``before`` is the identity of the record that may be there already.

    The output goes to memory, not to a pipe or the log: a full disk must not stop a converge that frees space, and
    when this command is killed the converge goes on to its end.
    """
    output = os.memfd_create("converge")
    try:
        status, ended = _play_warm(request, limit, output)
        if status is None and identity(request.name) in (None, before):
            import vr_process  # imported here: it costs 4 ms, and a converge seldom starts a process itself

            status, ended = vr_process.play(request, limit, output)
        os.lseek(output, 0, os.SEEK_SET)
        with open(output, "rb", closefd=False) as file:
            return Played(status or 0, file.read(), ended)
    finally:
        os.close(output)


def _play_warm(request: Request, limit: float, output: int) -> tuple[int | None, str | None]:
    """Have the resident parent run the playbook; no status where it is absent, too old, stuck or has died.

    It begins only when it is told to go. If it dies after that its converge dies too, and has left its record or a
    transaction without an owner, which a cold run finishes or undoes.
    """
    import socket  # imported here: it costs 8 ms, and most commands do not converge

    message = {"variables": json.loads(request.variables()), "options": list(request.options), "limit": limit}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as parent:
        try:
            parent.settimeout(ANSWER)
            parent.connect(at(PARENT))
            socket.send_fds(parent, [json.dumps(message).encode()], [output])
            if not parent.recv(4096):
                return None, None
            parent.send(b"go")
            parent.settimeout(limit + GRACE)
            answer = parent.recv(4096)
        except OSError:
            return None, None
    if not answer:
        return None, None
    status = int(json.loads(answer)["status"])
    return status, f"was ended after {limit:.0f} s" if status == -signal.SIGTERM else None


def _log(request: Request, played: Played) -> str:
    """Append one run to the log; return what to add to a report when that is not possible."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    head = f"=== {moment} {request.name} {request.variables()} status {played.status}\n".encode()
    try:
        os.makedirs(os.path.dirname(at(LOG)), mode=0o750, exist_ok=True)
        with open(os.open(at(LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(head + played.output)
    except OSError as error:
        return f" (log not written: {error.strerror})"
    return ""


def identity(name: str) -> tuple[int, int] | None:
    """Tell one writing of a result record from the next, without trusting the clock."""
    try:
        status = os.stat(_record_file(name))
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def read_record(name: str) -> dict[str, Any]:
    """Return a result record; one that is damaged is a CommandError."""
    try:
        with open(_record_file(name), encoding="utf-8") as file:
            record = json.load(file)
    except ValueError as error:
        raise CommandError(f"{RESULTS}/{name}.json: damaged result record: {error}") from None
    if not isinstance(record, dict):
        raise CommandError(f"{RESULTS}/{name}.json: expected an object")
    return record


def _record_file(name: str) -> str:
    unwritten = at(f"{UNWRITTEN}/{name}.json")
    return unwritten if os.path.exists(unwritten) else at(f"{RESULTS}/{name}.json")


def _message(text: str) -> str | None:
    """Return the first error message in a playbook's output."""
    if failed := _failed_task(text):
        return failed
    found = re.search(r"^\[?ERROR\]?:? *(.+)$", text, re.MULTILINE)
    return found[1] if found else None


def _failed_task(text: str) -> str | None:
    """Return what the first task that failed said: our modules' own words, in which there is no secret (M2)."""
    found = re.search(r"^fatal: \[[^]]*\]: \w+! => (\{.*)$", text, re.MULTILINE)
    if found is None:
        return None
    try:
        return str(json.loads(found[1]).get("msg"))
    except ValueError:
        return None


def _diff(text: str) -> Iterator[str]:
    """Yield the lines of the diffs in a playbook's output, which stand between a task's title and its result."""
    inside = False
    for line in text.splitlines(keepends=True):
        if line.startswith(("--- ", "+++ ")):
            inside = True
        elif re.match(r"(TASK|PLAY|RUNNING HANDLER) |(ok|changed|skipping|included|fatal|failed): ", line):
            inside = False
        if inside:
            yield line
