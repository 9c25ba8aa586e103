# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import haproxy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.haproxy import Workers
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError, Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.load_balancer import Certificate
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.refusal import RefusedError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File, HaproxyService
from tests.unit.apply.test_execute import Commands, system

STEP = HaproxyService(
    "reload",
    (
        File("/etc/cloudstack/ssl/c.pem", "PEM\n", 0o600),
        File("/etc/haproxy/haproxy.cfg", "bind :443 ssl crt /etc/cloudstack/ssl/c.pem\n", 0o600),
    ),
    ("admin1:AdMiN123", "AdMiN123"),
)
REFUSAL = """\
[NOTICE]   (64) : haproxy version is 2.6.12-1+deb12u4
[WARNING]  (64) : config : 'option forwardfor' ignored for proxy 'a' as it requires HTTP mode.
[ALERT]    (64) : config : parsing [haproxy.cfg:41] : 'bogus' in 'AdMiN123'
[ALERT]    (64) : proxy 'a' has no server available!
[ALERT]    (64) : config : Error(s) found in configuration file : haproxy.cfg
[ALERT]    (64) : config : Fatal errors found in configuration.
"""
LISTING = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
844             master          2 [failed: 1]   0d00h00m05s     2.6.12-1+deb12u4
# workers
930             worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
900             worker          1               0d00h00m03s     2.6.12-1+deb12u4
# programs
"""


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that stands for /run."""
    monkeypatch.setattr(haproxy, "MEMORY", str(tmp_path))
    return tmp_path


class Judge(Commands):
    """Remember what the files looked like that haproxy was shown."""

    shown: dict[str, tuple[str, int]]

    def __call__(self, argv: tuple[str, ...], stdin: str | None = None, check: bool = True) -> str:  # type: ignore[override]
        if argv[0] == "haproxy":
            directory = Path(argv[-1]).parent
            assert directory.stat().st_mode & 0o777 == 0o700
            self.shown = {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in directory.iterdir()}
            self.shown["."] = (str(directory), 0)
        return super().__call__(argv, stdin, check)


def test_check_shows_haproxy_candidates_in_a_private_directory() -> None:
    judge = Judge()
    haproxy.check(STEP, system(judge))
    directory = judge.shown.pop(".")[0]
    assert judge.shown == {
        "c.pem": ("PEM\n", 0o600),
        "haproxy.cfg": (f"bind :443 ssl crt {directory}/c.pem\n", 0o600),
    }
    assert not Path(directory).exists()


def test_check_passes_haproxys_own_words_on() -> None:
    """Its alerts only, without the passwords of the configuration and the directory's name (G4, G7)."""
    judge = Judge(failing={"haproxy": REFUSAL})
    with pytest.raises(CommandError) as caught:
        haproxy.check(STEP, system(judge))
    assert str(caught.value) == "haproxy -c: exit status 1: parsing [haproxy.cfg:41] : 'bogus' in '…'"
    assert not Path(judge.shown["."][0]).exists()


NO_LISTENER = "Configuration file has no error but will not start (no listener) => exit(2)."


@pytest.mark.parametrize("verb", ["judge", "stop"])
def test_a_configuration_without_listeners_is_judged_too(verb: str) -> None:
    """haproxy ends with 2 then, for a right one and for a wrong one, which says so."""
    haproxy.check(HaproxyService(verb, STEP.files), system(Judge(failing={"haproxy": NO_LISTENER}, status=2)))
    for said, status in ((REFUSAL, 2), (REFUSAL, 1), (NO_LISTENER, 1)):
        with pytest.raises(CommandError):
            haproxy.check(HaproxyService(verb, STEP.files), system(Judge(failing={"haproxy": said}, status=status)))
    with pytest.raises(CommandError):
        haproxy.check(STEP, system(Judge(failing={"haproxy": NO_LISTENER}, status=2)))


def test_what_is_not_to_run_is_stopped_once() -> None:
    commands = Commands()
    haproxy.serve(HaproxyService("judge", ()), system(commands))
    haproxy.serve(HaproxyService("stop", ()), system(commands))
    assert commands.lines == ["systemctl stop haproxy.service"]


def test_alerts_are_all_there_is_when_there_are_none() -> None:
    assert haproxy.alerts("no such file AdMiN123", ("AdMiN123",)) == "no such file …"


def test_parse_workers() -> None:
    assert haproxy.parse_workers(LISTING) == Workers(frozenset({930}), 1)
    assert haproxy.parse_workers("") == Workers()


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[Workers]:
    """Return the list of what the master tells, one after the other, the last one for ever."""
    told = [Workers(frozenset({1}))]
    monkeypatch.setattr(haproxy, "workers", lambda: told.pop(0) if len(told) > 1 else told[0])
    monkeypatch.setattr(haproxy, "RELOAD_WAIT", 0.3)
    return told


def test_a_reload_is_done_when_another_worker_is_there(states: list[Workers]) -> None:
    states += [Workers(), Workers(frozenset({1})), Workers(frozenset({2}))]
    commands = Commands()
    haproxy.serve(STEP, system(commands))
    assert commands.lines == ["systemctl reload haproxy.service"]


@pytest.mark.parametrize("after", [Workers(frozenset({1}), failed=1), Workers(frozenset({1})), Workers()])
def test_a_reload_without_a_new_worker_fails(states: list[Workers], after: Workers) -> None:
    states.append(after)
    commands = Commands(answers={"journalctl": REFUSAL})
    with pytest.raises(CommandError, match=r"'bogus' in '…'"):
        haproxy.serve(STEP, system(commands))
    assert not any("stop" in line for line in commands.lines), "the old one goes on working"


def test_a_failed_start_is_not_tried_for_ever(states: list[Workers]) -> None:
    commands = Commands(failing={"systemctl start": "see the journal"}, answers={"journalctl": REFUSAL})
    with pytest.raises(CommandError, match="bogus"):
        haproxy.serve(HaproxyService("start", ()), system(commands))
    assert commands.lines[-1] == "systemctl stop haproxy.service"
    assert states


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Answer on a socket as haproxy's master does: only what asks and then ends its input is hung up on."""
    path, heard = str(tmp_path / "master.sock"), list[bytes]()
    monkeypatch.setattr(haproxy, "MASTER_SOCKET", path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            client, _address = server.accept()
            with client:
                heard.append(b"".join(iter(lambda: client.recv(100), b"")))
                client.sendall(LISTING.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join(5)


def test_workers_are_asked_of_the_master(master: list[bytes]) -> None:
    assert haproxy.workers() == Workers(frozenset({930}), 1)
    assert master == [b"show proc\n"]


def test_no_master_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "MASTER_SOCKET", str(tmp_path / "nobody"))
    assert (haproxy.workers(), haproxy.answers()) == (Workers(), False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a certificate whose key is encrypted with `right word`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there")
    key = tmp_path_factory.mktemp("keys") / "key.pem"
    words = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256")
    subprocess.run([*words, "-pass", "pass:right word", "-out", key], check=True, capture_output=True)
    return Certificate("c", "CERT\n", key.read_text(), password="right word")


def test_decrypt_shows_the_password_to_nobody(locked: Certificate, memory: Path) -> None:
    logged: list[str] = []
    assert "BEGIN PRIVATE KEY" in haproxy.decrypt(Runner(logged.append), locked)
    assert "right" not in " ".join(logged)
    assert list(memory.iterdir()) == []


@pytest.mark.parametrize(("password", "words"), [("wrong", "one openssl refuses"), (None, "got none")])
def test_decrypt_names_what_is_wrong(locked: Certificate, password: str | None, words: str) -> None:
    other = Certificate(locked.name, locked.certificate, locked.key, password=password)
    with pytest.raises(RefusedError, match=rf"rules\[0\].ssl_certs\[c\].password.*{words}"):
        haproxy.decrypt(Runner(), other)
