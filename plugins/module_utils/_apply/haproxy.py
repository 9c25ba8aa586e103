# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""haproxy at work: let it judge a candidate, start it, reload it, and see that the new worker has taken over."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import (
    CommandError,
    Runner,
    conceal,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import Certificate
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import CERTIFICATES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.load_balancer import CONFIG, UNIT
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import HaproxyService

MASTER_SOCKET = "/run/haproxy-master.sock"
"""Where Debian's unit lets the master process listen."""
MEMORY = "/run"
"""Where candidates are shown to haproxy: keys shall not come to a disk on the way."""
RELOAD_WAIT = 20.0
"""How long the new worker may take to start, in seconds: certificates and server names take their time."""
_MASTER_TIMEOUT = 2.0
_NO_LISTENER = (2, "Configuration file has no error but will not start (no listener)")
"""What `haproxy -c` says of a configuration that is right, and serves nobody (haproxy.c of 2.6)."""
_ALERT = re.compile(r"\[ALERT\]\s+\(\d+\) : (?:config : )?(.*)")
_BESIDE_THE_POINT = re.compile(
    r"Error\(s\) found in configuration file|Fatal errors found in configuration|.* has no server available!"
)


@dataclass(frozen=True, slots=True)
class Workers:
    """The worker processes that accept connections, and how often the last reloads failed."""

    current: frozenset[int] = frozenset()
    failed: int = 0


def check(step: HaproxyService, host: Host) -> None:
    """Let haproxy judge configuration and certificates in a directory of their own.

    Raises CommandError with haproxy's own words.
    """
    with _private_directory() as directory:
        for file in step.files:
            content = file.content.replace(f"{CERTIFICATES}/", f"{directory}/")
            _write(f"{directory}/{os.path.basename(file.path)}", content)
        candidate = f"{directory}/{os.path.basename(CONFIG)}"
        try:
            host.run(("haproxy", "-c", "-f", candidate))
        except CommandError as error:
            said = error.output.replace(f"{directory}/", "")
            if not step.serves and error.returncode == _NO_LISTENER[0] and _NO_LISTENER[1] in said:
                return
            raise _refused(("haproxy", "-c"), error.returncode, said, step.hidden) from error


def serve(step: HaproxyService, host: Host) -> None:
    """Start or stop haproxy, or pass its listeners over to a new worker; what runs stays with the old one (G1).

    Raises CommandError with haproxy's own words when the new one does not come up; the old one goes on working.
    """
    if step.verb == "judge":
        return
    before, started = workers(), int(time.time())
    command = ("systemctl", step.verb, f"{UNIT}.service")
    try:
        host.run(command)
        if step.serves:
            _await_workers(before)
    except CommandError as error:
        said = host.run(("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager", "--since", f"@{started}"))
        if step.verb == "start":
            # Debian's unit tries again for ever.
            host.run(("systemctl", "stop", f"{UNIT}.service"), check=False)
        raise _refused(command, error.returncode, said or error.output, step.hidden) from error


def _await_workers(before: Workers) -> None:
    """Wait for a worker that was not there before; the master reloads by itself after systemctl has ended."""
    deadline = time.monotonic() + RELOAD_WAIT
    while time.monotonic() < deadline:
        now = workers()
        if now.current - before.current:
            return
        if now.failed > before.failed:
            break
        time.sleep(0.02)
    raise CommandError(("systemctl", "reload", UNIT), 1, "the new worker did not start")


def answers() -> bool:
    """Tell whether a master process runs."""
    return bool(_ask("show version"))


def workers() -> Workers:
    """Return the workers that the master process knows; none when it does not run or is just being replaced."""
    return parse_workers(_ask("show proc"))


def parse_workers(listing: str) -> Workers:
    """Return the workers of the master's `show proc` (management guide of haproxy 2.6, section 9.4.1)."""
    failed = re.search(r"\[failed: (\d+)\]", listing)
    part = listing.partition("# workers")[2].partition("# old workers")[0]
    pids = re.findall(r"^(\d+)\s+worker\b", part, re.MULTILINE)
    return Workers(frozenset(map(int, pids)), int(failed[1]) if failed else 0)


def _ask(command: str) -> str:
    """Return the master's answer to a command, nothing when it does not answer."""
    with socket.socket(socket.AF_UNIX) as master:
        master.settimeout(_MASTER_TIMEOUT)
        try:
            master.connect(MASTER_SOCKET)
            master.sendall(f"{command}\n".encode())
            master.shutdown(socket.SHUT_WR)
            parts = iter(lambda: master.recv(65536), b"")
            return b"".join(parts).decode(errors="replace")
        except OSError:
            # Stopped, or executing itself anew for a reload: the caller asks again, or takes it for stopped.
            return ""


def decrypt(run: Runner, sent: Certificate) -> str:
    """Return the private key without encryption; its password is passed by a pipe, not on the command line.

    Raises RefusedError when there is no password or openssl does not accept it.
    """
    path = f"rules[0].ssl_certs[{sent.name}].password"
    if sent.password is None:
        raise RefusedError("load_balancer.json", path, "the password of the encrypted key", "none")
    with _private_directory() as directory:
        _write(f"{directory}/key.pem", sent.key)
        try:
            return run(
                ("openssl", "pkey", "-in", f"{directory}/key.pem", "-passin", "stdin"), stdin=f"{sent.password}\n"
            )
        except CommandError as error:
            raise RefusedError("load_balancer.json", path, "the password of the key", "one openssl refuses") from error


def alerts(output: str, hidden: Iterable[str] = ()) -> str:
    """Return what haproxy calls an alert, without passwords; all of it when there is no alert in it."""
    found = [match[1] for match in map(_ALERT.search, output.splitlines()) if match]
    words = [alert for alert in found if not _BESIDE_THE_POINT.match(alert)]
    return conceal("; ".join(dict.fromkeys(words or found)) or output, hidden)


def _refused(argv: tuple[str, ...], returncode: int, output: str, hidden: Iterable[str]) -> CommandError:
    return CommandError(argv, returncode, alerts(output, hidden))


@contextmanager
def _private_directory() -> Iterator[str]:
    """Make a directory in memory that only root may enter, and remove it with what is in it."""
    directory = tempfile.mkdtemp(prefix="cloudstack-", dir=MEMORY)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _write(path: str, content: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(content)
