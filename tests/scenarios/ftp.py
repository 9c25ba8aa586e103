# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real FTP server (pyftpdlib) and a real client (curl) on hosts of a lab, and control connections that lie."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.host import Host
from tests.lab.process import LabError

TEXT = "what the file says\n"
MODES = {
    "PASV": ("--disable-epsv",),
    "EPSV": (),
    "PORT": ("--ftp-port", "-", "--disable-eprt"),
    "EPRT": ("--ftp-port", "-"),
}
"""How curl is told by which command to ask for a data connection (RFC 959, RFC 2428)."""
_SERVER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    timeout = 30
    def log(self, *_words, **_more):
        pass
    log_exception = log

Handler.authorizer.add_anonymous(sys.argv[1])
with FTPServer(("0.0.0.0", 21), Handler) as server:
    print("ready", flush=True)
    server.serve_forever(handle_exit=False)
"""
_CONTROL = """
import socket, sys
with socket.create_connection((sys.argv[1], 21), timeout=30) as opened:
    for line in sys.stdin:
        opened.sendall(line.strip().encode() + b"\\r\\n")
        print("sent", flush=True)
"""


@contextmanager
def server(host: Host, directory: Path) -> Iterator[None]:
    """Serve a directory with one file, called `file`, to everybody while the block runs."""
    (directory / "file").write_text(TEXT, encoding="utf-8")
    with _python(host, _SERVER, str(directory)) as process:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise LabError(f"{host.name}: no FTP server")
        yield


def fetch(host: Host, address: str, mode: str, port: int = 21) -> bool:
    """Tell whether the file is fetched, whole, with a data connection that is asked for in one of MODES."""
    words = ("curl", "--silent", "--max-time", "4", *MODES[mode], f"ftp://{address}:{port}/file")
    return host.run(*words, check=False).stdout == TEXT


class Control:
    """A control connection from a host to port 21 of an address; lines are sent as they are, answers are not read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take the process that holds it."""
        self._process = process

    def say(self, line: str) -> None:
        """Send a line, and return when the kernel has it."""
        if self._process.stdin is None or self._process.stdout is None:
            raise LabError("no control connection")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "sent\n":
            raise LabError(f"the control connection ended before {line!r}")


@contextmanager
def control(host: Host, address: str) -> Iterator[Control]:
    """Open a control connection for as long as the block runs."""
    with _python(host, _CONTROL, address) as process:
        yield Control(process)


def told(address: str, port: int) -> str:
    """Return an address and a port as PORT and the answer to PASV say them (RFC 959, section 4.1.2)."""
    return ",".join([*address.split("."), str(port >> 8), str(port & 255)])


@contextmanager
def _python(host: Host, script: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", script, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
