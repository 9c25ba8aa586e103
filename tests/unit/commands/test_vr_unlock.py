# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-unlock: end a converge that is stuck or lost."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths

from .conftest import Router

OWNER = """
import sys, time
from pathlib import Path
sys.path.append(sys.argv[1])
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Paths, Store
Store(Paths(Path(sys.argv[2]))).begin("playbook")
print("begun", flush=True)
time.sleep(60)
"""


def owner(router: Router) -> subprocess.Popen[bytes]:
    """Start a process that holds the router, and wait until it does."""
    words = [sys.executable, "-c", OWNER, str(router.path("/usr/share/ansible/collections")), str(router.root)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def test_it_ends_the_converge_and_makes_the_router_whole(router: Router) -> None:
    with owner(router) as process:
        done = router.run("vr-unlock")
        assert process.wait(10) == -signal.SIGKILL
    said = [f"ended: playbook (process {process.pid})", "converge: firewall (0.50 s)"]
    assert (done.returncode, done.stdout.splitlines()) == (0, said)
    assert not Paths(router.root).lock.exists()
    assert [call["values"]["vr_drops"] for call in router.calls()] == [[]]


def test_without_a_converge_it_says_so(router: Router) -> None:
    done = router.run("vr-unlock")
    assert done.stdout.splitlines() == ["no converge holds this router", "converge: firewall (0.50 s)"]


def test_its_drop_waits_for_whoever_asks_for_it(router: Router) -> None:
    drop: Path = router.drop("a.json")
    with owner(router):
        assert router.run("vr-unlock").returncode == 0
    assert drop.exists()


def test_a_command_that_tries_again_and_is_stuck_again_is_ended_again(router: Router) -> None:
    unlock = router.library("unlock")
    unlock.write_text(unlock.read_text().replace("PATIENCE = 30.0", "PATIENCE = 0.2"))
    lock = router.path("/run/cloudstack/queue.lock")
    lock.parent.mkdir(parents=True)
    with owner(router) as process, lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        running = router.start("vr-unlock")
        assert running.stdout is not None
        said = [running.stdout.readline().rstrip("\n") for _line in range(2)]
        fcntl.flock(held, fcntl.LOCK_UN)
        said += running.stdout.read().splitlines()
        running.communicate(timeout=60)
    assert said[0] == f"ended: playbook (process {process.pid})"
    assert set(said[1:-1]) == {"no converge holds this router"}
    assert said[-1] == "converge: firewall (0.50 s)"


def test_arguments_are_refused(router: Router) -> None:
    assert router.fails("vr-unlock", "now") == "usage: vr-unlock"
