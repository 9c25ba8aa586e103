# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that the router can write where it keeps its state: filesystem_writable_check.py.

The management server turns any output that holds ``Read-only file system`` into exactly that (contract.md), and this is
also the system's own text for the error, so what the system says is printed. A full disk is told by its own text.
"""

from __future__ import annotations

import os
import sys

from vrlib import command as vr

FOLDERS = (vr.DATABAGS, vr.INBOX, "/var/lib/cloudstack", "/var/log/cloudstack", "/root")


def main(_args: list[str]) -> None:
    """Write, flush and delete a byte in every directory; the first that refuses is the failure."""
    for folder in FOLDERS:
        try:
            _try(vr.at(folder))
        except OSError as error:
            # On standard output, as every result of a check; KVM merges both anyway.
            print(f"{error.strerror}: {folder}")
            sys.exit(1)
    print("file system is writable")


def _try(folder: str) -> None:
    probe = os.path.join(folder, f".writable.{os.getpid()}")
    file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, b"\n")
        os.fsync(file)
    finally:
        os.close(file)
        os.unlink(probe)
