# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep a password for a VM until it asks for it: savepassword.sh -v ADDRESS -p PASSWORD.

Hyper-V's agent calls this where the others send a drop (contract.md). It is made into the same drop, once (A18).
"""

from __future__ import annotations

import json
import os

from vrlib import command as vr
from vrlib import converge
from vrlib.queue import turn

USAGE = "usage: savepassword.sh -v ADDRESS -p PASSWORD"


def main(args: list[str]) -> None:
    """Send the password through a converge; what is wrong with it is for the drop's schema to say."""
    found = dict(zip(args[::2], args[1::2], strict=False))
    if len(args) != 4 or set(found) != {"-v", "-p"}:
        raise vr.CommandError(USAGE)
    drop = {"type": "vmpassword", "ip_address": found["-v"], "password": found["-p"]}
    name = f"vm_password.json.{os.urandom(8).hex()}"
    with turn(vr.LIMIT) as left:
        vr.write_atomically(vr.at(f"{vr.INBOX}/{name}"), json.dumps(drop).encode())
        converge.converge(converge.Request(name, keep=False), left)
