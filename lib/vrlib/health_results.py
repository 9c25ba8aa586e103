# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep what health checks found, and print it as the management server reads it (contract.md)."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import Any

from vrlib import command as vr

FOLDER = "/var/lib/cloudstack/health"
UNWRITTEN = "/run/cloudstack/health"
"""Where results are that the disk did not take; they are newer than those on disk."""
TYPES = ("basic", "advanced")
STATUSES = ("SUCCESS", "FAILED", "WARNING", "UNKNOWN")
MESSAGE = 1000
"""Characters of a message."""
HEADINGS = ("FAILING CHECKS", "MONITOR RESULTS")
"""Words that switch the server's parser wherever they stand in a line."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")

Results = dict[str, dict[str, str]]


def load(kind: str) -> Results:
    """Return the last results of a type; a file that is damaged counts as absent."""
    unwritten = vr.at(f"{UNWRITTEN}/{kind}.json")
    path = unwritten if os.path.exists(unwritten) else vr.at(f"{FOLDER}/{kind}.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if NAME.fullmatch(name) and _is_entry(name, entry)}


def _is_entry(name: str, entry: Any) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        return False
    numbers = (entry.get("lastUpdate", ""), entry.get("lastRunDuration", "").replace(".", "", 1))
    return name == "lastRun" or (entry.get("success") in STATUSES and all(number.isdigit() for number in numbers))


def save(kind: str, results: Results) -> None:
    """Replace the results of a type as a whole; in memory if the disk does not take them."""
    data, unwritten = json.dumps(results).encode(), vr.at(f"{UNWRITTEN}/{kind}.json")
    try:
        _write(vr.at(f"{FOLDER}/{kind}.json"), data)
    except OSError:
        _write(unwritten, data)
        return
    with suppress(FileNotFoundError):
        os.unlink(unwritten)


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    vr.write_atomically(path, data, 0o644)


def answer(results: dict[str, Results]) -> str:
    """Return headings, the names of failing checks by type, and everything as JSON in one line of ASCII."""
    failing = [
        [name for name, entry in found.items() if entry.get("success") == "FAILED"] for found in results.values()
    ]
    text = json.dumps(results, separators=(",", ":"))
    for heading in HEADINGS:
        text = text.replace(heading, f"\\u{ord(heading[0]):04x}{heading[1:]}")
    return "\n".join([f"{HEADINGS[0]}:", *(",".join(names) for names in failing if names), f"{HEADINGS[1]}:", text])


def message(text: str) -> str:
    """Return a message as it may be long."""
    return text if len(text) <= MESSAGE else text[: MESSAGE - 1] + "…"
