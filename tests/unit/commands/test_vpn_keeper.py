# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keeper of tunnels: what it does in which order, and what its unit allows it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMED = {"peer": "vpn.example.com", "name": "s2s-vpn", "resolve": True, "device": "eth1", "local": "192.0.2.50"}


class StopError(Exception):
    """End what runs for ever."""


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module; vici is on routers alone."""
    errors = SimpleNamespace(CommandException=StopError, SessionException=StopError)
    monkeypatch.setitem(sys.modules, "vici", SimpleNamespace(Session=object, exception=errors))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "path", [str(ROOT / "lib"), *sys.path])
    loader = SourceFileLoader("vr_vpn_keeper", str(ROOT / "libexec/vr-vpn-keeper"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_args: object, **_fields: object) -> None:
        raise error

    return fail


@pytest.fixture
def hosts(keeper: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep charon's hosts file in a directory of the test; a long one of before is there."""
    path = tmp_path / "vpn.hosts"
    path.write_text("203.0.113.99 of.before\n" * 50)
    monkeypatch.setattr(keeper, "HOSTS", str(path))
    return path


def resolving(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, **known: list[str]) -> None:
    """Have names resolved to what is known of their first label; who is not known is never answered."""

    def resolve(name: str, *_words: object) -> list[tuple[object, ...]]:
        label = name.partition(".")[0]
        if label not in known:
            threading.Event().wait()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (address, 0)) for address in known[label]]

    monkeypatch.setattr(keeper.socket, "getaddrinfo", resolve)


class Charon:
    """Stand in for a session: what it is told is written down."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def initiate(self, what: dict[str, str]) -> tuple[()]:
        """Take note."""
        self.told.append(("initiate", what["child"]))
        return ()

    def terminate(self, what: dict[str, str]) -> tuple[()]:
        """Take note."""
        self.told.append(("terminate", what["ike"]))
        return ()


def kept(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, seen: Any, names: Any, *tunnels: Any) -> Any:
    """Return what charon is told to do when it has what is seen."""
    charon = Charon()
    monkeypatch.setattr(keeper.vpn, "seen", lambda: seen)
    monkeypatch.setattr(keeper.vpn, "connect", nullcontext)
    monkeypatch.setattr(keeper.vici, "Session", lambda _channel: charon)
    keeper.keep(list(tunnels), names)
    return charon.told


def test_a_name_that_fails_leaves_no_other_tunnel_down(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[object] = []
    monkeypatch.setattr(keeper.vpn, "tunnels", lambda: [NAMED])
    monkeypatch.setattr(keeper, "keep", lambda tunnels, _names: done.append(tunnels))
    names = SimpleNamespace(
        learn=lambda _names: None,
        tell=raising(OSError("no such file")),
        open=raising(subprocess.CalledProcessError(1, "nft")),
    )
    keeper.look(names)
    assert done == [[NAMED]]
    assert capsys.readouterr().out.count("failed: ") == 2


def test_a_name_server_that_never_answers_keeps_nobody_waiting(
    keeper: ModuleType, hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are resolved and told, each in its own thread, and there is one thread for each name at most."""
    resolving(keeper, monkeypatch, vpn=["203.0.113.41", "203.0.113.40"])
    names, wanted = keeper.Names(), {"vpn.example.com", *(f"dead{n}.example.com" for n in range(20))}
    before = threading.active_count()
    started = time.monotonic()
    for _look in range(3):
        names.learn(wanted)
        names.tell(wanted)
    assert time.monotonic() - started < 3 * keeper.SOON + 1
    assert threading.active_count() <= before + 20
    assert hosts.read_text() == "203.0.113.41 vpn.example.com\n203.0.113.40 vpn.example.com\n"


def test_a_name_that_has_no_address_is_asked_for_at_each_look(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That it has none is said once."""
    asked: list[object] = []

    def fail(name: str, *_words: object) -> None:
        asked.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(keeper.socket, "getaddrinfo", fail)
    names = keeper.Names()
    for _look in range(3):
        names.learn({"vpn.example.com"})
    assert asked == ["vpn.example.com"] * 3
    assert capsys.readouterr().out.count("cannot be resolved") == 1


def test_the_file_of_names_stays_the_one_that_charon_has(
    keeper: ModuleType, hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bound into charon's own view: another file of that name would not be seen there."""
    resolving(keeper, monkeypatch, vpn=["203.0.113.41"])
    names, file = keeper.Names(), hosts.stat().st_ino
    names.learn({"vpn.example.com"})
    names.tell({"vpn.example.com"})
    assert (hosts.stat().st_ino, hosts.read_text()) == (file, "203.0.113.41 vpn.example.com\n")
    names.tell(set())
    assert (hosts.stat().st_ino, hosts.read_text()) == (file, "")


def test_no_end_of_an_old_line_is_read_as_another_address(
    keeper: ModuleType, hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """charon may read at any time, also before what is left of the longer file is cut off."""
    resolving(keeper, monkeypatch, vpn=["203.0.113.41"])
    names, seen = keeper.Names(), list[str]()
    cut = keeper.os.ftruncate

    def look_and_cut(descriptor: int, length: int) -> None:
        seen.append(hosts.read_text())
        cut(descriptor, length)

    monkeypatch.setattr(keeper.os, "ftruncate", look_and_cut)
    names.learn({"vpn.example.com"})
    names.tell({"vpn.example.com"})
    assert [text.split() for text in seen] == [["203.0.113.41", "vpn.example.com"]]


def test_what_a_name_server_says_late_counts_from_the_next_look_on(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else charon would be sent to where the name was, and nobody would know any more that it has moved."""
    given = threading.Event()

    def resolve(*_words: object) -> list[tuple[object, ...]]:
        given.wait()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("203.0.113.41", 0))]

    monkeypatch.setattr(keeper.socket, "getaddrinfo", resolve)
    names, before = keeper.Names(), set(threading.enumerate())
    names.learn({"vpn.example.com"})
    given.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert (names.addresses("vpn.example.com"), names.moved) == ((), set())
    names.learn({"vpn.example.com"})
    assert (names.addresses("vpn.example.com"), names.moved) == (("203.0.113.41",), {"vpn.example.com"})


def sa(state: str, **children: str) -> dict[str, Any]:
    """Return an IKE SA as vici lists it."""
    listed = {name: {"name": name.encode(), "state": value.encode()} for name, value in children.items()}
    return {"state": state.encode(), "remote-host": b"203.0.113.41", "child-sas": listed}


def answering(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, waits: Any, *at_hand: Any) -> list[Any]:
    """Have charon list `waits` to whoever waits, and `at_hand` one after the other else; return how it was asked."""
    asked: list[Any] = []
    turns = iter(at_hand)

    def list_sas(how: Any = None) -> Any:
        asked.append(how)
        answer = waits if how is None else next(turns)
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    monkeypatch.setattr(keeper.vpn, "connect", lambda *_seconds: nullcontext())
    monkeypatch.setattr(keeper.vici, "Session", lambda _channel: SimpleNamespace(list_sas=list_sas))
    return asked


def test_charon_is_asked_once_when_nothing_is_at_work(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(keeper, monkeypatch, {"a": sa("ESTABLISHED", one="INSTALLED"), "b": sa("CONNECTING")})
    seen = keeper.vpn.seen()
    assert asked == [None]
    assert seen.complete
    assert seen.tunnels["a"] == (True, False, frozenset(("one",)), frozenset(("203.0.113.41",)))
    assert seen.tunnels["b"] == (False, True, frozenset(), frozenset(("203.0.113.41",)))


@pytest.mark.parametrize("error", [TimeoutError("timed out"), StopError("Unexpected response type 1")])
def test_an_sa_that_is_at_work_holds_up_no_other(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """One that is at work for a moment is asked for again: it is not down."""
    up = {"a": sa("ESTABLISHED", one="INSTALLED")}
    moment = {**up, "b": sa("REKEYING", two="REKEYING")}
    asked = answering(keeper, monkeypatch, error, up, up, moment, up)
    seen = keeper.vpn.seen()
    assert asked == [None, *[{"noblock": "yes"}] * 4]
    assert not seen.complete
    assert {name for name, tunnel in seen.tunnels.items() if tunnel.established and tunnel.installed} == {"a", "b"}


def test_a_charon_that_hangs_is_no_peer_that_is_down(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(keeper, monkeypatch, TimeoutError(), TimeoutError("timed out"))
    with pytest.raises(keeper.vr.CommandError, match="charon does not answer: timed out"):
        keeper.vpn.states()


TUNNEL = {**NAMED, "passive": False, "children": ["s2s-vpn-1", "s2s-vpn-2"]}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"complete": True}, [("initiate", "s2s-vpn-1"), ("initiate", "s2s-vpn-2")]),
        ({"complete": False}, []),
        ({"established": True, "installed": ["s2s-vpn-2"], "complete": True}, [("initiate", "s2s-vpn-1")]),
        ({"established": True, "installed": ["s2s-vpn-2"], "complete": False}, [("initiate", "s2s-vpn-1")]),
        ({"connecting": True, "complete": True}, []),
    ],
)
def test_nothing_is_begun_twice(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], told: Any
) -> None:
    """What charon did not list may be under way, when it did not list all."""
    complete = fields.pop("complete")
    tunnel = keeper.vpn.Tunnel(**{**fields, "installed": frozenset(fields.get("installed", ()))})
    seen = keeper.vpn.Seen({"s2s-vpn": tunnel} if fields else {}, complete)
    names = SimpleNamespace(moved=set(), addresses=lambda _name: ("203.0.113.41",))
    assert kept(keeper, monkeypatch, seen, names, TUNNEL) == told


def test_a_name_without_address_is_not_called(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    names = SimpleNamespace(moved=set(), addresses=lambda _name: ())
    other = {**TUNNEL, "peer": "203.0.113.42", "name": "s2s-b", "children": ["s2s-b-1"], "resolve": False}
    assert kept(keeper, monkeypatch, keeper.vpn.Seen({}, True), names, TUNNEL, other) == [("initiate", "s2s-b-1")]


@pytest.mark.parametrize(
    ("at", "ended"), [("203.0.113.41", []), ("203.0.113.43", []), ("203.0.113.44", [("terminate", "s2s-vpn")])]
)
def test_a_tunnel_to_where_a_name_was_is_ended(
    keeper: ModuleType, hosts: Path, monkeypatch: pytest.MonkeyPatch, at: str, ended: Any
) -> None:
    """Not when the peer itself has moved since, and before its name has (RFC 4555)."""
    assert hosts.exists()
    resolving(keeper, monkeypatch, vpn=["203.0.113.41", "203.0.113.43"])
    names = keeper.Names()
    names.learn({"vpn.example.com"})
    up = keeper.vpn.Tunnel(True, False, frozenset(TUNNEL["children"]), frozenset((at,)))
    seen = keeper.vpn.Seen({"s2s-vpn": up}, True)
    assert kept(keeper, monkeypatch, seen, names, TUNNEL)[:1] == ended
    assert kept(keeper, monkeypatch, seen, names, TUNNEL) == []


def test_a_tunnel_that_fails_holds_up_no_other_and_is_ended_the_next_time(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Charon, "terminate", raising(TimeoutError("timed out")))
    names = SimpleNamespace(moved={NAMED["peer"]}, addresses=lambda _name: ("203.0.113.41",))
    other = {**TUNNEL, "peer": "203.0.113.42", "name": "s2s-b", "children": ["s2s-b-1"], "resolve": False}
    up = keeper.vpn.Tunnel(True, False, frozenset(TUNNEL["children"]), frozenset(("203.0.113.44",)))
    seen = keeper.vpn.Seen({"s2s-vpn": up}, True)
    assert kept(keeper, monkeypatch, seen, names, TUNNEL, other) == [("initiate", "s2s-b-1")]
    assert capsys.readouterr().out.endswith("vpn.example.com: failed: timed out\n")
    assert names.moved == {NAMED["peer"]}


def test_one_name_has_few_addresses(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(keeper, monkeypatch, vpn=[f"203.0.113.{n}" for n in range(200)])
    names = keeper.Names()
    names.learn({"vpn.example.com"})
    assert len(names.addresses("vpn.example.com")) == 16


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("nft", 20), subprocess.CalledProcessError(1, "nft")])
def test_a_program_that_fails_or_hangs_ends_one_look_only(
    keeper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.setattr(keeper, "look", raising(error))
    monkeypatch.setattr(keeper.time, "sleep", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        keeper.main()
    assert capsys.readouterr().out.startswith("failed: Command 'nft'")


def test_nothing_that_is_run_may_hang(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def run(*_words: object, timeout: float | None = None, **_fields: object) -> SimpleNamespace:
        limits.append(timeout)
        return SimpleNamespace(returncode=0, stdout='{"nftables": []}')

    names = keeper.Names()
    monkeypatch.setattr(keeper.subprocess, "run", run)
    monkeypatch.setattr(names, "addresses", lambda _name: {"203.0.113.41"})
    names.open([NAMED])
    assert len(limits) == 2
    assert all(limits)


def test_when_the_keeper_ends_no_peer_with_a_name_is_heard(keeper: ModuleType) -> None:
    unit = (ROOT / "roles/vpn/files/systemd/cloudstack-vpn.service").read_text().splitlines()
    assert f"ExecStopPost=-/usr/sbin/nft flush set {' '.join(keeper.SET)}" in unit
    assert "CapabilityBoundingSet=CAP_NET_ADMIN" in unit
