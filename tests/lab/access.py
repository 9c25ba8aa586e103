# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A way into a router over ssh that needs no network of it, for Ansible's and testinfra's connections.

ssh's ProxyCommand enters the container and runs its sshd on standard input and output, with the lab's own key. So a
router can be looked into whatever its NICs, its firewall and its sshd_config have become. A test of the router's own
sshd connects from the ``management`` host instead.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.lab.podman import SPACE, STATE
from tests.lab.process import run

ROOT = Path(__file__).resolve().parents[2]
AUTHORIZED_KEYS = "/var/lib/lab/authorized_keys"  # on the router
SSHD = (
    *("/usr/sbin/sshd", "-i", "-q", "-f", "/dev/null"),
    *("-o", f"AuthorizedKeysFile={AUTHORIZED_KEYS}", "-o", "PermitRootLogin=prohibit-password"),
    *("-o", "Subsystem=sftp internal-sftp", "-o", "UseDNS=no"),
)


def private_key(lab: str) -> Path:
    """Return the lab's private key, made when first asked for."""
    path = STATE / f"lab{SPACE}.{lab}.key"
    if not path.exists():
        STATE.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab.{lab}", "-f", path)
    return path


def public_key(lab: str) -> bytes:
    """Return the line for authorized_keys."""
    return private_key(lab).with_suffix(".key.pub").read_bytes()


def forget_keys(lab: str) -> None:
    """Remove the lab's key pair."""
    for suffix in (".key", ".key.pub"):
        (STATE / f"lab{SPACE}.{lab}{suffix}").unlink(missing_ok=True)


def host_variables(lab: str, router: str) -> dict[str, str]:
    """Return the inventory variables with which Ansible (and testinfra) reach a router."""
    proxy = f"env PYTHONPATH={shlex.quote(str(ROOT))} python3 -m tests.lab sshd --name {lab} {router}"
    common = (
        f'-F /dev/null -o "ProxyCommand={proxy}" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'
        " -o LogLevel=ERROR"
    )
    return {
        "ansible_connection": "ssh",
        "ansible_host": f"{router}.{lab}.lab",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(private_key(lab)),
        "ansible_ssh_common_args": common,
        "ansible_python_interpreter": "/opt/cloudstack/venv/bin/python",
    }
