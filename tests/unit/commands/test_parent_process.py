# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-converged itself, with a stand-in for what it plays: whom it serves, and with whom its converges end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = Path(__file__).resolve().parents[3] / "libexec/vr-converged"

# The listener is its descriptor 3, as systemd gives it. What is played writes its PID, and ends when it may.
MAIN = r"""
import os, sys, time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
root = Path(sys.argv[2])
parent = sys.modules["parent"] = ModuleType("parent")
parent.__file__ = sys.argv[1]
SourceFileLoader("parent", sys.argv[1]).exec_module(parent)
def play(variables, options):
    print("played", flush=True)
    (root / "pid").write_text(str(os.getpid()))
    while variables.get("wait") and not (root / "may-end").exists():
        time.sleep(0.02)
    (root / "ended").touch()
    return 0
parent.play, parent.preload, parent.PATIENCE = play, lambda: (root / "ready").touch(), 3.0
parent.COLLECTION, parent.CONFIGURATION = root / "collection", root / "ansible.cfg"
parent.main()
"""


class Parent:
    """A resident parent, its socket, and the files of the collection that it has loaded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugin = root / "collection/plugins/one.py"
        self.plugin.parent.mkdir(parents=True)
        for file in (self.plugin, root / "ansible.cfg"):
            file.write_text("as it was")
        self.path = str(root / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.path)
            listener.listen(4096)
            self.process = self._start(listener.fileno())
        wait_for((root / "ready").exists)

    def _start(self, listener: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", MAIN, str(COMMAND), str(self.root)]
        # Its descriptor 3, whatever number it has here.
        script = f'exec "$@" 3<&{listener}'
        return subprocess.Popen(["bash", "-c", script, "bash", *words], pass_fds=[listener])

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(5)
        client.connect(self.path)
        return client

    def ask(self, client: socket.socket, **variables: object) -> bool:
        """Send a request; tell whether the parent is ready to begin."""
        message = {"variables": variables, "options": [], "limit": 30}
        with (self.root / "output").open("wb") as output:
            socket.send_fds(client, [json.dumps(message).encode()], [output.fileno()])
        return client.recv(100) == b'{"ready": true}'

    def converge(self) -> object:
        """Ask, say go, and return what is answered."""
        with self.connect() as client:
            assert self.ask(client)
            client.send(b"go")
            return json.loads(client.recv(100))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def child(self) -> int:
        """Wait for a converge to have begun, and return its process."""
        wait_for(lambda: (self.root / "pid").exists() and (self.root / "pid").read_text() != "")
        return int((self.root / "pid").read_text())


def wait_for(true: Callable[[], bool], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    made = Parent(tmp_path_factory.mktemp("p"))
    yield made
    made.process.kill()
    made.process.wait()


def test_a_client_that_says_go_is_served(parent: Parent) -> None:
    assert [parent.converge() for _time in range(3)] == [{"status": 0}] * 3
    assert (parent.root / "output").read_text() == "played\n"


def test_silent_clients_keep_nobody_waiting(parent: Parent) -> None:
    """Neither those that connect and say nothing, nor those that ask and do not say go."""
    silent = [parent.connect() for _client in range(40)]
    for client in silent[::2]:
        assert parent.ask(client)
    started = time.monotonic()
    assert parent.converge() == {"status": 0}
    assert time.monotonic() - started < 2, "it was served before the patience with the others was over"
    for client in silent:
        client.close()


def test_a_thousand_silent_clients_leave_nothing_behind(parent: Parent) -> None:
    """Some stay, some go, half of them after a request with a descriptor; the limit of most systems is 1,024."""
    before = parent.descriptors()
    kept = []
    for number in range(1000):
        client = parent.connect()
        if number % 2:
            message = {"variables": {}, "options": [], "limit": 30}
            with (parent.root / "output").open("wb") as output:
                socket.send_fds(client, [json.dumps(message).encode()], [output.fileno()])
        if number % 3:
            client.close()
        else:
            kept.append(client)
    assert parent.converge() == {"status": 0}
    assert parent.descriptors() <= before + 2 * 64
    wait_for(lambda: parent.descriptors() == before)
    for client in kept:
        client.close()


BECOME = b'{"variables": {}, "options": ["--become"], "limit": 1}'


@pytest.mark.parametrize("word", [b"{", b"[]", b"{}", BECOME, b"stop"])
def test_whoever_says_anything_else_is_sent_away(parent: Parent, word: bytes) -> None:
    before = parent.descriptors()
    with parent.connect() as client, (parent.root / "output").open("wb") as output:
        if word == b"stop":
            assert parent.ask(client)
            client.send(word)
        else:
            socket.send_fds(client, [word], [output.fileno()])
        assert client.recv(100) == b""
    assert parent.converge() == {"status": 0}
    wait_for(lambda: parent.descriptors() == before)


def test_a_client_that_is_late_to_say_go_has_nothing_begun(parent: Parent) -> None:
    with parent.connect() as client:
        assert parent.ask(client)
        time.sleep(3.3)
        assert client.recv(100) == b""
    assert not (parent.root / "pid").exists()


def replaced(parent: Parent) -> None:
    """As rsync -a, dpkg and install -p do: of the same length, with an older time of change of the content."""
    new = parent.plugin.with_suffix(".new")
    new.write_text("as it is!")
    os.utime(new, (1_000_000_000, 1_000_000_000))
    new.rename(parent.plugin)


def overwritten(parent: Parent) -> None:
    status = parent.plugin.stat()
    parent.plugin.write_text("as it is!")
    os.utime(parent.plugin, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        replaced,
        overwritten,
        lambda parent: parent.plugin.unlink(),
        lambda parent: parent.plugin.with_name("two.py").touch(),
        lambda parent: (parent.root / "ansible.cfg").write_text("[defaults]"),
    ],
)
def test_what_is_installed_and_not_loaded_is_never_asked_of_it(
    parent: Parent, change: Callable[[Parent], object]
) -> None:
    assert parent.converge() == {"status": 0}
    change(parent)
    with parent.connect() as client:
        assert not parent.ask(client)
    assert parent.process.wait(30) == 0


def test_a_converge_ends_with_a_parent_that_is_killed(parent: Parent) -> None:
    """The client takes the drop itself then: nobody else may go on with it."""
    with parent.connect() as client:
        assert parent.ask(client, wait=True)
        client.send(b"go")
        child = parent.child()
        parent.process.kill()
        parent.process.wait()
        wait_for(lambda: not Path(f"/proc/{child}").exists() or is_zombie(child), 5)
    assert not (parent.root / "ended").exists()


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_parent_that_is_stopped_waits_for_the_converge_and_tells_its_end(parent: Parent) -> None:
    with parent.connect() as client:
        assert parent.ask(client, wait=True)
        client.send(b"go")
        child = parent.child()
        parent.process.terminate()
        time.sleep(0.3)
        assert parent.process.poll() is None
        assert Path(f"/proc/{child}").exists()
        (parent.root / "may-end").touch()
        assert json.loads(client.recv(100)) == {"status": 0}
    assert parent.process.wait(30) == 0
    assert (parent.root / "ended").exists()


def test_a_parent_that_does_nothing_stops_at_once(parent: Parent) -> None:
    parent.process.send_signal(signal.SIGTERM)
    assert parent.process.wait(30) == 0


def test_the_unit_gives_a_converge_time_and_kills_what_is_left() -> None:
    unit = (COMMAND.parents[1] / "roles/system/files/systemd/cloudstack-converge.service").read_text().splitlines()
    assert "KillMode=mixed" in unit
    assert "TimeoutStopSec=60" in unit
