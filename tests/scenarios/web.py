# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Web servers on VMs, which say who they are and what they were asked, and curl on clients.

``/login`` gives a session, as application servers do: cookie JSESSIONID, or with ``/login?name=X`` cookie X.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.lab.host import Host
from tests.lab.process import LabError

ROOT = Path(__file__).resolve().parents[2]


class Handler(BaseHTTPRequestHandler):
    """Answer every request with the server's name and the headers it saw, as JSON."""

    protocol_version = "HTTP/1.1"
    server_name = ""

    def do_GET(self) -> None:
        """Answer; a login gets a new session."""
        url = urlsplit(self.path)
        text = {"server": self.server_name, "headers": dict(self.headers.items()), "path": self.path}
        body = json.dumps(text).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if url.path == "/login":
            name = parse_qs(url.query).get("name", ["JSESSIONID"])[0]
            self.send_header("Set-Cookie", "colour=blue; Path=/")
            self.send_header("Set-Cookie", f"{name}={secrets.token_hex(8)}; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Keep quiet."""


@dataclass
class WebServer:
    """Serve HTTP on ports of a host, from entering a with-block to its end."""

    host: Host
    ports: tuple[int, ...]
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> WebServer:
        """Start, and wait until every port is served."""
        words = [sys.executable, "-m", "tests.scenarios.web", self.host.name, *map(str, self.ports)]
        enter = ["ip", "netns", "exec", self.host.namespace]
        self._process = subprocess.Popen([*enter, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or self._process.stdout.readline() != "serving\n":
            raise LabError(f"no web server on {self.host.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def curl(host: Host, url: str, *options: str) -> str:
    """Return what curl prints; a request that fails is an error of the test."""
    return host.run("curl", "--silent", "--show-error", "--fail", "--max-time", "30", *options, url).stdout


def get(host: Host, url: str, *options: str) -> dict[str, Any]:
    """Return which web server answered, and what it saw."""
    seen: dict[str, Any] = json.loads(curl(host, url, *options))
    return seen


def servers(host: Host, url: str, times: int, *options: str) -> list[str]:
    """Return who answers a number of requests, each on a connection of its own."""
    return [get(host, url, *options)["server"] for _ in range(times)]


def main() -> None:
    """Serve until killed."""
    name, *ports = sys.argv[1:]
    Handler.server_name = name
    made = [ThreadingHTTPServer(("0.0.0.0", int(port)), Handler) for port in ports]
    print("serving", flush=True)
    threads = [threading.Thread(target=server.serve_forever) for server in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
