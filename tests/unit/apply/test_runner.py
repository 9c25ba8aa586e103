# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError, Runner
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.units import active


def test_run_returns_the_output_and_logs_the_command() -> None:
    """One line an operator could type; what is fed in is not logged (M2)."""
    logged: list[str] = []
    run = Runner(log=logged.append)
    assert run(("cat", "-"), stdin="s3cret") == "s3cret"
    assert len(logged) == 1
    assert logged[0].startswith("cat - (")
    assert "s3cret" not in logged[0]
    assert run.count == 1


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("sh", "-c", "echo bad news >&2; exit 3"), 3, "exit status 3: bad news"),
        (("sh", "-c", "echo on stdout; exit 1"), 1, "on stdout"),
        (("false",), 1, "no output"),
        (("no-such-command-at-all", "x"), 127, "no such command"),
    ],
)
def test_run_names_the_command_that_failed(argv: tuple[str, ...], code: int, words: str) -> None:
    """The exit status is never ignored (B11)."""
    with pytest.raises(CommandError) as caught:
        Runner()(argv)
    assert str(caught.value).startswith(" ".join(argv))
    assert words in str(caught.value)
    assert (caught.value.returncode, caught.value.argv) == (code, argv)


def test_run_may_be_told_not_to_check() -> None:
    assert Runner()(("sh", "-c", "echo text; exit 1"), check=False) == "text\n"


def test_run_ends_a_command_that_hangs() -> None:
    with pytest.raises(CommandError, match=r"sleep 60.*no answer within"):
        Runner(timeout=0.1)(("sleep", "60"))


def test_run_uses_no_shell() -> None:
    """No value ever reaches one (N3)."""
    assert Runner()(("echo", "$(id); x")) == "$(id); x\n"


def test_run_takes_more_than_a_pipe_holds() -> None:
    """In both directions, at the same time."""
    many = "0123456789abcdef\n" * 100_000
    assert Runner()(("cat",), stdin=many) == many


def test_run_gives_no_input_unless_told_to() -> None:
    assert Runner()(("cat",)) == ""


LISTED = """\
dnsmasq@tier_eth2.service         loaded active    running DNS and DHCP of a tier
haproxy.service                   loaded reloading reload  HAProxy Load Balancer
ssh.service                       loaded active    running OpenBSD Secure Shell server
"""


def test_active_lists_all_units_at_once() -> None:
    asked = []

    def run(argv: tuple[str, ...]) -> str:
        asked.append(argv)
        return LISTED

    assert active(run) == {"dnsmasq@tier_eth2", "haproxy", "ssh"}
    assert len(asked) == 1
    assert "--state=active,reloading" in asked[0]


def test_active_without_any_unit() -> None:
    assert active(lambda _argv: "\n") == frozenset()


def test_a_sign_cut_in_two_is_no_crash() -> None:
    """A daemon quotes as many bytes of its file as fit its line."""
    assert Runner()(("printf", r"caf\303")) == "caf\N{REPLACEMENT CHARACTER}"


def test_what_was_started_ahead_is_the_next_answer_to_the_same_words(tmp_path: Path) -> None:
    """It is started once, and the call after that starts it anew."""
    logged: list[str] = []
    run = Runner(log=logged.append)
    said = tmp_path / "said"
    words = ("sh", "-c", f"cat; echo once >> {said}")
    run.ahead(words, "a")
    assert run(words, "b") == "b"
    assert run(words, "a") == "a"
    assert said.read_text().splitlines() == ["once"] * 2
    assert run(words, "a") == "a"
    assert said.read_text().splitlines() == ["once"] * 3
    assert (run.count, len(logged)) == (3, 3)


def test_a_command_that_was_started_ahead_fails_when_it_is_asked_for(tmp_path: Path) -> None:
    run, words = Runner(), ("cat", str(tmp_path / "late"))
    run.ahead(words)
    time.sleep(0.3)
    (tmp_path / "late").write_text("there now")
    with pytest.raises(CommandError, match="exit status 1: cat: "):
        run(words)


def test_what_was_started_ahead_and_forgotten_is_ended_and_asked_anew(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text("old")
    run = Runner()
    run.ahead(("cat", str(said)))
    run.ahead(("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    run.forget()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    said.write_text("new")
    assert run(("cat", str(said))) == "new"


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    """What it was waiting for may come later, and must not be done then; nor may the converge wait for its end."""
    pid = tmp_path / "pid"
    run = Runner(timeout=0.5)
    started = time.monotonic()
    with pytest.raises(CommandError, match="no answer within 0 s"):
        run(("sh", "-c", f"echo $$ > {pid}; exec sleep 60"))
    assert time.monotonic() - started < 10
    assert not Path("/proc", pid.read_text().strip()).exists()
