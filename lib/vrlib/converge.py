# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one converge and report it: by the resident parent, or by Ansible where there is none."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from vrlib import command as vr

LOG = "/var/log/cloudstack/converge.log"
# Where the resident parent listens, and the seconds in which it has to say that it has begun: on a busy machine a cold
# run would only add to the load.
PARENT = "/run/cloudstack/converge.sock"
ANSWER = 3.0
# How long a converge that is ended for its time may take to end, in seconds.
GRACE = 15.0


class UnjudgedError(vr.CommandError):
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


def converge(request: Request, limit: float) -> dict[str, Any]:
    """Converge and return the result record of a success; a failure is a vr.CommandError with its reason.

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
    what = f" ({vr.one_line(said)[:500]})" if said else ""
    left = "and left no result" if record is None else "after its result was recorded"
    kind = UnjudgedError if request.waiting and record is None else vr.CommandError
    raise kind(f"{request.name}: the converge {played.end()} {left}{what}, see {LOG}{unwritten}")


def accepted(record: dict[str, Any], unwritten: str = "") -> dict[str, Any]:
    """Return the record of a success; that of a failure is a vr.CommandError with its reason."""
    if record.get("rc") != 0:
        raise vr.CommandError(
            vr.one_line(record.get("reason") or f"{record.get('name')}: failed without a reason") + unwritten
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
        raise vr.CommandError(vr.one_line(reason))
    return "".join(_diff(text)).strip("\n")


def drift(limit: float) -> list[str]:
    """Return what a converge from the databags would change now, as lines of a diff; nothing changes.

    A diff does not show everything: the text of a ruleset that somebody has changed in the kernel is as it was.
    """
    played = _play(FROM_DATABAGS._replace(options=("--check", "--diff")), limit)
    text = played.output.decode(errors="replace")
    if played.status != 0:
        raise vr.CommandError(vr.one_line(_message(text) or f"the check {played.end()}"))
    if not re.search(r"^changed: ", text, re.MULTILINE):
        return []
    return "".join(_diff(text)).strip("\n").splitlines() or ["no file differs: the kernel's state does, or a daemon's"]


def summary(record: dict[str, Any]) -> str:
    """Return one line for a record: name, services that changed, time, and what waits for a NIC."""
    parts = [", ".join(record.get("changed") or ()) or "no change"]
    parts += [f"pending: {vr.one_line(item)}" for item in record.get("pending") or ()]
    parts += [f"warning: {vr.one_line(item)}" for item in record.get("warnings") or ()]
    return f"{record.get('name')}: {'; '.join(parts)} ({record.get('duration', 0):.2f} s)"


def _play(request: Request, limit: float, before: object = None) -> Played:
    """Run the playbook, at most ``limit`` seconds; ``before`` is the identity of the record that may be there already.

    The output goes to memory, not to a pipe or the log: a full disk must not stop a converge that frees space, and
    when this command is killed the converge goes on to its end.
    """
    output = os.memfd_create("converge")
    try:
        status, ended = _play_warm(request, limit, output)
        if status is None and identity(request.name) in (None, before):
            from vrlib import process  # imported here: it costs 4 ms, and a converge seldom starts a process itself

            status, ended = process.play(request.options, request.variables(), limit, output)
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
            parent.connect(vr.at(PARENT))
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
        os.makedirs(os.path.dirname(vr.at(LOG)), mode=0o750, exist_ok=True)
        with open(os.open(vr.at(LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
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
    """Return a result record; one that is damaged is a vr.CommandError."""
    try:
        with open(_record_file(name), encoding="utf-8") as file:
            record = json.load(file)
    except ValueError as error:
        raise vr.CommandError(f"{vr.RESULTS}/{name}.json: damaged result record: {error}") from None
    if not isinstance(record, dict):
        raise vr.CommandError(f"{vr.RESULTS}/{name}.json: expected an object")
    return record


def _record_file(name: str) -> str:
    unwritten = vr.at(f"{vr.UNWRITTEN}/{name}.json")
    return unwritten if os.path.exists(unwritten) else vr.at(f"{vr.RESULTS}/{name}.json")


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
