# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the health checks of a type, keep what they found, and tell what has changed (monitoring of the router).

A check is a function from the run to a status and a message. What is expected is computed from the databags when they
have changed, and kept in memory, so that a run costs next to nothing. A router that is about to leave a state is not
judged by it: while it boots, converges or has just become primary or backup, nothing is FAILED.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import subprocess
import time
from typing import Any

from vrlib import alerts, bounded, metrics
from vrlib import command as vr
from vrlib.check import LIMIT, Check, Run, Verdict
from vrlib.checks import BASIC, services
from vrlib.checks_advanced import ADVANCED
from vrlib.expected import STATE, expected
from vrlib.health_results import MESSAGE, NAME, TYPES, Results, load, message, save

RUN = "/run/cloudstack/health"
OWN = "/root/health_checks"
"""Where operators put checks of their own: executables, root's alone; argument basic or advanced (admin guide)."""
OWN_LIMIT = 10.0
PATIENCE = 5.0
"""Seconds beyond its limit in which a run must have ended by itself."""
BY_STATUS = {0: "SUCCESS", 1: "FAILED", 2: "WARNING", 3: "UNKNOWN"}
SETTLED = 60.0
"""Seconds after a transition in which nothing is FAILED."""
BOOTED = 300.0
"""Seconds after a start in which a router may still boot, or its pair elect."""


def main(args: list[str]) -> None:
    """Run the checks of a type."""
    if len(args) != 1 or args[0] not in TYPES:
        raise vr.CommandError("usage: vr-health basic|advanced")
    run_once(args[0])


def run_once(kind: str) -> None:
    """Run the checks of a type; if somebody does so at the moment, wait and take these results."""
    os.makedirs(vr.at(RUN), mode=0o700, exist_ok=True)
    with open(vr.at(f"{RUN}/{kind}.lock"), "a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return
        _run(kind)


def _run(kind: str) -> None:
    before, start = load(kind), time.time()
    try:
        found = expected()
    except (vr.CommandError, OSError) as error:
        # The last results would be answered for ever.
        results = {"converge_check.py": _listed("FAILED", str(error), 0.0)} if kind == "basic" else {}
        _keep(kind, before, results, start)
        return
    if not found["enabled"]:
        save(kind, {})
        return
    run = Run(kind, found, metrics.remembered(f"{RUN}/{kind}.memory"))
    results = {}
    for name, check in _checks(run).items():
        if name not in found["excluded"]:
            entry = _entry(run, name, check)
            if entry is not None:
                results[name] = entry
    _keep(kind, before, results, start)
    _remember(kind, run.memory)
    metrics.write(run)


def _checks(run: Run) -> dict[str, Check]:
    """Return the checks of a run; those of operators come last and replace none of the router's."""
    types = {"basic": dict(services(run.expected)) | BASIC, "advanced": ADVANCED}
    names = {name for checks in types.values() for name in checks}
    return types[run.kind] | {name: check for name, check in _own(run).items() if name not in names}


def _keep(kind: str, before: Results, results: Results, start: float) -> None:
    _tell(before, results)
    end = time.time()
    stamps = {"start": _stamp(start), "end": _stamp(end), "duration": f"{end - start:.6f}"}
    save(kind, {**results, "lastRun": stamps})


def _entry(run: Run, name: str, check: Check) -> dict[str, str] | None:
    """Return the result of a check; one without a message that succeeds is not listed."""
    began = time.monotonic()
    if began - run.began > LIMIT:
        status, text = "UNKNOWN", f"not finished after {LIMIT:.0f} s"
    else:
        try:
            status, text = check(run)
        except (OSError, ValueError, KeyError, vr.CommandError) as error:
            status, text = "UNKNOWN", f"the check itself failed: {type(error).__name__}: {error}"
    if status == "FAILED" and (why := passing(run.expected)):
        status, text = "UNKNOWN", f"{why}: {text}"
    if not text and status == "SUCCESS":
        return None
    return _listed(status, text, time.monotonic() - began)


def _listed(status: str, text: str, duration: float) -> dict[str, str]:
    return {
        "success": status,
        "lastUpdate": str(int(time.time() * 1000)),
        "lastRunDuration": f"{duration * 1000:.1f}",
        "message": message(text),
    }


def passing(expected: dict[str, Any]) -> str:
    """Say which state the router is about to leave, nothing if it is settled; one that lasts hides nothing."""
    with open(vr.at("/proc/uptime"), encoding="ascii") as file:
        up = float(file.read().split()[0])
    if up < BOOTED and not os.path.exists(vr.at(f"{vr.INBOX}/boot_up_done")):
        return "the router boots"
    if _age("/var/lib/cloudstack/transaction.json") < vr.LIMIT:
        return "a converge runs"
    if expected["redundant"]:
        age = _age(STATE)
        if age < min(SETTLED, up):
            return "it has just become primary or backup"
        if up < BOOTED and age == math.inf:
            return "nobody is elected yet"
    return ""


def _age(path: str) -> float:
    """Return the seconds since a file was written; a clock that was set back makes none young for ever."""
    try:
        return abs(time.time() - os.stat(vr.at(path)).st_mtime)
    except FileNotFoundError:
        return math.inf


def _own(run: Run) -> dict[str, Check]:
    """Return the checks of operators: what root alone may write."""
    folder = vr.at(OWN)
    names = sorted(name for name in os.listdir(folder) if NAME.fullmatch(name)) if os.path.isdir(folder) else []
    paths = {name: os.path.join(folder, name) for name in names}
    return {name: _own_check(path, run.kind) for name, path in paths.items() if bounded.is_operators(path)}


def _own_check(path: str, kind: str) -> Check:
    def check(run: Run) -> Verdict:
        done = bounded.run((path, kind), limit=run.within(OWN_LIMIT), most=MESSAGE)
        text = done.stdout.decode(errors="replace").strip()
        if done.status not in BY_STATUS:
            return "UNKNOWN", f"exit status {done.status}: {text or done.stderr.decode(errors='replace').strip()}"
        return BY_STATUS[done.status], text

    return check


def _tell(before: Results, results: Results) -> None:
    """Write an alert where a check begins to fail, and where it recovers."""
    for name, entry in results.items():
        was, now = before.get(name, {}).get("success"), entry["success"]
        if now == "FAILED" and was != "FAILED":
            alerts.write("ALERT", name, f"health check failed: {entry['message']}")
        elif was == "FAILED" and now == "SUCCESS":
            alerts.write("INFO", name, "health check succeeds again")
    alerts.flush()


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1e6) % 1000000:06d}"


def _remember(kind: str, memory: dict[str, Any]) -> None:
    vr.write_atomically(vr.at(f"{RUN}/{kind}.memory"), json.dumps(memory).encode())


def refresh() -> None:
    """Run both types now, each in a process of its own; without results of now it is an error."""
    command = vr.at(f"{vr.PROGRAMS}/vr-health")
    null = subprocess.DEVNULL
    running = [subprocess.Popen([command, kind], stdin=null, stdout=null, stderr=null) for kind in TYPES]
    end = time.monotonic() + LIMIT + PATIENCE
    for process in running:
        try:
            process.wait(max(end - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            process.kill()
    for kind, process in zip(TYPES, running, strict=True):
        if process.wait() != 0:
            raise vr.CommandError(f"vr-health {kind}: exit status {process.returncode}, see the journal")
