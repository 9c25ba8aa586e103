# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is remembered of what charon was told, and what it is asked for afterwards."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import vpn as daemon
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError, Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import vpn as service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import CutFlows
from tests.unit.apply.test_execute import Commands, system
from tests.unit.plan.test_vpn import A, B, digests, router

UNIT = Path(__file__).resolve().parents[3] / "roles/vpn/files/systemd/strongswan.service.d/60-cloudstack.conf"


class Charon:
    """Stand in for a session: what is listed, and nothing is up."""

    def __init__(self, *names: str, secrets: tuple[str, ...] | None = None) -> None:
        self.names = names
        self.secrets = tuple(f"ike-{name}" for name in names) if secrets is None else secrets

    def list_sas(self) -> tuple[()]:
        """Return that nothing is up."""
        return ()

    def get_conns(self) -> dict[str, list[bytes]]:
        """Return names of connections."""
        return {"conns": [name.encode() for name in self.names]}

    def get_shared(self) -> dict[str, list[bytes]]:
        """Return names of secrets."""
        return {"keys": [name.encode() for name in self.secrets]}


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the record in a directory of the test."""
    monkeypatch.setattr(vpn, "TOLD", str(tmp_path / "vpn.told"))
    return tmp_path / "vpn.told"


def start(record: Path, folder: Path) -> None:
    """Do what the unit does before the daemon starts."""
    (line,) = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStartPre=-")]
    words = shlex.split(line.removeprefix("ExecStartPre=-"))
    script = words[2].replace(vpn.DIRECTORY, str(folder)).replace("/run/cloudstack/vpn.told", str(record))
    subprocess.run([*words[:2], script], check=False, capture_output=True)


def write(folder: Path, *known: Any) -> None:
    for file in vpn.wanted(router(*known), daemon_render()).files[:-1]:
        (folder / Path(file.path).name).write_text(file.content)


def daemon_render() -> Any:
    return system(Commands()).render


def test_a_daemon_that_starts_has_read_its_files(record: Path, tmp_path: Path) -> None:
    """Whatever the record said before: the other router was the primary meanwhile."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    record.write_text(vpn.record({A.name: "0" * 64, "s2s-gone": "1" * 64}))
    write(folder, A, B)
    start(record, folder)
    assert daemon.told() == digests(router(A, B))


def test_nobody_else_reads_what_a_key_could_be_guessed_by(record: Path, tmp_path: Path) -> None:
    start(record, tmp_path)
    assert record.stat().st_mode & 0o77 == 0


def test_a_daemon_that_starts_without_files_knows_nothing(record: Path, tmp_path: Path) -> None:
    record.write_text(vpn.record({A.name: "0" * 64}))
    start(record, tmp_path)
    assert daemon.told() == {}


@pytest.mark.parametrize("text", ["", "{}", '{"s2s-a": "00"}', "[1]\n", "00  other.conf\n"])
def test_a_record_that_is_none_means_that_nothing_was_told(record: Path, text: str) -> None:
    record.write_text(text)
    assert daemon.told() == {}


def telling(charon: Charon, monkeypatch: pytest.MonkeyPatch, starts: Any = None) -> None:
    """Tell a daemon that does not run of A; `starts` is called when it is started."""

    @contextmanager
    def session() -> Iterator[Charon]:
        yield charon

    class Started(Commands):
        """Start what is to be started."""

        def __call__(self, *args: Any, **fields: Any) -> str:
            if starts and args[0][:2] == ("systemctl", "start"):
                starts()
            return super().__call__(*args, **fields)

    monkeypatch.setattr(daemon, "session", session)
    monkeypatch.setattr(Host, "active", frozenset())
    wanted = digests(router(A))
    daemon.tell(vpn.TellDaemon(tuple(wanted.items()), (), (A,)), system(Started()))


def test_what_was_told_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    telling(Charon(A.name), monkeypatch)
    assert daemon.told() == digests(router(A))


def test_a_start_is_no_proof_of_what_the_daemon_took(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit's record is of the files, and charon may have refused one."""
    with pytest.raises(CommandError, match="connections are not as they were loaded"):
        telling(Charon(), monkeypatch, lambda: record.write_text(vpn.record(digests(router(A)))))
    assert daemon.told() == {A.name: ""}


def test_what_a_farewell_has_opened_is_cut_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packet filter was before it, and charon's last words make its peer's answers known again."""
    monkeypatch.setattr(vpn, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(daemon, "OPTIONS", str(tmp_path / "options"))
    for after in (router(A), router()):
        host = system(Commands())
        assert service.plan(host, after, router(A, B))[-1] == CutFlows((router(A, B),), after)
        assert not [step for step in service.plan(host, after, after) if isinstance(step, CutFlows)]
        host.undone = (router(A, B),)
        assert service.plan(host, after, after)[-1] == CutFlows((router(A, B),), after)


def test_an_operators_own_connection_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    telling(Charon(A.name, "office", secrets=(f"ike-{A.name}", "ike-office")), monkeypatch)
    assert daemon.told() == digests(router(A))


@pytest.mark.parametrize("charon", [Charon(A.name, B.name), Charon(A.name, secrets=())])
def test_one_of_ours_too_many_or_missing_is_refused(charon: Charon, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="are not as they were loaded"):
        telling(charon, monkeypatch)


def test_a_daemon_that_hangs_is_named_before_anybody_waits_for_swanctl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """swanctl has no limit of its own, and a converge that fails asks once more when it goes back."""
    errors = SimpleNamespace(CommandException=KeyError, SessionException=KeyError)
    hung = SimpleNamespace(Session=lambda channel: SimpleNamespace(version=lambda: channel.recv(1)), exception=errors)
    monkeypatch.setitem(sys.modules, "vici", hung)  # type: ignore[arg-type]
    monkeypatch.setattr(daemon, "SOCKET", str(tmp_path / "vici"))
    monkeypatch.setattr(daemon, "ANSWER", 0.1)
    monkeypatch.setattr(Host, "active", frozenset((vpn.DAEMON,)))
    wanted, commands = digests(router(A)), Commands()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(daemon.SOCKET)
        door.listen()
        with pytest.raises(CommandError, match="charon does not answer: timed out"):
            daemon.tell(vpn.TellDaemon(tuple(wanted.items()), (), (A,)), system(commands))
    assert commands.run == []
    assert daemon.told() == {A.name: ""}, "whoever comes next tells it"


def test_a_daemon_that_hangs_is_ended_before_a_converge_gives_up() -> None:
    (limit,) = [line for line in UNIT.read_text().splitlines() if line.startswith("TimeoutStopSec=")]
    assert int(limit.partition("=")[2]) <= Runner().timeout / 2
