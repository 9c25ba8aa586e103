# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-firewall on a machine that runs already: one that is provisioned, and a router at work."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables

from .test_vr_firewall import RULESET, SAVED, WHOLE

if TYPE_CHECKING:
    from .conftest import Router


@pytest.mark.parametrize("sign", ["", "/var/cache/cloud/cmdline"])
def test_a_packet_filter_that_a_converge_has_loaded_is_left_alone(
    router: Router, namespaces: list[str], sign: str
) -> None:
    """The unit failed at boot and is started again later, by an upgrade or with boot arguments."""
    router.put(SAVED, WHOLE[:-1])
    if sign:
        router.put(sign)
    loaded = router.put("/loaded.nft", RULESET)
    restore, live = router.path("/opt/cloudstack/libexec/vr-firewall"), router.path("/live.nft")
    script = f"nft -f {loaded} && {restore} && nft list ruleset >{live}"
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the packet filter is loaded already\n", "")
    tables.must_hold(live.read_text(), RULESET, "cloudstack")
    assert not router.path("/run/cloudstack/closed").exists()


CLIENT = """
import socket, sys
def ask(what, action):
    try:
        print(what, action(), flush=True)
    except OSError as error:
        print(what, type(error).__name__, flush=True)
old = socket.create_connection(("10.1.0.1", 22), 1)
print("connected", flush=True)
sys.stdin.readline()
old.settimeout(1)
old.send(b"x")
ask("old", lambda: old.recv(1))
for port in (22, 3922):
    ask(port, lambda: socket.create_connection(("10.1.0.1", port), 0.5) and "open")
"""
# Has a client connect, closes the router, and lets the client go on.
SERVER = """
import contextlib, socket, subprocess, sys
servers = [socket.create_server(("10.1.0.1", port)) for port in (22, 3922)]
program = ["ip", "netns", "exec", "outside", sys.executable, sys.argv[1]]
client = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
served = servers[0].accept()[0]
served.settimeout(1)
assert client.stdout.readline() == "connected\\n"
subprocess.run([sys.argv[2]], check=True, stdout=subprocess.DEVNULL)
client.stdin.write("go\\n")
client.stdin.close()
with contextlib.suppress(TimeoutError):
    served.send(served.recv(1))
print(client.stdout.read(), end="")
"""


@pytest.mark.parametrize(
    ("provisioned", "heard"),
    [
        (True, ["old b'x'", "22 TimeoutError", "3922 open"]),
        (False, ["old TimeoutError", "22 TimeoutError", "3922 TimeoutError"]),
    ],
)
def test_whoever_is_connected_when_a_machine_is_provisioned_stays_so(
    router: Router, namespaces: list[str], provisioned: bool, heard: list[str]
) -> None:
    """The kernel has not tracked the connection before, and the client is the first to say something."""
    if provisioned:
        router.put("/run/cloudstack/provisioned")
    server, client = router.put("/server.py", SERVER), router.put("/client.py", CLIENT)
    lines = (
        "set -e; mount -t tmpfs none /run; ip link set lo up; ip netns add outside",
        "ip link add eth1 type veth peer name eth0 netns outside",
        "ip address add 10.1.0.1/24 dev eth1; ip link set eth1 up",
        "ip -n outside address add 10.1.0.2/24 dev eth0; ip -n outside link set eth0 up",
        f"{sys.executable} {server} {client} {router.path('/opt/cloudstack/libexec/vr-firewall')}",
    )
    done = subprocess.run([*namespaces, "sh", "-c", "\n".join(lines)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == heard
