# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Serve the ISO in the CD drive to the nodes of a Kubernetes cluster, beside the metadata (contract.md).

The nodes fetch ``http://<guest address>/cks-iso/`` recursively, through listings of directories. The web server reads a
piece of configuration in memory, so what is served survives a converge and a reload, and no reboot.
"""

from __future__ import annotations

import os
import time

from vrlib import command as vr
from vrlib.process import tool

DRIVES = ("/dev/cdrom", "/dev/sr0")
PATIENCE = 10.0
"""Seconds in which a drive and its medium must be there."""
MOUNT = "/var/www/cks-iso"
CONFIG = "/run/cloudstack/nginx/cks-iso.conf"
TYPES = "iso9660,udf"
"""What a CD has. Other drivers of the kernel are not offered to what is on it."""
OPTIONS = "ro,nosuid,nodev,noexec,nosymfollow"
"""A link on a CD would lead out of it, to what other VMs alone may read."""
LOCATIONS = f"""# Owned by cloudstack.virtual_router (cks_iso.sh): do not edit.
location = /cks-iso {{
    return 301 /cks-iso/;
}}
location /cks-iso/ {{
    alias              {MOUNT}/;
    autoindex          on;
    disable_symlinks   on from={MOUNT};
    limit_conn         vms 1024;
    send_timeout       60s;
    sendfile_max_chunk 1m;
    default_type       application/octet-stream;
}}
"""


def main(args: list[str]) -> None:
    """Mount and serve, or stop serving and unmount."""
    if args not in (["true"], ["false"]):
        raise vr.CommandError("usage: cks_iso.sh true|false")
    if args == ["true"]:
        _mount()
        if _configure(LOCATIONS):
            _reload()
    else:
        if _configure(None):
            _reload()
        _unmount()


def _mount() -> None:
    place, end = vr.at(MOUNT), time.monotonic() + PATIENCE
    os.makedirs(place, mode=0o755, exist_ok=True)
    while not os.path.ismount(place):
        drive = next((path for path in DRIVES if os.path.exists(vr.at(path))), None)
        if drive is None:
            why = f"no drive: {', '.join(DRIVES)}"
        else:
            done = tool(["mount", "-t", TYPES, "-o", OPTIONS, vr.at(drive), place], limit=30)
            if done.returncode == 0:
                return
            why = done.stderr
        if time.monotonic() > end:
            raise vr.CommandError(f"cks_iso.sh: no ISO after {PATIENCE:.0f} s: {vr.one_line(why)}")
        time.sleep(0.5)


def _unmount() -> None:
    """Unmount; who still reads keeps what is open."""
    place = vr.at(MOUNT)
    while os.path.ismount(place):
        if tool(["umount", place], limit=10).returncode != 0:
            done = tool(["umount", "--lazy", place], limit=10)
            if done.returncode != 0:
                raise vr.CommandError(f"cks_iso.sh: {done.stderr}")


def _configure(text: str | None) -> bool:
    """Put the locations in place, or take them away; tell whether that changed anything."""
    path = vr.at(CONFIG)
    try:
        with open(path, encoding="utf-8") as file:
            there: str | None = file.read()
    except FileNotFoundError:
        there = None
    if there == text:
        return False
    if text is None:
        os.unlink(path)
        return True
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
    return True


def _reload() -> None:
    """Have the web server read its configuration if it runs; no connection is lost."""
    if tool(["systemctl", "--quiet", "is-active", "nginx.service"]).returncode == 0:
        done = tool(["systemctl", "reload", "nginx.service"])
        if done.returncode != 0:
            raise vr.CommandError(f"cks_iso.sh: nginx does not take it: {done.stderr}")
