# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr_cfg.sh."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router


NAME = "VR-ac5f4082-553f-4634-a813-8871d035ef65.cfg"
PATH = f"/var/cache/cloud/{NAME}"
HEAD = "#Apache CloudStack Virtual Router Config File\n<version>\n1.0\n</version>\n"
DROP = '<file>\n/var/cache/cloud/a.json.1\n{"x":  "* ?"}\n</file>\n'


def script(line: str) -> str:
    return f"<script>\n{line}\n</script>\n"


UPDATE = script("/opt/cloud/bin/update_config.py a.json.1")
CONFIGURE = script("/opt/cloud/bin/configure.py monitor_service.json")


def command(router: Router, name: str, body: str = "exit 0") -> None:
    """Add a command that notes its arguments in said.txt, then does what body says."""
    log = router.path("/said.txt")
    router.put(f"/opt/cloud/bin/{name}", f'#!/bin/sh\nprintf "%s|" {name} "$@" >>{log}\necho >>{log}\n{body}\n', 0o755)


def said(router: Router) -> list[str]:
    file = router.path("/said.txt")
    return file.read_text().splitlines() if file.exists() else []


def test_a_whole_aggregate_is_one_converge(router: Router) -> None:
    router.drop(NAME, HEAD + DROP + UPDATE + DROP.replace("a.json.1", "b.json.1") + CONFIGURE)
    done = router.run("vr_cfg.sh", "-c", PATH)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{NAME}: firewall (0.50 s)\n", "")
    assert [call["values"] for call in router.calls()] == [{"vr_drops": [], "vr_keep": True, "vr_aggregate": PATH}]


def test_other_commands_run_after_the_converge_in_order_without_a_shell(router: Router) -> None:
    command(router, "one.sh")
    command(router, "two.sh")
    lines = script("/opt/cloud/bin/two.sh null * $(id)") + UPDATE + script("/opt/cloud/bin/one.sh")
    router.drop(NAME, HEAD + DROP + lines)
    assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0
    assert said(router) == ["two.sh|null|*|$(id)|", "one.sh|"]
    assert len(router.calls()) == 1


def test_the_aggregate_of_a_restart_with_cleanup_succeeds_on_a_single_router(router: Router) -> None:
    router.drop(NAME, HEAD + script("/opt/cloud/bin/bumpup_priority.sh null"))
    assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0


def test_the_first_failing_command_is_named_and_ends_the_rest(router: Router) -> None:
    command(router, "good.sh")
    command(router, "bad.sh", "echo working; echo first >&2; echo 'no  power' >&2; exit 3")
    lines = "".join(script(f"/opt/cloud/bin/{name}.sh") for name in ("good", "bad x", "good"))
    router.drop(NAME, HEAD + DROP + UPDATE + lines.replace("bad x.sh", "bad.sh x"))
    assert router.fails("vr_cfg.sh", "-c", PATH) == "step 4: bad.sh x: exit status 3: no power"
    assert said(router) == ["good.sh|", "bad.sh|x|"]


def test_a_failing_drop_is_named_and_no_command_runs(router: Router) -> None:
    command(router, "one.sh")
    router.drop(NAME, HEAD + DROP + UPDATE + script("/opt/cloud/bin/one.sh"))
    reason = f"{NAME}: step 2: a.json.1: type: expected text, got nothing"
    router.plan({"record": {"rc": 1, "reason": reason}})
    assert router.fails("vr_cfg.sh", "-c", PATH) == reason
    assert said(router) == []


@pytest.mark.parametrize("name", ["absent.sh", "plain.sh", "setup", "vr-boot", "vr-alert"])
def test_a_command_that_is_not_there_or_not_executable_fails_its_step(router: Router, name: str) -> None:
    router.put("/opt/cloud/bin/plain.sh", "#!/bin/sh\n", 0o644)
    router.path("/opt/cloud/bin/vr-alert").symlink_to("../libexec/vr-alert")  # as an upgrade leaves it
    router.drop(NAME, HEAD + script(f"/opt/cloud/bin/{name}"))
    assert router.fails("vr_cfg.sh", "-c", PATH) == f"step 1: {name}: expected a command in /opt/cloud/bin"


@pytest.mark.parametrize("line", ["/bin/sh -c id", "/opt/cloud/bin/../../../bin/sh", "id", "/opt/cloud/bin/x/y", ""])
def test_a_command_from_elsewhere_fails(router: Router, line: str) -> None:
    router.drop(NAME, HEAD + script(line))
    assert "step 1: expected a command in /opt/cloud/bin" in router.fails("vr_cfg.sh", "-c", PATH)


def test_a_damaged_aggregate_goes_through_the_converge_which_sets_it_aside(router: Router) -> None:
    router.drop(NAME, "garbage")
    router.plan({"record": {"rc": 1, "reason": f"{NAME}: head: expected a comment line, got another first line"}})
    assert "expected a comment line" in router.fails("vr_cfg.sh", "-c", PATH)
    assert len(router.calls()) == 1


def test_a_damaged_aggregate_is_a_failure_whatever_the_converge_says(router: Router) -> None:
    router.drop(NAME, HEAD + "<script>\n")
    assert f"{NAME}: step 1: expected" in router.fails("vr_cfg.sh", "-c", PATH)


@pytest.mark.parametrize(
    "args", [(), ("-c",), (PATH,), ("-x", PATH), ("-c", PATH, "more"), ("-c", NAME), ("-c", f"/tmp/{NAME}")]
)
def test_wrong_arguments_are_one_line(router: Router, args: tuple[str, ...]) -> None:
    router.drop(NAME, HEAD)
    router.fails("vr_cfg.sh", *args)
    assert router.calls() == []


@pytest.mark.parametrize("name", ["../x.cfg", "a/../x.cfg", "{{x}}.cfg", ".cfg"])
def test_a_path_outside_of_the_inbox_is_refused(router: Router, name: str) -> None:
    router.fails("vr_cfg.sh", "-c", f"/var/cache/cloud/{name}")
    assert router.calls() == []


def test_an_unknown_aggregate_is_one_line_and_a_processed_one_nothing(router: Router) -> None:
    assert router.fails("vr_cfg.sh", "-c", PATH) == f"{NAME}: no such file in /var/cache/cloud"
    router.put(f"/var/cache/cloud/processed/{NAME}.gz")
    assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0
    assert router.calls() == []


LEFT = f"/var/lib/cloudstack/commands/{NAME}.json"


def test_a_command_that_failed_runs_when_the_aggregate_is_asked_for_again(router: Router) -> None:
    """It was archived by its converge, and is no longer in the inbox; what has succeeded does not run again."""
    command(router, "good.sh")
    command(router, "bad.sh", "exit 3")
    lines = "".join(script(f"/opt/cloud/bin/{name}.sh") for name in ("good", "bad", "good"))
    router.drop(NAME, HEAD + DROP + UPDATE + lines)
    for _again in range(2):
        assert router.fails("vr_cfg.sh", "-c", PATH) == "step 4: bad.sh: exit status 3: no output"
    assert said(router) == ["good.sh|", "bad.sh|", "bad.sh|"]
    assert router.path(LEFT).stat().st_mode & 0o777 == 0o600
    command(router, "bad.sh")
    for _again in range(2):
        done = router.run("vr_cfg.sh", "-c", PATH)
        assert (done.returncode, done.stdout) == (0, f"{NAME}: already processed\n")
    assert said(router)[3:] == ["bad.sh|", "good.sh|"]
    assert len(router.calls()) == 1
    assert not router.path(LEFT).exists()


def test_commands_run_after_a_kill_between_them_and_their_converge(router: Router) -> None:
    command(router, "slow.sh", "sleep 5")
    router.drop(NAME, HEAD + DROP + UPDATE + script("/opt/cloud/bin/slow.sh null"))
    running = router.start("vr_cfg.sh", "-c", PATH)
    while not said(router):
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    command(router, "slow.sh")
    assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0
    assert said(router) == ["slow.sh|null|"] * 2


def test_an_aggregate_that_is_sent_again_as_a_file_is_taken_as_a_whole(router: Router) -> None:
    command(router, "one.sh")
    for _again in range(2):
        router.drop(NAME, HEAD + DROP + UPDATE + script("/opt/cloud/bin/one.sh"))
        assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0
    assert said(router) == ["one.sh|"] * 2
    assert len(router.calls()) == 2


def test_nothing_is_left_of_an_aggregate_that_was_refused(router: Router) -> None:
    command(router, "one.sh")
    router.drop(NAME, HEAD + DROP + UPDATE + script("/opt/cloud/bin/one.sh"))
    router.plan({"record": {"rc": 1, "reason": "disk full"}})
    router.fails("vr_cfg.sh", "-c", PATH)
    assert not router.path(LEFT).exists()


def test_an_aggregate_without_commands_writes_nothing(router: Router) -> None:
    router.drop(NAME, HEAD + DROP + UPDATE)
    assert router.run("vr_cfg.sh", "-c", PATH).returncode == 0
    assert not router.path("/var/lib/cloudstack/commands").exists()


def test_what_is_left_is_bounded(router: Router) -> None:
    command(router, "bad.sh", "exit 3")
    for number in range(25):
        name = f"VR-{number}.cfg"
        router.drop(name, HEAD + script("/opt/cloud/bin/bad.sh"))
        router.fails("vr_cfg.sh", "-c", f"/var/cache/cloud/{name}")
    kept = {path.name for path in router.path("/var/lib/cloudstack/commands").iterdir()}
    assert kept == {f"VR-{number}.cfg.json" for number in range(5, 25)}
