# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import (
    Live,
    LiveFile,
    compare,
    together,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    File,
    IpBatch,
    Run,
    SetKnob,
    Unit,
    Wanted,
    WriteFile,
)

HOSTS = File("/etc/hosts.d", "hosts\n", effect=Effect.RELOAD)
OPTIONS = File("/etc/options", "options\n", effect=Effect.RELOAD)
CONFIG = File("/etc/conf", "config\n", 0o600, effect=Effect.RESTART)
NAME = File("/etc/name", "name\n")
ALL = (HOSTS, OPTIONS, CONFIG, NAME)
DAEMON = Unit("daemon", reload=("daemonctl", "reread"))


def live(*changed: File, active: bool = True, knobs: dict[str, str] | None = None) -> Live:
    """Return what is there: all files as wanted, but for those that changed."""
    files = {f.path: LiveFile("old\n" if f in changed else f.content, f.mode) for f in ALL}
    return Live(files, knobs or {}, frozenset({"daemon"} if active else ()))


def actions(*changed: File, active: bool = True, unit: Unit = DAEMON) -> list[tuple[str, ...]]:
    """Return the commands for the unit, having made sure that exactly the changed files are written first."""
    steps = compare(Wanted(ALL, units=(unit,)), live(*changed, active=active))
    writes = [step.file for step in steps if isinstance(step, WriteFile)]
    assert writes == [file for file in ALL if file in changed]
    assert steps[: len(writes)] == [WriteFile(file, "old\n") for file in writes], "files first"
    return [step.argv for step in steps if isinstance(step, Run)]


RESTART = ("systemctl", "restart", "daemon.service")


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ((), []),
        ((NAME,), []),
        ((HOSTS,), [("daemonctl", "reread")]),
        ((HOSTS, OPTIONS, NAME), [("daemonctl", "reread")]),
        ((CONFIG,), [RESTART]),
        ((HOSTS, OPTIONS, CONFIG), [RESTART]),
    ],
)
def test_compare_touches_the_unit_once_as_gently_as_it_can(
    changed: tuple[File, ...], wanted: list[tuple[str, ...]]
) -> None:
    """Nothing changed, nothing is signalled; several changes are one reload; a restart has read everything."""
    assert actions(*changed) == wanted


def test_compare_reloads_by_systemd_without_a_command_of_its_own() -> None:
    assert actions(HOSTS, unit=Unit("daemon")) == [("systemctl", "reload", "daemon.service")]


@pytest.mark.parametrize("changed", [(), (HOSTS,), (CONFIG,)])
def test_compare_starts_a_stopped_unit(changed: tuple[File, ...]) -> None:
    """It reads its files when it starts."""
    assert actions(*changed, active=False) == [("systemctl", "start", "daemon.service")]


@pytest.mark.parametrize(("active", "wanted"), [(True, [("systemctl", "stop", "daemon.service")]), (False, [])])
def test_compare_stops_an_unwanted_unit(active: bool, wanted: list[tuple[str, ...]]) -> None:
    assert actions(CONFIG, active=active, unit=Unit("daemon", running=False)) == wanted


def test_compare_writes_a_missing_file_and_one_with_a_wrong_mode() -> None:
    present = Live({CONFIG.path: LiveFile(CONFIG.content, 0o644)}, {}, frozenset())
    assert compare(Wanted((NAME, CONFIG)), present) == [WriteFile(NAME, None), WriteFile(CONFIG, CONFIG.content)]


@pytest.mark.parametrize(
    ("now", "wanted", "steps"),
    [
        ("0", "0", 0),
        ("1", "0", 1),
        ("00000000,00000003", "3", 0),
        ("ff,ffffffff", "ffffffffff", 0),
        ("00000000,00000001", "3", 1),
    ],
)
def test_compare_sets_kernel_settings_that_differ(now: str, wanted: str, steps: int) -> None:
    """CPU masks are printed with commas and leading zeros."""
    found = compare(Wanted(knobs=(("/proc/x", wanted),)), Live({}, {"/proc/x": now}, frozenset()))
    assert found == [SetKnob("/proc/x", wanted, now)] * steps


def test_compare_leaves_settings_out_that_the_kernel_does_not_have() -> None:
    assert compare(Wanted(knobs=(("/proc/absent", "1"),)), Live({}, {}, frozenset())) == []


def test_write_file_does_not_show_secrets() -> None:
    """Neither side of the diff (M2)."""
    step = WriteFile(File("/etc/key", "s3cret", secret=True), "0ld")
    assert "s3cret" not in step.after + step.summary
    assert "0ld" not in step.before
    assert WriteFile(NAME, "old\n").before == "old\n"
    assert WriteFile(NAME, None).before == ""


def test_together_asks_systemctl_once_for_each_verb() -> None:
    """Twelve tiers start at once; what must stop does so before its files go."""
    write = WriteFile(File("/etc/x", ""), None)
    steps = [
        *(Run(("systemctl", "start", f"{name}.service"), "") for name in "ab"),
        write,
        Run(("systemctl", "stop", "c.service"), ""),
    ]
    assert together(steps) == [
        Run(("systemctl", "stop", "c.service"), "stop c"),
        write,
        Run(("systemctl", "start", "a.service", "b.service"), "start a, b"),
    ]


def test_a_diff_of_links_addresses_routes_and_rules_has_two_sides() -> None:
    """A removed route is on the left side, not an added line that says so."""
    lines = (
        "rule del from 192.0.2.0/24 lookup 102 priority 1102",
        "route del 10.9.0.0/16 via 10.1.1.1 dev eth0 table 254",
        "addr del 10.1.1.9/24 dev eth0",
        "link set dev eth2 mtu 1450",
        "link set dev eth2 up",
        "link set dev eth3 down",
        "addr add 10.1.1.8/24 brd + dev eth0",
        "route replace default via 192.0.2.1 dev eth2 table 254 proto static",
        "rule add fwmark 102 lookup 102 priority 1102",
    )
    step = IpBatch(lines, foreign=("10.9.0.0/16 via 10.1.1.1",))
    assert step.before.splitlines() == [
        "rule from 192.0.2.0/24 lookup 102 priority 1102",
        "route 10.9.0.0/16 via 10.1.1.1 dev eth0 table 254",
        "addr 10.1.1.9/24 dev eth0",
        "link dev eth2 down",
        "link dev eth3 up",
    ]
    assert step.after.splitlines() == [
        "link dev eth2 mtu 1450",
        "link dev eth2 up",
        "link dev eth3 down",
        "addr 10.1.1.8/24 brd + dev eth0",
        "route default via 192.0.2.1 dev eth2 table 254 proto static",
        "rule fwmark 102 lookup 102 priority 1102",
    ]
