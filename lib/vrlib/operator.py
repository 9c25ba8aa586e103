# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let an operator see and explain a router: what ``vr`` does. Only what its name says changes anything.

Modules of the collection are imported where they are needed: an answer must come at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vrlib import command as vr
from vrlib import expected

if TYPE_CHECKING:
    import argparse

TOPICS = ("router", "nat", "firewall", "acl", "dhcp", "tiers", "pair", "lb", "routes", "vpn", "bgp", "drops")
"""Those of rows.py, which it costs 100 ms to ask, and drops."""
SHOWN_DROPS = 20
Row = dict[str, str]


def main(args: list[str]) -> None:
    """Do what is asked for; exit status 1: a packet does not pass, or something is wrong; 2: a packet not explained."""
    chosen = _parser().parse_args(args)
    handler: Callable[[argparse.Namespace], int] = chosen.do
    try:
        status = handler(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as of `vr show nat | head`; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser("vr", description="See and explain this virtual router.", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, do: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        found.set_defaults(do=do)
        return found

    show = add("show", _show, "what the databags say, and what drops came to")
    show.add_argument("topic", nargs="?", choices=TOPICS, default="router")
    why = add("why", _why, "what becomes of a packet that begins a connection, and which rule decides")
    why.add_argument("source", metavar="SRC")
    why.add_argument("destination", metavar="DST")
    why.add_argument("protocol", metavar="PROTO[/PORT]", help="tcp/443, udp/53, icmp, icmp/8 or a number")
    why.add_argument("--in", dest="nic", default="", metavar="NIC", help="by which NIC it comes, if not the obvious")
    plan = add("plan", _plan, "what a drop in the inbox would change; changes nothing")
    plan.add_argument("drop", metavar="DROP")
    log = add("log", _log, "what the last drops came to, or all that is known of one")
    log.add_argument("drop", nargs="?", metavar="DROP")
    log.add_argument("-n", type=int, default=SHOWN_DROPS, dest="most", metavar="N", help="how many, at most")
    report = add("report", _report, "a page about this router: verdict, NICs, pair, last drops, failing checks, alerts")
    report.add_argument("--metrics", action="store_true", help="for Prometheus: what the health checks write to a file")
    report.add_argument("--html", action="store_true", help="a page for browsers, with a picture of the router")
    check = add("check", _check, "whether the router is as the databags say, and healthy")
    for command in (show, why, plan, log, report, check):
        command.add_argument("--json", action="store_true", help="for programs")
    unlock = add("unlock", _unlock, "end the converge that holds this router, and make the router whole")
    unlock.set_defaults(json=False)
    return parser


def _tables(router: Any) -> dict[str, list[Row]]:
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rows import tables

    return tables(router)


def _show(chosen: argparse.Namespace) -> int:
    if chosen.topic == "drops":
        rows = [_drop_row(record) for record in _records(SHOWN_DROPS)]
    else:
        rows = _tables(expected.router())[chosen.topic]
    if chosen.topic == "pair":
        rows += [{"what": "problem", "value": line} for line in vr.text(expected.PROBLEMS).splitlines() if line]
    _print(rows, chosen.json)
    return 0


def _print(rows: list[Row], as_json: bool) -> None:
    """Print rows as JSON or as a table; a table without rows is a dash."""
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for line in _lines(rows):
        print(line)


def _lines(rows: list[Row]) -> Iterable[str]:
    if not rows:
        return ["-"]
    shown = [{key: vr.one_line(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row.get(key, "")) for row in shown)) for key in shown[0]}
    head = {key: key.replace("_", " ").upper() for key in widths}
    return [" ".join(row.get(key, "").ljust(width) for key, width in widths.items()).rstrip() for row in (head, *shown)]


def _why(chosen: argparse.Namespace) -> int:
    from vrlib import why

    return why.why(chosen)


def _plan(chosen: argparse.Namespace) -> int:
    """Say which things come and go; what that means in files and rules is said by update_config.py --check --diff."""
    name, store = vr.check_name(chosen.drop), expected.store()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.drops import deliver
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import (
        DatabagError,
        DropError,
    )
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rows import difference

    try:
        bags = store.load()
        delivery = deliver(store, dict(bags), [name], None)
    except (DropError, DatabagError, OSError) as error:
        raise vr.CommandError(str(error)) from None
    before, after = (_tables(expected.router(found)) for found in (bags, delivery.bags))
    changes = difference(before, after)
    if chosen.json:
        print(json.dumps({topic: {"gone": gone, "new": new} for topic, (gone, new) in changes.items()}, indent=1))
        return 0
    for topic, (gone, new) in changes.items():
        lines = list(_lines([*gone, *new]))
        print(f"{topic}:\n  {lines[0]}")
        for number, line in enumerate(lines[1:]):
            print(f"{'-' if number < len(gone) else '+'} {line}")
    if not changes:
        print("nothing that is shown by vr show changes")
    return 0


def _records(most: int) -> list[dict[str, Any]]:
    """Return the records of the last drops, the newest last; one that is damaged says so, and hides no other."""
    from vrlib import converge

    found = {}
    for folder in map(vr.at, (vr.RESULTS, vr.UNWRITTEN)):
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            # A converge prunes them meanwhile.
            with suppress(FileNotFoundError):
                if entry.name.endswith(".json"):
                    found[entry.name.removesuffix(".json")] = entry.stat().st_mtime
    records = []
    for name in sorted(found, key=found.__getitem__)[-max(most, 1) :]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found[name]))
        try:
            records.append({**converge.read_record(name), "when": when})
        except vr.CommandError as error:
            records.append({"name": name, "when": when, "rc": None, "reason": str(error)})
        except FileNotFoundError:
            continue
    return records


def _drop_row(record: dict[str, Any]) -> Row:
    said = record.get("reason") or "; ".join(record.get("warnings") or ()) or ", ".join(record.get("changed") or ())
    return {
        "when": record["when"],
        "drop": str(record.get("name")),
        "result": {0: "done", None: "unknown"}.get(record.get("rc"), "failed"),
        "seconds": f"{record.get('duration', 0):.2f}",
        "said": str(said) if len(str(said)) < 200 else f"{str(said)[:199]}…",
    }


def _log(chosen: argparse.Namespace) -> int:
    if chosen.drop is None:
        records = _records(chosen.most)
        _print([_drop_row(record) for record in records], chosen.json)
        return 0
    from vrlib import converge

    name = vr.check_name(chosen.drop)
    try:
        record = converge.read_record(name)
    except FileNotFoundError:
        raise vr.CommandError(f"{name}: no record in {vr.RESULTS}") from None
    print(json.dumps(record, indent=1, ensure_ascii=False))
    if not chosen.json:
        own = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)")
        for line in filter(own.search, vr.text("/var/log/cloudstack/router.log").splitlines()):
            print(vr.one_line(line))
    return 0


def _failing() -> list[Row]:
    """Return the health checks that did not succeed."""
    from vrlib.health_results import TYPES, load

    entries = {name: entry for kind in TYPES for name, entry in load(kind).items() if name != "lastRun"}
    return [
        {"check": name, "result": entry["success"], "message": entry.get("message", "")[:100]}
        for name, entry in entries.items()
        if entry["success"] not in ("SUCCESS", "UNKNOWN")
    ]


def _report_parts() -> tuple[dict[str, Any], Row]:
    """Return what the report says, and the state of each NIC's link."""
    from vrlib.alerts import newer

    found, bad = _tables(expected.router()), _failing()
    failed = [row["check"] for row in bad if row["result"] == "FAILED"]
    links = {row["nic"]: vr.text(f"{expected.SYSFS}/{row['nic']}/operstate").strip() for row in found["tiers"]}
    parts: dict[str, Any] = {
        "verdict": f"FAILED: {', '.join(failed[:3])}" if failed else "OK",
        **{topic: found[topic][:most] for topic, most in (("router", 10), ("tiers", 12), ("pair", 7))},
        "count": {topic: len(found[topic]) for topic in ("nat", "firewall", "acl", "dhcp", "lb", "routes")},
        "drops": [_drop_row(record) for record in _records(7)],
        "checks": bad[:7],
        "alerts": newer("")[0][-4:],
    }
    return parts, links


def _report(chosen: argparse.Namespace) -> int:
    """Print a page of at most 60 lines; its verdict is that of the health checks."""
    if chosen.metrics:
        from vrlib.check import Run
        from vrlib.metrics import text

        sys.stdout.write(text(Run("basic", expected.expected())))
        return 0
    parts, links = _report_parts()
    status = int(parts["verdict"] != "OK")
    if chosen.html:
        from vrlib.report_page import page

        sys.stdout.write(page({**parts, "links": links, "when": time.strftime("%Y-%m-%d %H:%M:%S %Z")}))
        return status
    if chosen.json:
        print(json.dumps(parts, indent=1, ensure_ascii=False))
        return status
    print(parts["verdict"])
    for topic in ("router", "tiers", "pair", "drops", "checks"):
        if parts[topic]:
            print("\n".join(["", *(line[:160] for line in _lines(parts[topic]))]))
    print("\n" + ", ".join(f"{number} {topic}" for topic, number in parts["count"].items()))
    for line in parts["alerts"]:
        print(line[:160])
    return status


def _check(chosen: argparse.Namespace) -> int:
    """Have a converge look for differences, without changing anything, and read what the health checks found."""
    from vrlib import converge

    drift, bad = converge.drift(vr.LIMIT), _failing()
    if chosen.json:
        print(json.dumps({"drift": drift, "checks": bad}, indent=1))
    else:
        print("\n".join(drift) or "no drift: the router is as its databags say")
        print("\n".join(_lines(bad)) if bad else "no health check has failed")
    return int(bool(drift or bad))


def _unlock(_chosen: argparse.Namespace) -> int:
    command = vr.at(f"{vr.COMMANDS}/vr-unlock")
    sys.stdout.flush()
    os.execv(command, [command])  # noqa: S606 - our own command, no shell
