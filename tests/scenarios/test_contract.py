# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the management server and its agents run on a router, and what they read of the answers (contract.md)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.access import private_key, public_key
from tests.lab.lab import Lab
from tests.lab.probes import ask, dhcp, tcp
from tests.lab.router import CACHE
from tests.scenarios import drops, networks, states
from tests.scenarios.networks import FIXTURE_SUBNETS, FIXTURE_VMS, FIXTURES, INTERNET, Isolated

DIRECTORY = FIXTURES / "isolated"
SCRIPTS = b"\x1f\x8bnot the scripts of the original, and never unpacked"
AGENT_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAgentsKeyAgentsKeyAgentsKeyAgentsKeyAgentsK agent"
CONTROL = "169.254.7.7"


@pytest.fixture(scope="module")
def network() -> Iterator[Isolated]:
    """Return the isolated network of the fixtures; its router booted from what a hypervisor's agent leaves."""
    with Lab("contract") as lab:
        key = base64.b64encode(public_key(lab.name)).decode()
        cmdline = (DIRECTORY / "cmdline.txt").read_text(encoding="utf-8") + f" authorized_key={key}"
        guest = ("10.7.0.1", lab.mac("r1.guest"))
        made = networks.isolated(lab, cmdline, FIXTURE_SUBNETS, FIXTURE_VMS, guest)
        made.router.wait_boot()
        states.apply_together(made.router, "VR-all.cfg", DIRECTORY, states.ordered(DIRECTORY))
        yield made


def ssh(network: Isolated, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the router as the agent does: over the control network, port 3922, with the key given."""
    common = ("-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    quiet = ("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
    key = () if options else ("-i", str(private_key(network.lab.name)))
    return network.management.run(
        "ssh", *common, *quiet, *key, *options, "-p", "3922", f"root@{CONTROL}", command, check=False
    )


def test_boot_takes_what_the_agent_leaves(network: Isolated) -> None:
    """The tarball is signed and not unpacked, the agent's key works beside that of the boot arguments."""
    router = network.router
    before = states.contents(router, "/opt/cloud", "/usr/share/ansible")
    router.put(f"{CACHE}/cloud-scripts.tgz", SCRIPTS)
    router.put(f"{CACHE}/authorized_keys", f"{AGENT_KEY}\n", 0o600)
    router.reboot()
    version = router.command("get_template_version.sh").stdout
    assert version.count("&") == 1
    release, checksum = version.split("&")
    assert release.split()[2] == "4.23.0"
    assert checksum == hashlib.sha512(SCRIPTS).hexdigest() + "\n"
    keys = router.read("/root/.ssh/authorized_keys").splitlines()
    assert AGENT_KEY in keys
    assert public_key(network.lab.name).decode().strip() in keys
    assert states.contents(router, "/opt/cloud", "/usr/share/ansible") == before
    assert router.exec("hostname").stdout == "r-7-VM\n"


def test_sshd_lets_in_the_key_given_and_nothing_else(network: Isolated) -> None:
    done = ssh(network, "/opt/cloud/bin/get_template_version.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout == network.router.command("get_template_version.sh").stdout
    assert "Permission denied (publickey)" in ssh(network, "id", "-o", "PubkeyAuthentication=no").stderr
    assert ("tcp", CONTROL, 3922) in network.router.facts.listeners()
    for address in ("10.7.0.1", "192.0.2.20"):
        assert not ask(network.vms["web"], tcp(address, 3922))


def test_a_drop_is_taken_once(network: Isolated) -> None:
    router, body = network.router, drops.vm("once", "02:07:00:00:00:70", "10.7.0.70")
    assert "dhcp_dns" in router.drop("vm_dhcp_entry.json.once", body).stdout
    databags = states.databags(router)
    assert router.exists(f"{CACHE}/processed/vm_dhcp_entry.json.once.gz")
    again = router.command("update_config.py vm_dhcp_entry.json.once")
    assert again.stdout == "vm_dhcp_entry.json.once: already processed\n"
    assert states.databags(router) == databags
    not_kept = router.drop("vm_dhcp_entry.json.gone", {**body, "remove": True}, keep=False)
    assert not_kept.returncode == 0
    assert not router.exists(f"{CACHE}/processed/vm_dhcp_entry.json.gone.gz")
    assert not router.exists(f"{CACHE}/vm_dhcp_entry.json.gone")
    unknown = router.command("update_config.py vm_dhcp_entry.json.unknown", check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"vm_dhcp_entry.json.unknown: no such file in {CACHE}\n"


def test_the_name_of_a_drop_means_nothing(network: Isolated) -> None:
    """A2: what counts is its type."""
    body = drops.vm("named", "02:07:00:00:00:71", "10.7.0.71")
    network.router.drop("load_balancer.json", body)
    assert "10.7.0.71" in network.router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")
    network.router.drop("x", {**body, "remove": True})
    assert "10.7.0.71" not in network.router.read("/etc/dnsmasq.cloudstack/dhcp-hosts")


def test_an_aggregate_is_one_converge_and_its_bytes_are_as_sent(network: Isolated) -> None:
    """Runs of blanks and words that a shell would expand arrive whole; other commands run after the drops."""
    router, text = network.router, "Small   *  [a-z]  ?   $HOME `id` \\n end"
    metadata = {
        "vm_ip_address": "10.7.0.11",
        "vm_metadata": [["metadata", "service-offering", text]],
        "type": "vmdata",
        "delete_from_processed_cache": False,
    }
    router.put("/tmp/left.zip", "x")
    bodies = [("m.json", json.dumps(metadata).encode()), ("v.json", json.dumps(drops.alias("10.7.77.1", 2)).encode())]
    router.put(f"{CACHE}/VR-bytes.cfg", states.aggregate(bodies, ["/opt/cloud/bin/cleanup.sh /tmp/left.zip"]))
    done = router.command(f"vr_cfg.sh -c {CACHE}/VR-bytes.cfg")
    assert done.stdout.count("\n") == 1
    assert not router.exists("/tmp/left.zip")
    assert "10.7.77.1/24" in router.facts.addresses("eth0")
    url = "http://10.7.0.1/latest/meta-data/service-offering"
    assert network.vms["web"].run("curl", "--silent", "--fail", url).stdout.strip() == text
    again = router.command(f"vr_cfg.sh -c {CACHE}/VR-bytes.cfg")
    assert again.stdout == "VR-bytes.cfg: already processed\n"
    states.change(router, drops.alias("10.7.77.1", 2, revoke=True))


WRONG_AGGREGATES = {
    "a command fails": (states.aggregate([], ["/opt/cloud/bin/cleanup.sh /etc/passwd"]), "step 1: cleanup.sh"),
    "a command that is none": (states.aggregate([], ["/opt/cloud/bin/rm -rf /"]), "step 1: rm"),
    "a command from elsewhere": (
        states.aggregate([], ["/bin/touch /tmp/owned"]),
        'step 1: expected a command in /opt/cloud/bin, got "/bin/touch"',
    ),
    "a drop is wrong": (states.aggregate([("x.json", b'{"type": "coffee"}')]), "x.json"),
    "not an aggregate": (b"#!/bin/sh\ntouch /tmp/owned\n", "VR-4.cfg"),
    "cut off": (states.aggregate([("x.json", json.dumps(drops.alias("10.7.78.1", 3)).encode())])[:-30], "VR-5.cfg"),
}


@pytest.mark.parametrize("wrong", WRONG_AGGREGATES)
def test_an_aggregate_that_fails_names_the_step(network: Isolated, wrong: str) -> None:
    """The original goes on and reports success (contract.md)."""
    content, words = WRONG_AGGREGATES[wrong]
    router, before = network.router, states.databags(network.router)
    name = f"VR-{list(WRONG_AGGREGATES).index(wrong)}.cfg"
    router.put(f"{CACHE}/{name}", content)
    done = router.command(f"vr_cfg.sh -c {CACHE}/{name}", check=False)
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done
    assert words in done.stderr
    assert not router.exists("/tmp/owned")
    assert states.databags(router) == before
    assert router.exists("/etc/passwd")


def test_configure_reports_and_repairs(network: Isolated) -> None:
    network.router.exec("nft", "flush", "ruleset")
    assert "firewall" in network.router.command("configure.py monitor_service.json").stdout
    assert ask(network.internet[INTERNET], tcp("192.0.2.20", 2222)).server == "web"


def test_netusage_counts(network: Isolated) -> None:
    """One line of numbers, each followed by a colon, sent and received in turn."""
    router = network.router
    assert router.command("netusage.sh -c").returncode == 0
    router.command("netusage.sh -r")
    assert ask(network.vms["web"], tcp(INTERNET, 22))
    line = router.command("netusage.sh -g").stdout
    assert re.fullmatch(r"(\d+:\d+:)+\n", line), line
    assert sum(map(int, line.strip(":\n").split(":"))) > 200
    for words in ("-a eth2", "-d eth2"):
        assert router.command(f"netusage.sh {words}").returncode == 0
    assert router.command("netusage.sh -x", check=False).returncode != 0


def test_filesystem_writable_check(network: Isolated) -> None:
    router = network.router
    assert router.command("filesystem_writable_check.py").returncode == 0
    log = "/var/log/cloudstack"
    router.shell(f"mount --bind {log} {log} && mount -o remount,ro,bind {log}")
    done = router.command("filesystem_writable_check.py", check=False)
    router.exec("umount", log)
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout + done.stderr


def test_update_interface_config_changes_link_and_offer(network: Isolated) -> None:
    """L5: the link, the databag and DHCP option 26 agree, and a converge does not undo it."""
    router = network.router
    done = router.command("update_interface_config.sh 10.7.0.1 24 1400 15")
    assert done.stdout == "eth0\n"
    assert router.facts.links()["eth0"]["mtu"] == 1400
    assert dhcp(network.vms["web"], mac="02:07:00:00:00:0b")[0]["mtu"] == 1400
    assert states.repaired(router) == []
    assert router.facts.links()["eth0"]["mtu"] == 1400
    router.command("update_interface_config.sh 10.7.0.1 24 1450 15")
    router.command("update_interface_config.sh 192.0.2.22 24 1400 15")
    assert router.facts.links()["eth2"]["mtu"] == 1400, "which is not its first address"
    router.command("update_interface_config.sh 192.0.2.20 24 1500 15")
    absent = router.command("update_interface_config.sh 192.0.2.250 24 1400 2", check=False)
    assert (absent.returncode, absent.stdout) == (1, "Interface with IP 192.0.2.250 not found\n")


CLEANED = [
    ("/tmp/x.zip", True),
    ("/root/x.zip", True),
    ("/etc/cloudstack/ips.json", False),
    ("/tmp/../etc/hosts", False),
]


@pytest.mark.parametrize(("path", "allowed"), CLEANED)
def test_cleanup_deletes_what_diagnostics_leave_and_nothing_else(network: Isolated, path: str, allowed: bool) -> None:
    router = network.router
    if allowed:
        router.put(path, "x")
    done = router.command(f"cleanup.sh {path}", check=False)
    assert (done.returncode == 0) is allowed
    assert router.exists(path) is not allowed


def test_passwords_keys_and_databags_are_in_no_log_and_closed_to_others(network: Isolated) -> None:
    """M2: secrets are on no output; what holds them is root's alone."""
    router = network.router
    password = {"ip_address": "10.7.0.11", "password": "Sesame-7", "type": "vmpassword"}
    said = router.drop("vm_password.json.secret", {**password, "delete_from_processed_cache": False}, keep=False)
    assert "Sesame-7" not in said.stdout + said.stderr
    found = router.exec("grep", "--recursive", "--files-with-matches", "Sesame-7", "/var/log", check=False).stdout
    assert found == ""
    assert "Sesame-7" not in router.facts.journal()
    modes = router.exec("find", states.DATABAGS, "-perm", "/077").stdout
    assert modes == ""
