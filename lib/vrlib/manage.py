# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Do to a service what the management server asks, by an allow-list of actions and services (contract.md)."""

from __future__ import annotations

import os
import re
import time

from vrlib import bounded
from vrlib import command as vr
from vrlib.expected import state

LIMIT = 60.0
MOST = 65536
RUN = "/run/cloudstack/redundancy"
GIVING_WAY = 5.0
"""Seconds that a primary has to hand its addresses over before its keepalived is stopped."""

ACTIONS = ("start", "stop", "restart", "reload", "status", "is-active")
SAFE = ("restart", "reload", "status", "is-active")
"""What may be done to sshd: without it nobody gets in to start it again."""
UNITS = {
    "keepalived": "keepalived",
    "conntrackd": "conntrackd",
    "haproxy": "haproxy",
    "dnsmasq": "dnsmasq",
    "apache2": "nginx",
    "nginx": "nginx",
    "ssh": "ssh",
    "sshd": "ssh",
    "strongswan": "strongswan",
    "ipsec": "strongswan",
    "xl2tpd": "xl2tpd",
    "frr": "frr",
    "radvd": "radvd",
    "cloud-password-server": "cloudstack-passwords",
    "rsyslog": "rsyslog",
}
"""Services as the management server and the original name them, and what they are here."""


def main(args: list[str]) -> None:
    """Act, and say nothing when it is done; what systemctl says of a failure is on standard output, as of a state."""
    action, service = (*args, "", "")[:2]
    name = service.removesuffix(".service")
    unit = UNITS.get(name)
    if len(args) != 2 or action not in ACTIONS or unit is None or (unit == "ssh" and action not in SAFE):
        refused = f"{_word(service).removesuffix('.service')}.service"
        print(f"Failed to {_word(action)} {refused}: Unit {refused} not found.")
        raise SystemExit(1)
    if (action, unit) in (("stop", "keepalived"), ("restart", "keepalived")):
        give_way()
    try:
        done = bounded.run(["systemctl", "--no-pager", action, *_units(unit)], limit=LIMIT, most=MOST)
    finally:
        if unit == "keepalived":
            ready_again()
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.status != 0 or action in ("status", "is-active"):
        print(said, end="" if said.endswith("\n") or not said else "\n")
    raise SystemExit(done.status)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._-]", "?", text)[:64]


def _units(unit: str) -> list[str]:
    """Return the units of a service: each tier of a VPC has a dnsmasq of its own."""
    folder = vr.at("/etc/dnsmasq.cloudstack")
    tiers = []
    if unit == "dnsmasq" and os.path.isdir(folder):
        tiers = sorted(name for name in os.listdir(folder) if re.fullmatch("tier_[0-9_]+", name))
    return [f"dnsmasq@{tier}.service" for tier in tiers] or [f"{unit}.service"]


def give_way() -> None:
    """Have a primary hand its addresses over first, a planned handover; alone it ends late."""
    if state() != "PRIMARY":
        return
    _mark("1")
    end = time.monotonic() + GIVING_WAY
    while time.monotonic() < end and state() == "PRIMARY":
        time.sleep(0.05)


def ready_again() -> None:
    """Let it be elected again; the watch of the pair starts a keepalived that stays stopped."""
    if os.path.exists(vr.at(f"{RUN}/give_way")):
        _mark("0")


def _mark(text: str) -> None:
    with open(vr.at(f"{RUN}/give_way"), "w", encoding="ascii") as file:
        file.write(f"{text}\n")
