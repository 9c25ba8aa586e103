# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keeper of tunnels: what it does in which order, and what its unit allows it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
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


def test_tunnels_are_kept_before_names_are_opened(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that fails leaves no other tunnel down."""
    kept: list[object] = []
    monkeypatch.setattr(keeper.vpn, "tunnels", lambda: [NAMED])
    monkeypatch.setattr(keeper.vpn, "connect", nullcontext)
    monkeypatch.setattr(keeper.vici, "Session", lambda _channel: "ike")
    monkeypatch.setattr(keeper, "keep", lambda ike, tunnels: kept.append((ike, tunnels)))
    names = SimpleNamespace(open=raising(subprocess.CalledProcessError(1, "nft")))
    with pytest.raises(subprocess.CalledProcessError):
        keeper.look(names)
    assert kept == [("ike", [NAMED])]


def test_one_name_has_few_addresses(keeper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (f"203.0.113.{n}", 0)) for n in range(200)]
    monkeypatch.setattr(keeper.socket, "getaddrinfo", lambda *_words: answers)
    assert len(keeper.Names().addresses("vpn.example.com")) == 16


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
