# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start processes: Ansible where there is no resident parent, and programs of the system."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence

from vrlib import command as vr

Ends = Callable[["subprocess.Popen[bytes]", float], bool]
"""Tells whether a process ends within seconds."""


def _environment() -> dict[str, str]:
    config = vr.at("/etc/ansible/ansible.cfg")
    return {"PATH": vr.PATH, "HOME": vr.at("/root"), "LANG": "C.UTF-8", "ANSIBLE_CONFIG": config}


def tool(argv: Sequence[str], limit: float = 60.0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the system and return its output; its exit status is for the caller to judge."""
    try:
        return subprocess.run(
            argv,
            env=_environment(),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise vr.CommandError(f"{argv[0]}: did not end within {limit:.0f} s") from None


def play(options: Sequence[str], variables: str, limit: float, output: int) -> tuple[int, str | None]:
    """Start Ansible and run the playbook; return its exit status, and why it was ended if it was."""
    # Before the process is there: whatever is wrong with an import leaves none behind.
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import ends

    argv = [vr.at("/opt/cloudstack/venv/bin/ansible-playbook"), vr.at(vr.PLAYBOOK), "-i", "localhost,", "-c", "local"]
    argv += [*options, "-e", variables]
    process = subprocess.Popen(
        argv,
        env=_environment(),
        cwd=vr.at("/"),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    with process:
        ended = _wait(process, limit, ends)
    return process.returncode, ended


def _wait(process: subprocess.Popen[bytes], limit: float, ends: Ends) -> str | None:
    """Wait for the playbook; end it with all its children when its time is over or the operator has had enough."""
    try:
        if ends(process, max(limit, 1.0)):
            process.wait()
            return None
        why = f"was ended after {limit:.0f} s"
    except KeyboardInterrupt:
        why = "was interrupted"
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return why
