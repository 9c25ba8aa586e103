# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell Prometheus about the router: a file for the textfile collector of node_exporter, written by each health run.

Labels have values that the configuration bounds: never a VM, a client or the id of a rule. What node_exporter knows by
itself (CPU, memory, packets of NICs) is not repeated.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import syslog
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from vrlib import alerts, balancer
from vrlib import command as vr
from vrlib.check import Run
from vrlib.checks import MOUNTS
from vrlib.expected import PROBLEMS, STATE, state
from vrlib.health_results import STATUSES, TYPES, load
from vrlib.metrics_page import GAUGE, TOTAL, Page, Sample

FOLDER = "/var/lib/prometheus/node-exporter"
FILE = f"{FOLDER}/cloudstack_router.prom"
MEMORY = "/run/cloudstack/health/metrics.json"
ASKED = "/run/cloudstack/health/basic.memory"
"""Where the basic checks leave which gateways have answered."""
LOCK = "/run/cloudstack/health/metrics.lock"
STATES = ("PRIMARY", "BACKUP", "FAULT", "UNKNOWN")
MOST_RECORDS = 2500
"""How many records of drops are read in one run; there are no more, unless somebody has put them there (paths.py)."""
_ANSWER = 1.0


def write(run: Run) -> None:
    """Replace the file; one that the disk does not take fails no run, and the journal says so."""
    path, folder = vr.at(FILE), vr.at(os.path.dirname(MEMORY))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(vr.at(LOCK), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        counted = _count(remembered(MEMORY))
        page = text(run, counted).encode()
        try:
            vr.write_atomically(vr.at(MEMORY), json.dumps(counted).encode())
            _make_readable(os.path.dirname(path))
            vr.write_atomically(path, page, 0o644)
        except OSError as error:
            syslog.syslog(syslog.LOG_WARNING, f"{FILE}: {error.strerror}")


def _make_readable(folder: str) -> None:
    """Make the directory that the collector reads, where it is not there yet; our umask lets nobody in."""
    for place in (os.path.dirname(folder), folder):
        if not os.path.isdir(place):
            os.makedirs(place)
            os.chmod(place, 0o755)  # noqa: S103 - nothing in it is a secret


def text(run: Run, counted: dict[str, Any] | None = None) -> str:
    """Return all metrics; without counts those of the last health run, and what has come since."""
    page = Page()
    counts = _count(remembered(MEMORY)) if counted is None else counted
    _identity(page, run.expected)
    _checks(page)
    _converges(page, counts)
    _pair(page, run.expected)
    _connections(page)
    _services(page, run)
    _networks(page, run)
    _balancer(page)
    _disks(page)
    return page.text()


def _identity(page: Page, expected: dict[str, Any]) -> None:
    known = expected["metrics"]
    words = {"name": known["name"], "kind": known["kind"], "redundant": str(expected["redundant"]).lower()}
    page.add("info", GAUGE, "What this router is.", [({**words, "release": vr.line("/etc/cloudstack-release")}, 1)])
    rules = [({"kind": kind}, number) for kind, number in ({"forwards": expected["forwards"]} | known["rules"]).items()]
    page.add("rules", GAUGE, "Rules that the databags ask for.", rules)
    page.add("nics_pending", GAUGE, "What waits for a NIC or an address.", [({}, len(expected["pending"]))])
    roles = [({"device": device, "role": role}, 1) for device, role in known["devices"]]
    page.add("interface_role", GAUGE, "What each NIC is for.", roles)


def _checks(page: Page) -> None:
    """Add the last results of each health check."""
    found = [(kind, name, entry) for kind in TYPES for name, entry in sorted(load(kind).items()) if name != "lastRun"]
    status: list[Sample] = [
        ({"check": name, "type": kind, "status": word}, int(entry["success"] == word))
        for kind, name, entry in found
        for word in STATUSES
    ]
    labels = [({"check": name, "type": kind}, entry) for kind, name, entry in found]
    last = [(label, int(entry["lastUpdate"]) / 1000) for label, entry in labels]
    took = [(label, float(entry["lastRunDuration"]) / 1000) for label, entry in labels]
    page.add("healthcheck_status", GAUGE, "1 for the status that a health check has.", status)
    page.add("healthcheck_last_run_timestamp_seconds", GAUGE, "When a health check ran.", last)
    page.add("healthcheck_duration_seconds", GAUGE, "How long a health check took.", took)


def _converges(page: Page, counts: dict[str, Any]) -> None:
    results = [({"result": result}, counts.get(result, 0)) for result in ("applied", "failed")]
    page.add("drops_total", TOTAL, "Drops and converges that were recorded since the router started.", results)
    if "last" in counts:
        when, took = counts["last"]
        page.add("converge_last_success_timestamp_seconds", GAUGE, "When a converge succeeded.", [({}, when)])
        page.add("converge_last_duration_seconds", GAUGE, "How long it took.", [({}, took)])
    waiting = [e for e in os.scandir(vr.at(vr.INBOX)) if e.is_file() and ".json" in e.name]
    page.add("drops_waiting", GAUGE, "Drops in the inbox.", [({}, len(waiting))])


def remembered(path: str) -> dict[str, Any]:
    """Return what a run has left in memory, replaced as a whole; without it counters begin anew, as after a start."""
    try:
        with open(vr.at(path), encoding="ascii") as file:
            found: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _count(known: dict[str, Any]) -> dict[str, Any]:
    """Return the counts with the records that have come since, known by times not seen: a clock may be set."""
    there = sorted(_records())[-MOST_RECORDS:]
    seen = set(known["seen"]) if "seen" in known else {moment for moment, _path in there if moment < _started()}
    counts = {**known, "seen": [moment for moment, _path in there]}
    for moment, path in there:
        if moment in seen:
            continue
        # One that was pruned since, or that a power cut has left, counts as none.
        with suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as file:
            record = json.load(file)
            if not isinstance(record, dict):
                continue
            word = "applied" if record.get("rc") == 0 else "failed"
            counts[word] = counts.get(word, 0) + 1
            if word == "applied":
                counts["last"] = [moment / 1e9, float(record.get("duration") or 0)]
    return counts


def _records() -> Iterator[tuple[int, str]]:
    """Yield time and path of each record, also of those that the disk did not take."""
    for folder in map(vr.at, (vr.RESULTS, vr.UNWRITTEN)):
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            with suppress(FileNotFoundError):
                if entry.name.endswith(".json"):
                    yield entry.stat().st_mtime_ns, entry.path


def _started() -> int:
    """Return when the router started, in nanoseconds: the counters do, too."""
    return time.time_ns() - int(float(vr.text("/proc/uptime").split()[0]) * 1e9)


def _pair(page: Page, expected: dict[str, Any]) -> None:
    if not expected["redundant"]:
        return
    now = state() if state() in STATES else "UNKNOWN"
    page.add("vrrp_state", GAUGE, "1 for the state of VRRP.", [({"state": word}, int(word == now)) for word in STATES])
    with suppress(FileNotFoundError):
        moment = os.stat(vr.at(STATE)).st_mtime
        page.add("vrrp_last_transition_timestamp_seconds", GAUGE, "When that state began.", [({}, moment)])
    problems = [line for line in vr.text(PROBLEMS).splitlines() if line.strip()]
    page.add("vrrp_problems", GAUGE, "What the watch over the pair finds wrong.", [({}, len(problems))])


def _connections(page: Page) -> None:
    folder = "/proc/sys/net/netfilter/nf_conntrack_"
    for name, file, what in (
        ("conntrack_entries", "count", "Connections that are tracked."),
        ("conntrack_entries_limit", "max", "How many may be."),
    ):
        if number := vr.line(f"{folder}{file}"):
            page.add(name, GAUGE, what, [({}, int(number))])
    rows = [line.split() for line in vr.text("/proc/net/stat/nf_conntrack").splitlines()]
    if rows and "drop" in rows[0]:
        place = rows[0].index("drop")
        dropped = sum(int(row[place], 16) for row in rows[1:] if len(row) > place)
        page.add("conntrack_drop_total", TOTAL, "Packets dropped as the table was full.", [({}, dropped)])


def _services(page: Page, run: Run) -> None:
    states = run.states()
    up = [({"service": unit}, int(found["ActiveState"] in ("active", "reloading"))) for unit, found in states.items()]
    page.add("service_up", GAUGE, "Whether a service that should run does.", up)
    restarts = [({"service": unit}, int(found["NRestarts"])) for unit, found in states.items()]
    page.add("service_restarts_total", TOTAL, "How often systemd had to start it again.", restarts)


def _networks(page: Page, run: Run) -> None:
    """Add gateways, bytes of public NICs, and what is leased."""
    known = run.expected
    reached = remembered(ASKED).get("gateways")
    if reached is not None:
        gateways = [({"gateway": g, "device": nic}, int(g in reached)) for nic, _own, g in known["gateways"]]
        page.add("gateway_up", GAUGE, "Whether a gateway answers ARP.", gateways)
    counted = dict(_counters(run))
    for way in ("sent", "received"):
        sums: list[Sample] = [
            ({"device": nic}, counted[f"{nic}_{way}"] + counted.get(f"{nic}_own_{way}", 0))
            for nic, role in known["metrics"]["devices"]
            if role == "public" and f"{nic}_{way}" in counted
        ]
        page.add(f"public_{way}_bytes_total", TOTAL, f"Bytes {way} by a public NIC, as usage counts them.", sums)
    hosts = [({"server": server}, number) for server, number in known["metrics"]["hosts"].items()]
    page.add("dhcp_hosts", GAUGE, "VMs that a DHCP server knows.", hosts)
    leased = [
        ({"server": server}, len(vr.text(path).splitlines())) for server, path in known["metrics"]["leases"].items()
    ]
    page.add("dhcp_leases", GAUGE, "Addresses that it has leased.", leased)


def _counters(run: Run) -> Iterator[tuple[str, int]]:
    done = run.tool("nft", "-j", "list", "counters", "table", "inet", "cloudstack_usage")
    with suppress(ValueError, KeyError):
        for item in json.loads(done.stdout)["nftables"]:
            if "counter" in item:
                yield item["counter"]["name"], int(item["counter"]["bytes"])


def _balancer(page: Page) -> None:
    """Add what haproxy counts, by public address and port of each rule."""
    rules: dict[str, list[dict[str, str]]] = {}
    for row in _stats():
        if "-" in row["pxname"] and row["pxname"][0].isdigit():
            ip, _dash, port = row["pxname"].rpartition("-")
            rules.setdefault(f"{ip.replace('_', '.')}:{port}", []).append(row)
    ends = {rule: [row for row in rows if row["svname"] == "FRONTEND"] for rule, rows in rules.items()}
    servers = {rule: balancer.servers(rows) for rule, rows in rules.items()}
    up = {rule: [row for row in rows if balancer.is_up(row)] for rule, rows in servers.items()}
    sessions = [({"rule": rule}, sum(int(row["scur"] or 0) for row in rows)) for rule, rows in ends.items()]
    page.add("lb_frontend_sessions", GAUGE, "Connections of a rule.", sessions)
    page.add("lb_servers", GAUGE, "VMs of a rule.", [({"rule": rule}, len(rows)) for rule, rows in servers.items()])
    page.add("lb_servers_up", GAUGE, "Those that are up.", [({"rule": rule}, len(rows)) for rule, rows in up.items()])
    moved = [
        ({"rule": rule, "direction": way}, sum(int(row[column] or 0) for row in rows))
        for rule, rows in ends.items()
        for way, column in (("in", "bin"), ("out", "bout"))
    ]
    page.add("lb_bytes_total", TOTAL, "Bytes of its clients since haproxy was loaded.", moved)


def _stats() -> Iterable[dict[str, str]]:
    """Return the rows of haproxy's statistics, none if it does not run; one that it was killed in is left out."""
    import csv

    data = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(_ANSWER)
            wire.connect(vr.at(balancer.ADMIN_SOCKET))
            wire.sendall(b"show stat\n")
            while part := wire.recv(65536):
                data += part
    except OSError:
        return []
    whole = data.decode(errors="replace").rpartition("\n")[0]
    return csv.DictReader(whole.removeprefix("# ").splitlines())


def _disks(page: Page) -> None:
    free: list[Sample] = []
    for mount in MOUNTS:
        status = os.statvfs(vr.at(mount))
        free.append(({"mount": mount}, status.f_bavail * status.f_frsize))
    page.add("filesystem_free_bytes", GAUGE, "Room on the file systems of the router.", free)
    folder = vr.at(os.path.dirname(alerts.LOG))
    logs = sorted(e.name for e in os.scandir(folder) if e.name.endswith(".log")) if os.path.isdir(folder) else []
    sizes: list[Sample] = []
    for name in logs[:20]:
        # Rotated at this moment.
        with suppress(FileNotFoundError):
            sizes.append(({"log": name}, os.stat(os.path.join(folder, name)).st_size))
    page.add("log_bytes", GAUGE, "Size of a log of the router.", sizes)
