# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import redundancy
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.redundancy import (
    await_release,
    read_state,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import VrrpState


@pytest.mark.parametrize("state", list(VrrpState))
def test_state_is_read_as_the_transition_wrote_it(tmp_path: Path, state: VrrpState) -> None:
    (tmp_path / "state").write_text(f"{state.value}\n")
    assert read_state(print, str(tmp_path / "state")) is state


@pytest.mark.parametrize("content", ["", "MASTER\n", "primary\n", "\xff"])
def test_anything_else_is_unknown(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").write_bytes(content.encode("latin-1"))
    assert read_state(print, str(tmp_path / "state")) is VrrpState.UNKNOWN


def test_before_the_first_election_nothing_is_known(tmp_path: Path) -> None:
    assert read_state(print, str(tmp_path / "state")) is VrrpState.UNKNOWN


def test_a_transition_under_way_is_waited_for(tmp_path: Path) -> None:
    """It writes the state first: what is planned before links and routes have followed is moot when it is applied."""
    state, lock = tmp_path / "state", tmp_path / "lock"
    state.write_text("PRIMARY\n")
    words = ("flock", str(lock), "sh", "-c", f"echo held; sleep 0.3; echo BACKUP >{state}")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as transition:
        assert transition.stdout is not None
        assert transition.stdout.readline() == "held\n"
        assert read_state(print, str(state), str(lock)) is VrrpState.BACKUP


def test_a_transition_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redundancy, "TRANSITION_LIMIT", 0.05)
    lock, said = tmp_path / "lock", list[str]()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read_state(said.append, str(tmp_path / "state"), str(lock)) is VrrpState.UNKNOWN
    assert "has not ended" in said[0]


class Addresses:
    """Answer `ip -json address`; each answer lacks one address more than the one before."""

    def __init__(self, *held: str) -> None:
        self.held, self.asked = list(held), 0

    def __call__(self, argv: Sequence[str], stdin: str | None = None, check: bool = True) -> str:
        assert argv[-1] == "address"
        self.asked += 1
        found = [{"ifname": "eth3", "addr_info": [{"local": ip} for ip in self.held]}]
        del self.held[:1]
        return json.dumps(found)


def test_waiting_ends_when_keepalived_has_let_go() -> None:
    run = Addresses("10.2.2.1", "10.2.2.84")
    await_release([("eth3", "10.2.2.1")], run)  # type: ignore[arg-type]
    assert run.asked == 2


def test_an_address_on_another_nic_is_not_waited_for() -> None:
    run = Addresses("10.2.2.1")
    await_release([("eth2", "10.2.2.1")], run)  # type: ignore[arg-type]
    assert run.asked == 1


def test_keepalived_that_holds_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redundancy, "RELEASE_LIMIT", 0.05)
    with pytest.raises(CommandError, match=r"still holds 10\.2\.2\.1 on eth3"):
        await_release([("eth3", "10.2.2.1")], Addresses(*["10.2.2.1"] * 99))  # type: ignore[arg-type]
