# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import converge, execute, generation
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import tables as live_tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import (
    CHECKS,
    HANDLERS,
    firewall,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import system as system_service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import dhcp_dns
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live, compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.conntrack import CutFlows
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.table_text import Change
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    IpBatch,
    LoadRuleset,
    ReleaseLease,
    Run,
    SetKnob,
    SetRootPassword,
    Step,
    Unit,
    Wanted,
    WriteFile,
)
from tests.golden.cases import renderer
from tests.unit.plan.samples import isolated


@dataclass
class Commands:
    """Stand in for a Runner: remember what is run, answer by the first words, and refuse what is told to fail.

    `failing` is by the first words, with `status`, `refused` by what is fed in: the exit status.
    """

    answers: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    run: list[tuple[str, str | None]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    count: int = 0
    status: int = 1

    def __call__(self, argv: Sequence[str], stdin: str | None = None, check: bool = True) -> str:
        line = " ".join(argv)
        self.run.append((line, stdin))
        for start, said in self.failing.items():
            if line.startswith(start):
                raise CommandError(argv, self.status, said)
        if stdin in self.refused:
            raise CommandError(argv, self.refused[stdin], "refused")
        return next((said for start, said in self.answers.items() if line.startswith(start)), "")

    def forget(self) -> None:
        """Have nothing to forget: nothing was started ahead."""

    def log(self, line: str) -> None:
        """Remember a line of the log."""
        self.logged.append(line)

    @property
    def lines(self) -> list[str]:
        """Return the commands without what was fed to them."""
        return [line for line, _stdin in self.run]


def system(commands: Commands) -> Host:
    """Return a system that runs nothing."""
    stand_in: Any = commands
    return Host(renderer(), stand_in)


LOAD = LoadRuleset("cloudstack", "table inet cloudstack {\n}\n", None, "test", "delete counter x\n")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the digests of rulesets, and the kernel's count of transactions, in a directory of the test."""
    monkeypatch.setattr(tables, "DIRECTORY", str(tmp_path / "nftables"))
    monkeypatch.setattr(generation, "MARK", str(tmp_path / "generation"))
    monkeypatch.setattr(generation, "current", lambda: 1)


def test_check_asks_the_daemons_and_changes_nothing(tmp_path: Path) -> None:
    """The candidate is beside the file while it is judged, and gone afterwards."""
    commands = Commands()
    target = tmp_path / "dnsmasq.conf"
    file = File(str(target), "text", checker=("dnsmasq", "--test", "--conf-file={}"), effect=Effect.RESTART)
    execute.check([LOAD, WriteFile(file, None), Run(("reboot",), "never run by a check")], system(commands), CHECKS)
    assert commands.run == [(f"dnsmasq --test --conf-file={target}.new", None)]
    assert list(tmp_path.iterdir()) == []


def test_check_passes_a_refusal_on(tmp_path: Path) -> None:
    """With the daemon's own words, and without leaving the candidate (B11)."""
    file = File(str(tmp_path / "dnsmasq.conf"), "text", checker=("dnsmasq", "--test", "{}"))
    with pytest.raises(CommandError, match="bad option at line 3"):
        execute.check(
            [LOAD, WriteFile(file, None)], system(Commands(failing={"dnsmasq": "bad option at line 3"})), CHECKS
        )
    assert list(tmp_path.iterdir()) == []


def test_apply_carries_the_steps_out_in_order(tmp_path: Path) -> None:
    commands = Commands()
    knob = tmp_path / "knob"
    knob.write_text("0")
    steps: list[Step] = [
        SetKnob(str(knob), "1", "0"),
        IpBatch(("link set dev eth0 up", "addr add 10.1.1.1/24 dev eth0")),
        WriteFile(File(str(tmp_path / "file"), "text"), None),
        Run(("systemctl", "start", "dnsmasq.service"), "start dnsmasq"),
    ]
    execute.apply(steps, system(commands), HANDLERS)
    assert commands.run == [
        ("ip -batch -", "link set dev eth0 up\naddr add 10.1.1.1/24 dev eth0\n"),
        ("systemctl start dnsmasq.service", None),
    ]
    assert (knob.read_text(), (tmp_path / "file").read_text()) == ("1", "text")
    assert "ip link set dev eth0 up" in commands.logged, "as an operator would type it"


def test_apply_ends_at_the_first_failure(tmp_path: Path) -> None:
    """What follows is not done: the way back starts from there."""
    commands = Commands(failing={"ip": "RTNETLINK answers: File exists"})
    steps: list[Step] = [
        Run(("first",), "first"),
        IpBatch(("addr add 10.1.1.1/24 dev eth0",)),
        WriteFile(File(str(tmp_path / "file"), "text"), None),
    ]
    with pytest.raises(CommandError, match="File exists"):
        execute.apply(steps, system(commands), HANDLERS)
    assert commands.lines == ["first", "ip -batch -"]
    assert not (tmp_path / "file").exists()


LISTED = "table inet cloudstack {\n}\n"


def test_apply_remembers_what_the_kernel_made_of_a_ruleset() -> None:
    """Text and listing both count, so that each kind of drift is seen (B3)."""
    commands = Commands(answers={"nft --stateless list": LISTED})
    execute.apply([LOAD], system(commands), HANDLERS)
    assert commands.run[0] == ("nft --file -", LOAD.text + LOAD.cleanup)
    assert live_tables.remembered("cloudstack") == {
        "loaded_digest": tables.digest(LOAD.text),
        "listed_digest": tables.listed_digest(LISTED),
    }


CHANGE = replace(LOAD, cleanup="", change=Change("fill\n", "switch\n"))


def fed(commands: Commands) -> list[str | None]:
    """Return what nft was given to load, in order."""
    return [stdin for line, stdin in commands.run if line == "nft --file -"]


@pytest.mark.parametrize("fill", ["fill\n", ""])
def test_apply_changes_a_ruleset_in_two_steps_at_most(fill: str) -> None:
    """Sets that are new are filled first; then one transaction decides."""
    commands = Commands(answers={"nft --stateless list": LISTED})
    execute.apply([replace(CHANGE, change=Change(fill, "switch\n"))], system(commands), HANDLERS)
    assert fed(commands) == [*([fill] if fill else []), "switch\n"]
    assert live_tables.remembered("cloudstack")["loaded_digest"] == tables.digest(LOAD.text)


def test_apply_loads_the_whole_of_a_ruleset_that_cannot_be_changed() -> None:
    """The kernel refuses the change, or has something else afterwards; a whole load does not ask what was there."""
    refusing = Commands(answers={"nft --stateless list": LISTED}, refused={"switch\n": 1})
    execute.apply([CHANGE], system(refusing), HANDLERS)
    assert fed(refusing) == ["fill\n", "switch\n", LOAD.text]
    assert "could not be changed, load it as a whole: nft --file -: exit status 1" in refusing.logged[0]
    wrong = Commands(answers={"nft --stateless list": LISTED.replace("}", "\tset x {\n\t\telements = { 1 }\n\t}\n}")})
    with pytest.raises(tables.TableError, match="set x: loaded 0 rules or elements, found 1"):
        execute.apply([CHANGE], system(wrong), HANDLERS)
    assert fed(wrong) == ["fill\n", "switch\n", LOAD.text]


@pytest.mark.parametrize(("step", "refused"), [(LOAD, 1), (CHANGE, -1)])
def test_apply_does_not_try_again_what_is_no_refusal_of_a_change(step: LoadRuleset, refused: int) -> None:
    """A whole load that is refused is the fault of the rules, and a nft without an answer would give none again."""
    first = step.text + step.cleanup if step.change is None else step.change.fill
    commands = Commands(refused={first: refused})
    with pytest.raises(CommandError):
        execute.apply([step], system(commands), HANDLERS)
    assert fed(commands) == [first]


def test_a_ruleset_is_saved_after_nft_has_taken_it() -> None:
    """What the boot unit loads is never a text that nft refuses."""
    commands = Commands(failing={"nft --stateless list": "No such file or directory"})
    steps = firewall.plan(system(commands), isolated(), isolated())
    assert [type(step) for step in steps] == [LoadRuleset, LoadRuleset, WriteFile, WriteFile]


@pytest.mark.parametrize("damage", ["", "{", json.dumps({"other": 1})])
def test_a_damaged_memory_is_no_memory(damage: str) -> None:
    path = live_tables.digest_file("cloudstack")
    path.parent.mkdir()
    path.write_text(damage)
    assert live_tables.remembered("cloudstack") == {"loaded_digest": "", "listed_digest": ""}


def test_apply_waits_until_a_released_lease_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = tmp_path / "dnsmasq.leases"
    leases.write_text("0 02:01:00:00:00:0c 10.1.1.12 * *\n")
    monkeypatch.setattr(dhcp_dns, "LEASE_DIRECTORY", str(tmp_path))
    commands = Commands()
    execute.apply([ReleaseLease("10.1.1.11", "02:01:00:00:00:0b")], system(commands), HANDLERS)
    assert len(commands.lines) == 1
    assert commands.lines[0].endswith("DeleteDhcpLease s 10.1.1.11")


def test_apply_does_not_log_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is fed in, and only its digest is kept (M2)."""
    mark = tmp_path / "mark"
    monkeypatch.setattr(system_service.system, "PASSWORD_MARK", str(mark))
    commands = Commands()
    execute.apply([SetRootPassword("s3cret")], system(commands), HANDLERS)
    assert commands.run == [("chpasswd", "root:s3cret\n")]
    assert "s3cret" not in mark.read_text() + "".join(commands.logged)


@dataclass
class Planned:
    """Stand in for a service: each call of plan returns the next list of steps."""

    plans: list[list[Step]]
    calls: int = 0

    def __call__(self, _system: Host, _router: Router, _committed: Router) -> list[Step]:
        self.calls += 1
        return self.plans[self.calls - 1]


def run_service(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, *plans: list[Step]
) -> tuple[tuple[Step, ...], list[str]]:
    """Converge a service that plans these steps; return its steps and phases. All of its plans must be asked for."""
    service, router = Planned(list(plans)), system(commands)
    monkeypatch.setitem(converge.SERVICES, "sample", Service(service))
    steps = converge.converge("sample", router, isolated(), isolated())
    assert service.calls == len(plans)
    return steps, list(router.phases)


START = Run(("systemctl", "start", "sample.service"), "start sample")


def test_converge_does_nothing_without_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands()
    assert run_service(monkeypatch, commands, []) == ((), ["sample.plan"])
    assert commands.run == []


def test_converge_plans_checks_applies_and_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(answers={"nft --stateless list": LISTED})
    steps, phases = run_service(monkeypatch, commands, [LOAD, START], [])
    assert steps == (LOAD, START)
    assert phases == ["sample.plan", "sample.check", "sample.apply", "sample.verify"]
    assert commands.lines[0] == "nft --file -"
    assert commands.lines.index("nft --file -") < commands.lines.index("systemctl start sample.service")


def test_converge_applies_nothing_that_was_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused = WriteFile(File(str(tmp_path / "conf"), "", checker=("daemon", "--test")), None)
    commands = Commands(failing={"daemon --test": "syntax error"})
    with pytest.raises(CommandError, match="syntax error"):
        run_service(monkeypatch, commands, [START, refused])
    assert commands.lines == ["daemon --test"]


def test_converge_fails_when_the_router_is_not_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was applied is read back (B3)."""
    with pytest.raises(converge.VerifyError, match="sample: not as planned after it was applied: start sample"):
        run_service(monkeypatch, Commands(), [START], [START])


def test_converge_does_not_wait_for_steps_that_are_never_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which flows were cut cannot be read back."""
    monkeypatch.setitem(HANDLERS, CutFlows, lambda _step, _host: None)
    flow: list[Step] = [CutFlows((isolated(),), isolated())]
    steps, _phases = run_service(monkeypatch, Commands(), flow, flow)
    assert steps == tuple(flow)


def test_every_kind_of_step_has_an_action() -> None:
    """A step without an action would fail on the router only."""
    steps = {step.__name__ for step in Step.__subclasses__()}
    assert {"IpBatch", "LoadRuleset", "CutFlows"} <= steps
    assert steps == {step.__name__ for step in HANDLERS}


@pytest.mark.parametrize("refuses", ["vtysh", "frr-reload"])
def test_a_refusal_that_repeats_the_line_shows_no_password(tmp_path: Path, refuses: str) -> None:
    """vtysh and frr-reload say which line they do not take."""
    said = "line 9: % Unknown command: neighbor 192.0.2.2 password c4nary!long"
    path, hidden = str(tmp_path / "frr.conf"), ("c4nary", "c4nary!long")
    file = File(path, "text", checker=("vtysh", "{}"), effect=Effect.RELOAD, hidden=hidden)
    wanted = Wanted((file,), units=(Unit("frr", reload=("frr-reload", path)),))
    steps = compare(wanted, Live({}, {}, frozenset({"frr"})))
    commands = system(Commands(failing={refuses: said}))
    carry_out, how = (execute.check, CHECKS) if refuses == "vtysh" else (execute.apply, HANDLERS)
    with pytest.raises(CommandError, match=r"line 9.* password …$") as refusal:
        carry_out(steps, commands, how)
    assert "c4nary" not in "".join(format_exception(refusal.value)) + repr(steps)
