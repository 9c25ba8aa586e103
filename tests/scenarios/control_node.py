# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A control node: this checkout's playbook on the management host, over ssh, in processes that end with it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.lab.access import private_key, public_key
from tests.lab.probes import ROOT
from tests.lab.router import Router

CONTROL = "169.254.7.7"
"""The address of the fixtures' router on the control network."""


def key_argument(lab: str) -> str:
    """Return the boot argument that lets the lab's key in by the router's own sshd."""
    return f" authorized_key={base64.b64encode(public_key(lab)).decode()}"


def collections(directory: Path) -> Path:
    """Make a directory in which this checkout is found as a collection, and return it."""
    (directory / "ansible_collections/cloudstack").mkdir(parents=True)
    (directory / "ansible_collections/cloudstack/virtual_router").symlink_to(ROOT)
    return directory


def start(router: Router, directory: Path, *words: str) -> subprocess.Popen[str]:
    """Start the converge of a router on the management host, with the key of the boot arguments.

    It is alone in a namespace of processes: when it is killed nothing of it is left, be it an ssh that stays connected.
    """
    inventory = directory / "inventory.json"
    common = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    variables = {
        "ansible_host": CONTROL,
        "ansible_port": 3922,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(private_key(router.lab.name)),
        "ansible_ssh_common_args": common,
        "ansible_python_interpreter": "/opt/cloudstack/venv/bin/python",
    }
    inventory.write_text(json.dumps({"routers": {"hosts": {router.name: variables}}}), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(directory),
    }
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    play = [str(Path(sys.executable).parent / "ansible-playbook"), "cloudstack.virtual_router.converge"]
    return subprocess.Popen(
        ["ip", "netns", "exec", router.lab.hosts["management"].namespace, *alone, *play, "-i", str(inventory), *words],
        env=environment,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def play(router: Router, directory: Path, *words: str, limit: float = 180) -> subprocess.CompletedProcess[str]:
    """Run the converge to its end; `stdout` has all that it said."""
    with start(router, directory, *words) as process:
        try:
            said, _nothing = process.communicate(timeout=limit)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, said, "")
