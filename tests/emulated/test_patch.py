# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the management server does to a router beyond drops: three files at a start, and a live patch.

The patch script and the archive are stand-ins, written from what is known of the real ones: the archive is unpacked
over `/`, its digest is written, the router's `patch.sh` is sourced, and services said to be enabled are restarted.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.emulated.machine import Machine
from tests.emulated.restored import Restored
from tests.emulated.ssh import Ssh
from tests.lab.access import public_key
from tests.lab.lab import Lab
from tests.lab.probes import ask, tcp
from tests.lab.process import wait_for
from tests.scenarios import networks, states
from tests.scenarios.networks import FIXTURES, INTERNET, Isolated

INBOX = "/var/cache/cloud"
PATCH = r"""#!/bin/bash
# A stand-in for the management server's patch-sysvms.sh.
patchfailed=0
cd /var/cache/cloud || exit 1
tar -czf /var/cache/cloud/backup.tgz --exclude=/var/cache --exclude=/var/lib/systemd /etc /var /opt /root 2>/dev/null
tar -xzf cloud-scripts.tgz -C / 2>/dev/null
sha512sum cloud-scripts.tgz | cut -d ' ' -f 1 > cloud-scripts-signature
. /opt/cloud/bin/setup/patch.sh
patch_system_vm || patchfailed=1
if [ "$patchfailed" = 0 ]; then
  for service in $(cat enabled_svcs 2>/dev/null); do
    systemctl is-active --quiet "$service" && systemctl restart "$service"
  done
  echo "version:$(cat cloud-scripts-signature)"
fi
exit "$patchfailed"
"""
FOREIGN = {
    "opt/cloud/bin/update_config.py": b"#!/bin/sh\necho replaced\n",
    "opt/cloud/bin/setup/patch.sh": b"patch_system_vm() { touch /var/replaced; }\n",
    "opt/cloud/bin/new_command.sh": b"#!/bin/sh\n",
    "etc/ssh/sshd_config": b"Port 22\nPasswordAuthentication yes\n",
    "etc/sysctl.conf": b"net.ipv4.ip_forward=0\n",
    "etc/dnsmasq.conf": b"no-such-option\n",
    "etc/systemd/system/cloud-postinit.service": b"[Service]\nExecStart=/bin/false\n",
}


@dataclass(frozen=True)
class Started:
    """A router that the management server has started, and the way into it."""

    network: Isolated
    ssh: Ssh


@functools.cache
def archive(mark: str) -> bytes:
    """Return an archive of scripts that would replace what is ours, another one for each mark.

    It is made once: the header of gzip has the time.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        # A tree's tar has its directories, too: where a link lies in the way, tar replaces it.
        for name in ("opt/cloud", "opt/cloud/bin", "opt/cloud/bin/setup"):
            directory = tarfile.TarInfo(f"./{name}")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            packed.addfile(directory)
        for name, content in {**FOREIGN, "opt/cloud/mark": mark.encode()}.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(content), 0o755
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()


def bring(ssh: Ssh, content: bytes) -> None:
    """Copy the three files, as a host does at every start and before a live patch."""
    ssh.copy(b"PK", f"{INBOX}/agent.zip")
    ssh.copy(content, f"{INBOX}/cloud-scripts.tgz")
    ssh.copy(PATCH.encode(), f"{INBOX}/patch-sysvms.sh")


def version(ssh: Ssh) -> str:
    return ssh.run("/opt/cloud/bin/get_template_version.sh").stdout.strip()


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    with Lab("emulated-patch", kind=Restored) as lab:
        key = base64.b64encode(public_key(lab.name)).decode()
        network = networks.fixture_network(lab, f" authorized_key={key}")
        network.router.wait_boot()
        ssh = Ssh(network.management, "169.254.7.7")
        bring(ssh, archive("first"))
        directory = FIXTURES / "isolated"
        states.apply_together(network.router, "VR-all.cfg", directory, states.ordered(directory))
        yield Started(network, ssh)


def enters(started: Started) -> bool:
    return ask(started.network.internet[INTERNET], tcp("192.0.2.20", 2222)).server == "web"


def test_a_start_brings_an_archive_whose_digest_is_answered(started: Started) -> None:
    wanted = f"&{digest(archive('first'))}"
    wait_for(lambda: version(started.ssh).endswith(wanted), 120, "the digest of the archive")
    assert started.ssh.run("ls /opt/cloud/mark", check=False).returncode != 0, "it was unpacked"


def test_a_live_patch_replaces_nothing_and_says_so(started: Started) -> None:
    machine = started.network.router
    assert isinstance(machine, Machine)
    before = machine.shell(
        "sha256sum /opt/cloud/bin/*.* /etc/ssh/sshd_config /etc/dnsmasq.conf 2>/dev/null", check=False
    )
    ruleset, sshd = machine.facts.ruleset(), machine.facts.unit("ssh.service")["MainPID"]
    bring(started.ssh, archive("second"))
    # The unit that watches the archive has seen it: from now on the digest has to be put back.
    wait_for(lambda: version(started.ssh).endswith(f"&{digest(archive('second'))}"), 120, "the digest of the archive")
    patched = started.ssh.run(f"bash {INBOX}/patch-sysvms.sh", check=False)
    assert patched.returncode == 1
    assert patched.stdout.count(":") == 0
    assert "refused" in patched.stdout
    after = machine.shell(
        "sha256sum /opt/cloud/bin/*.* /etc/ssh/sshd_config /etc/dnsmasq.conf 2>/dev/null", check=False
    )
    assert after.stdout == before.stdout
    for name in ("/var/replaced", "/opt/cloud/bin/new_command.sh", "/etc/systemd/system/cloud-postinit.service"):
        assert not machine.exists(name), name
    assert "ip_forward=0" not in machine.exec("cat", "/etc/sysctl.conf", check=False).stdout
    assert version(started.ssh).endswith(f"&{digest(archive('first'))}")
    assert (machine.facts.ruleset(), machine.facts.unit("ssh.service")["MainPID"]) == (ruleset, sshd)


def test_drops_go_on_after_it(started: Started) -> None:
    assert enters(started)
    answer = started.network.router.command(states.CONVERGE)
    assert answer.returncode == 0
    assert enters(started)
