# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

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


SHOWN = """\
Id=ssh.service
LoadState=loaded
ActiveState=active

Id=dnsmasq.service
LoadState=loaded
ActiveState=failed

Id=haproxy.service
LoadState=loaded
ActiveState=reloading

Id=absent.service
LoadState=not-found
ActiveState=inactive
"""


def test_active_asks_once_for_all_units() -> None:
    asked = []

    def run(argv: tuple[str, ...]) -> str:
        asked.append(argv)
        return SHOWN

    assert active(run, ["ssh", "dnsmasq", "haproxy", "absent"]) == {"ssh", "haproxy"}
    assert len(asked) == 1
    assert asked[0][-4:] == ("ssh.service", "dnsmasq.service", "haproxy.service", "absent.service")


def test_active_asks_nothing_about_no_units() -> None:
    def run(_argv: tuple[str, ...]) -> str:
        raise AssertionError("a process was started for nothing")

    assert active(run, []) == frozenset()
