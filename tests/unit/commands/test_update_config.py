# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""update_config.py and configure.py."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Router

LOG = "/var/log/cloudstack/converge.log"


def test_a_drop_is_taken_by_one_converge(router: Router) -> None:
    router.drop("vm_dhcp_entry.json.1")
    done = router.run("update_config.py", "vm_dhcp_entry.json.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "vm_dhcp_entry.json.1: firewall (0.50 s)\n"
    (call,) = router.calls()
    assert call["values"] == {"vr_drops": ["vm_dhcp_entry.json.1"], "vr_keep": True}
    playbook = "/usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router/playbooks/converge.yml"
    assert call["argv"][:5] == [str(router.path(playbook)), "-i", "localhost,", "-c", "local"]


def test_the_playbook_gets_a_clean_environment(router: Router) -> None:
    router.drop("a.json")
    router.run("update_config.py", "a.json", env={"PYTHONPATH": "/evil", "ANSIBLE_CONFIG": "/evil", "LD_DEBUG": ""})
    env = router.calls()[0]["env"]
    assert env["ANSIBLE_CONFIG"] == str(router.path("/etc/ansible/ansible.cfg"))
    assert "PYTHONPATH" not in env
    assert "LD_DEBUG" not in env
    assert "/nowhere" not in env["PATH"]


@pytest.mark.parametrize(("args", "keep"), [((), True), (("false",), False), (("true",), True)])
def test_the_second_argument_says_whether_the_drop_is_kept(router: Router, args: tuple[str], keep: bool) -> None:
    router.drop("a.json")
    assert router.run("update_config.py", "a.json", *args).returncode == 0
    assert router.calls()[0]["values"]["vr_keep"] is keep


NO_NAMES = ["../../etc/passwd", "a/b", "/var/cache/cloud/a.json", "..", ".hidden", "a..b", "", "-e", "a b", "a\nb"]
NO_NAMES += ["x" * 256, "{{ lookup('pipe', 'id') }}", "a;touch x", "$(id)", "`id`", "é.json", "a\t"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_no_plain_file_name_is_refused(router: Router, name: str) -> None:
    line = router.fails("update_config.py", name)
    assert "expected the plain name of a file in /var/cache/cloud" in line
    assert router.calls() == []


def test_an_unknown_name_is_one_line(router: Router) -> None:
    assert router.fails("update_config.py", "a.json.1") == "a.json.1: no such file in /var/cache/cloud"
    assert router.calls() == []


def test_a_name_that_was_processed_does_nothing(router: Router) -> None:
    router.put("/var/cache/cloud/processed/a.json.gz")
    done = router.run("update_config.py", "a.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert router.calls() == []


def test_a_processed_name_that_is_there_again_is_taken(router: Router) -> None:
    router.put("/var/cache/cloud/processed/cmd_line.json.gz")
    router.drop("cmd_line.json")
    assert router.run("update_config.py", "cmd_line.json").returncode == 0
    assert router.calls()[0]["values"]["vr_drops"] == ["cmd_line.json"]


@pytest.mark.parametrize("args", [(), ("a.json", "false", "more"), ("--check",)])
def test_a_wrong_number_of_arguments_is_one_line(router: Router, args: tuple[str, ...]) -> None:
    assert router.fails("update_config.py", *args).startswith("usage: ")


def test_the_reason_of_the_record_is_the_one_line_on_stderr(router: Router) -> None:
    router.drop("a.json")
    reason = "a.json: rules[0].port: expected 0 to 65535, got 70000"
    router.plan({"record": {"rc": 1, "reason": reason}, "output": "fatal: much more\nin several lines\n"})
    assert router.fails("update_config.py", "a.json") == reason


def test_a_reason_of_several_lines_becomes_one(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": {"rc": 1, "reason": "nft:\n\tno such\x1b[31m table\r\n"}})
    assert router.fails("update_config.py", "a.json") == "nft: no such?[31m table"


def test_a_playbook_that_dies_without_a_record_names_the_log(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": None, "status": 4, "output": "ERROR! password=hunter2\n"})
    line = router.fails("update_config.py", "a.json")
    assert line == f"a.json: the converge ended with status 4 and left no result, see {LOG}"


def test_without_a_record_the_failed_task_says_why(router: Router) -> None:
    """A full disk takes no record, and must be named all the same."""
    router.drop("a.json")
    fatal = 'fatal: [localhost]: FAILED! => {"changed": false, "msg": "[Errno 28] No space left on device"}\n'
    router.plan({"record": None, "status": 2, "output": fatal})
    line = router.fails("update_config.py", "a.json")
    said = "[Errno 28] No space left on device"
    assert line == f"a.json: the converge ended with status 2 and left no result ({said}), see {LOG}"


def test_the_record_of_an_earlier_run_does_not_count(router: Router) -> None:
    record = {"name": "a.json", "rc": 0, "changed": []}
    router.put("/var/lib/cloudstack/results/a.json.json", json.dumps(record))
    router.drop("a.json")
    router.plan({"record": None, "status": 0})
    assert "left no result" in router.fails("update_config.py", "a.json")


def test_a_playbook_that_fails_after_its_record_is_a_failure(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": {"rc": 0}, "status": 2})
    assert "ended with status 2 after its result was recorded" in router.fails("update_config.py", "a.json")


def test_a_converge_that_was_killed_is_finished_by_a_second_one(router: Router) -> None:
    """It may have been killed after its commit: to say that it failed would be a lie, and so would be silence."""
    router.drop("a.json")
    router.plan({"record": None, "signal": "KILL"})
    assert router.run("update_config.py", "a.json").stdout == "a.json: firewall (0.50 s)\n"
    assert len(router.calls()) == 2


def test_a_converge_that_is_killed_twice_is_a_failure(router: Router) -> None:
    router.drop("a.json")
    router.plan(*[{"record": None, "signal": "KILL"}] * 2)
    assert "the converge ended by signal 9 and left no result" in router.fails("update_config.py", "a.json")
    assert len(router.calls()) == 2


def test_a_converge_that_was_killed_after_its_record_has_taken_the_drop(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": {"rc": 0}, "signal": "KILL"})
    assert router.run("update_config.py", "a.json").returncode == 0
    assert len(router.calls()) == 1


def test_a_record_that_the_disk_did_not_take_is_found_in_memory(router: Router) -> None:
    """It is newer than the one on disk, which may be of an earlier drop of the name."""
    router.put("/var/lib/cloudstack/results/a.json.json", json.dumps({"name": "a.json", "rc": 0}))
    router.path("/run/cloudstack/results").mkdir(parents=True)
    refused = json.dumps({"name": "a.json", "rc": 1, "reason": "No space left on device"})
    router.drop("a.json")
    router.plan({"record": None, "status": 2, "write": {"/run/cloudstack/results/a.json.json": refused}})
    assert router.fails("update_config.py", "a.json") == "No space left on device"


def test_a_damaged_record_is_a_failure(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": None, "write": {"/var/lib/cloudstack/results/a.json.json": "{"}})
    assert "damaged result record" in router.fails("update_config.py", "a.json")


def test_pending_and_warnings_are_told(router: Router) -> None:
    router.drop("a.json")
    router.plan({"record": {"changed": [], "pending": ["eth3"], "warnings": ["a route\nis bad"]}})
    done = router.run("update_config.py", "a.json")
    assert done.stdout == "a.json: no change; pending: eth3; warning: a route is bad (0.50 s)\n"


def test_all_output_of_the_playbook_goes_to_the_log_which_only_root_reads(router: Router) -> None:
    for name in ("a.json", "b.json"):
        router.drop(name)
        router.run("update_config.py", name)
    log = router.path(LOG)
    assert log.stat().st_mode & 0o777 == 0o600
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("=== ")] == ["PLAY [routers]"] * 2
    assert " a.json " in lines[0]
    assert lines[0].endswith(" status 0")


def test_a_log_that_cannot_be_written_is_told_and_stops_nothing(router: Router) -> None:
    router.path(LOG).mkdir()
    router.drop("a.json")
    assert router.run("update_config.py", "a.json").returncode == 0
    router.drop("b.json")
    router.plan({"record": {"rc": 1, "reason": "b.json: bad"}})
    assert router.fails("update_config.py", "b.json") == "b.json: bad (log not written: Is a directory)"


def test_two_at_once_take_turns(router: Router) -> None:
    router.plan({"sleep": 0.4}, {"sleep": 0.4})
    start = time.monotonic()
    for name in ("a.json", "b.json"):
        router.drop(name)
    both = [router.start("update_config.py", name) for name in ("a.json", "b.json")]
    assert [process.wait(30) for process in both] == [0, 0]
    assert time.monotonic() - start > 0.8
    assert len(router.calls()) == 2
    for process in both:
        process.communicate()


def test_the_same_name_twice_at_once_is_taken_once(router: Router) -> None:
    router.drop("a.json")
    router.plan({"sleep": 0.3})
    both = [router.start("update_config.py", "a.json") for _number in range(2)]
    outputs = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # Whoever comes when it is done finds what is left of it.
    assert "a.json: firewall (0.50 s)\n" in outputs
    assert set(outputs) <= {"a.json: firewall (0.50 s)\n", "a.json: already processed\n"}
    assert len(router.calls()) == 1


def together(router: Router, *plans: dict[str, Any]) -> dict[str, tuple[int, str, str]]:
    """Send a first drop, and three more while it is being taken; return what each command came to."""
    names = [f"{letter}.json" for letter in "abcd"]
    for name in names:
        router.drop(name)
    router.plan({"sleep": 1.5}, *plans)
    first = router.start("update_config.py", names[0])
    while not router.calls():
        time.sleep(0.02)
    started = {names[0]: first, **{name: router.start("update_config.py", name) for name in names[1:]}}
    said = {name: process.communicate(timeout=60) for name, process in started.items()}
    return {name: (process.returncode, *said[name]) for name, process in started.items()}


def test_those_who_wait_are_taken_together(router: Router) -> None:
    answers = together(router, {"waiting": True})
    assert answers == {name: (0, f"{name}: firewall (0.50 s)\n", "") for name in answers}
    first, second = router.calls()
    assert "vr_waiting" not in first["values"]
    assert len(second["values"]["vr_waiting"]) == 2
    assert not list(router.path("/run/cloudstack/waiting").iterdir())


def test_a_failure_together_is_judged_alone(router: Router) -> None:
    """The one at fault hears why, the others succeed, and no two are taken together again."""
    nobody: dict[str, Any] = {"record": None, "status": 2}
    answers = together(router, nobody, {}, {"record": {"rc": 1, "reason": "bad"}}, {})
    assert sorted(answer[0] for answer in answers.values()) == [0, 0, 0, 1]
    assert [answer[2] for answer in answers.values() if answer[0]] == ["bad\n"]
    assert ["vr_waiting" in call["values"] for call in router.calls()] == [False, True, False, False, False]


def test_who_waited_and_was_killed_is_not_taken_along(router: Router) -> None:
    router.drop("a.json")
    router.drop("dead.json")
    left = router.put("/run/cloudstack/waiting/99999", '["dead.json", true]')
    assert router.run("update_config.py", "a.json").returncode == 0
    assert "vr_waiting" not in router.calls()[0]["values"]
    assert not left.exists()


def test_drops_that_are_not_kept_are_not_taken_with_those_that_are(router: Router) -> None:
    router.drop("a.json")
    waiting = router.put("/run/cloudstack/waiting/1", '["b.json", false]')
    with waiting.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert router.run("update_config.py", "a.json").returncode == 0
    assert "vr_waiting" not in router.calls()[0]["values"]


def test_check_prints_the_diff_and_leaves_the_drop(router: Router) -> None:
    drop = router.drop("a.json")
    diff = "--- before: /etc/hosts\n+++ after: /etc/hosts\n@@ -1 +1 @@\n-old\n+new\n\n"
    router.plan(
        {"output": f"PLAY [x] ***\n\nTASK [plan] ***\n{diff}changed: [localhost]\n\nPLAY RECAP ***\nlocalhost : ok=1\n"}
    )
    done = router.run("update_config.py", "--check", "--diff", "a.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == diff.rstrip("\n") + "\n"
    assert router.calls()[0]["argv"][5:7] == ["--check", "--diff"]
    assert drop.exists()
    assert not router.path(LOG).exists()


def test_check_without_a_diff_says_so(router: Router) -> None:
    router.drop("a.json")
    assert router.run("update_config.py", "--check", "--diff", "a.json").stdout == "no change\n"


def test_check_of_a_bad_drop_is_one_line(router: Router) -> None:
    router.drop("a.json")
    message = json.dumps({"changed": False, "msg": "a.json: type: expected a known type, got 3"})
    router.plan({"output": f"TASK [plan]\nfatal: [localhost]: FAILED! => {message}\n", "status": 2})
    line = router.fails("update_config.py", "--check", "--diff", "a.json")
    assert line == "a.json: type: expected a known type, got 3"


def test_configure_converges_without_a_drop(router: Router) -> None:
    done = router.run("configure.py", "monitor_service.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "converge: firewall (0.50 s)\n", "")
    assert router.calls()[0]["values"] == {"vr_drops": [], "vr_keep": True}


def test_configure_reports_the_reason(router: Router) -> None:
    router.plan({"record": {"rc": 1, "reason": "haproxy: refused"}})
    assert router.fails("configure.py", "monitor_service.json") == "haproxy: refused"


def test_configure_refuses_what_is_no_plain_name(router: Router) -> None:
    assert "expected the plain name" in router.fails("configure.py", "../x")
    assert router.calls() == []


def test_killing_the_command_does_not_stop_the_converge(router: Router) -> None:
    drop = router.drop("a.json")
    router.plan({"sleep": 0.5})
    running = router.start("update_config.py", "a.json")
    while not router.calls():
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert drop.exists()
    # The lock went with the command; the store's lease is what the next converge really waits for.
    record = router.path("/var/lib/cloudstack/results/a.json.json")
    end = time.monotonic() + 20
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert json.loads(record.read_text())["rc"] == 0
    assert not drop.exists()


def test_a_converge_that_does_not_end_is_ended_and_told(router: Router) -> None:
    module = router.library("command")
    text = module.read_text()
    assert text.count("LIMIT = 590.0") == 1
    module.write_text(text.replace("LIMIT = 590.0", "LIMIT = 1.0"))
    drop = router.drop("a.json")
    router.plan({"sleep": 60, "output": "TASK [wait]\n"})
    line = router.fails("update_config.py", "a.json")
    assert line == f"a.json: the converge was ended after 1 s and left no result, see {LOG}"
    assert drop.exists()
    assert "TASK [wait]" in router.path(LOG).read_text()


def test_an_operator_who_has_had_enough_ends_the_converge(router: Router) -> None:
    """Ctrl-C reaches the command only: the playbook is in a session of its own, and must not go on alone."""
    router.drop("a.json")
    router.plan({"sleep": 50})
    process = router.start("update_config.py", "a.json")
    pattern = f"^/usr/bin/python3 -IS {router.path('/opt/cloudstack/venv/bin/ansible-playbook')} "

    def is_there() -> bool:
        return subprocess.run(["pgrep", "-f", pattern], check=False, capture_output=True).returncode == 0

    end = time.monotonic() + 30
    while not router.calls():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert is_there()
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == f"a.json: the converge was interrupted and left no result, see {LOG}\n"
    assert not is_there()


def test_waiting_for_a_turn_ends_too(router: Router) -> None:
    router.drop("a.json")
    router.plan({"sleep": 4})
    running = router.start("update_config.py", "a.json")
    while not router.calls():
        time.sleep(0.02)
    module = router.library("command")
    module.write_text(module.read_text().replace("LIMIT = 590.0", "LIMIT = 1.0"))
    assert router.fails("update_config.py", "a.json") == "another converge did not finish within 1 s"
    running.communicate()
    assert running.returncode == 0
