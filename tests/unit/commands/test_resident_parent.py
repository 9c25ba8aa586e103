# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A command and the resident parent: used when it answers, done without in every other case."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Router

RECORD = {"name": "a.json", "rc": 0, "reason": None, "changed": ["dhcp_dns"], "duration": 0.1}


class Parent:
    """Stand in for vr-converged: answer one client as the test says."""

    def __init__(self, router: Router, answer: Callable[[Parent, socket.socket, int], None]) -> None:
        self.router, self.answer, self.requests = router, answer, list[dict[str, Any]]()
        path = router.path("/run/cloudstack/converge.sock")
        path.parent.mkdir(parents=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _address = self.listener.accept()
        with connection:
            data, descriptors, _flags, _peer = socket.recv_fds(connection, 65536, 1)
            self.requests.append(json.loads(data))
            self.answer(self, connection, descriptors[0])
            os.close(descriptors[0])

    def record(self) -> None:
        """Write the record that a converge leaves."""
        self.router.put("/var/lib/cloudstack/results/a.json.json", json.dumps(RECORD))


@pytest.fixture
def near(router: Router) -> Iterator[Router]:
    """Return the router under a short path: that of a Unix socket has at most 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        short = Path(folder) / "r"
        # Commands look for their root by what links lead to, so it is the root that has the short path.
        shutil.move(router.root, short)
        router.root.symlink_to(short)
        router.drop("a.json")
        yield Router(short)


def begin(connection: socket.socket) -> None:
    """Say that the parent is ready, and hear that the client wants it to go."""
    connection.settimeout(10)
    connection.send(b'{"ready": true}')
    assert connection.recv(16) == b"go"


def converges(parent: Parent, connection: socket.socket, output: int) -> None:
    begin(connection)
    os.write(output, b"PLAY [by the parent]\n")
    parent.record()
    connection.send(b'{"status": 0}')


def test_a_parent_that_answers_runs_the_playbook(near: Router) -> None:
    parent = Parent(near, converges)
    done = near.run("update_config.py", "a.json", "false")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.json: dhcp_dns (0.10 s)\n", "")
    assert near.calls() == [], "no Ansible was started"
    (request,) = parent.requests
    assert request["variables"] == {"vr_drops": ["a.json"], "vr_keep": False}
    assert request["options"] == []
    assert request["limit"] > 500
    assert "PLAY [by the parent]" in near.path("/var/log/cloudstack/converge.log").read_text()


def too_old(_parent: Parent, _connection: socket.socket, _output: int) -> None:
    """Close without an answer."""


def dies(_parent: Parent, connection: socket.socket, _output: int) -> None:
    begin(connection)


def is_stuck(parent: Parent, connection: socket.socket, _output: int) -> None:
    connection.settimeout(10)
    connection.recv(1)
    parent.requests.append({"gone": True})


@pytest.mark.parametrize("answer", [too_old, dies, is_stuck])
def test_a_parent_that_fails_is_done_without(
    near: Router, answer: Callable[[Parent, socket.socket, int], None]
) -> None:
    Parent(near, answer)
    done = near.run("update_config.py", "a.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.json: firewall (0.50 s)\n", "")
    assert len(near.calls()) == 1


def test_a_parent_that_dies_after_the_record_was_written_is_believed(near: Router) -> None:
    def leaves_its_record(parent: Parent, connection: socket.socket, _output: int) -> None:
        begin(connection)
        parent.record()

    Parent(near, leaves_its_record)
    assert near.run("update_config.py", "a.json").stdout == "a.json: dhcp_dns (0.10 s)\n"
    assert near.calls() == [], "the drop is not taken twice"


def test_a_converge_that_the_parent_ended_for_its_time_says_so(near: Router) -> None:
    def ended(_parent: Parent, connection: socket.socket, _output: int) -> None:
        begin(connection)
        connection.send(b'{"status": -15}')

    Parent(near, ended)
    assert "the converge was ended after 5" in near.fails("update_config.py", "a.json")
    assert near.calls() == [], "what took too long is not tried again"


def test_an_absent_parent_is_done_without(near: Router) -> None:
    assert near.run("update_config.py", "a.json").returncode == 0
    assert len(near.calls()) == 1
