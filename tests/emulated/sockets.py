# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talk to qemu (QMP) and to the agent inside the guest (qemu-ga): JSON, one object a line, over UNIX sockets."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from tests.lab.process import LabError


class Channel:
    """Send one command at a time and wait for its answer; what the other side says unasked is skipped."""

    def __init__(self, path: Path, patience: float) -> None:
        """Connect; ``patience`` is how many seconds an answer may take."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what a command answers; an error that it answers is a LabError."""
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            answer = self.receive()
            while not {"return", "error"} & answer.keys():
                answer = self.receive()
        except OSError as error:
            raise LabError(f"{command}: {error}") from error
        if "error" in answer:
            raise LabError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def receive(self) -> dict[str, Any]:
        """Return the next object."""
        line = self._lines.readline()
        if not line:
            raise LabError("the other side has closed the connection")
        # qemu-ga puts this byte before the first answer after guest-sync-delimited.
        parsed: dict[str, Any] = json.loads(line.lstrip(b"\xff"))
        return parsed

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()


class Monitor(Channel):
    """Control a qemu."""

    def __init__(self, path: Path) -> None:
        """Connect and leave the mode of negotiation."""
        super().__init__(path, 120)
        self.receive()
        self.ask("qmp_capabilities")

    def human(self, line: str) -> str:
        """Run a command of the human monitor, which alone has savevm."""
        printed = str(self.ask("human-monitor-command", command_line=line))
        if printed.strip():
            raise LabError(f"{line}: {printed.strip()}")
        return printed


class Agent:
    """Control a guest by its qemu-ga.

    Its answers lie in a serial line: what an earlier client has not read is still there. So each connection begins with
    a synchronisation, and is tried again until the guest has booted far enough to answer.
    """

    def __init__(self, path: Path) -> None:
        """Remember the socket; nothing is connected yet."""
        self._path = path
        self._channel: Channel | None = None

    def wait(self, seconds: float) -> None:
        """Wait until the guest answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._connect(5)
                return
            except (OSError, LabError, ValueError) as error:
                self.close()
                if time.monotonic() > end:
                    raise LabError(f"the guest agent does not answer within {seconds:.0f} s: {error}") from error
                time.sleep(0.5)

    def _connect(self, patience: float) -> Channel:
        if self._channel is not None:
            return self._channel
        channel = Channel(self._path, patience)
        number = secrets.randbelow(1 << 31)
        channel._socket.sendall(json.dumps({"execute": "guest-sync", "arguments": {"id": number}}).encode() + b"\n")
        while channel.receive().get("return") != number:
            pass
        channel._socket.settimeout(60)
        self._channel = channel
        return channel

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what a command answers."""
        return self._connect(30).ask(command, **arguments)

    def write(self, path: str, content: bytes) -> None:
        """Write a file in the three steps of CloudStack's host agent: it is there first, then it has content."""
        handle = self.ask("guest-file-open", path=path, mode="w+")
        self.ask("guest-file-write", handle=handle, buf_b64=base64.b64encode(content).decode())
        self.ask("guest-file-close", handle=handle)

    def execute(self, command: list[str], stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        """Run a command; return its exit status, its output and its errors."""
        wanted = {"path": command[0], "arg": command[1:], "capture_output": True}
        if stdin:
            wanted["input_data"] = base64.b64encode(stdin).decode()
        process = self.ask("guest-exec", **wanted)["pid"]
        end, pause = time.monotonic() + timeout, 0.1
        while not (state := self.ask("guest-exec-status", pid=process))["exited"]:
            if time.monotonic() > end:
                raise LabError(f"{command[0]}: no end after {timeout} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        out, err = (base64.b64decode(state.get(name, "")) for name in ("out-data", "err-data"))
        return int(state.get("exitcode", 128 + state.get("signal", 0))), out, err

    def close(self) -> None:
        """End the connection."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None
