# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import system
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Effect,
    RemoveFile,
    Run,
    SetRootPassword,
    WriteFile,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.system import Given
from tests.golden.cases import renderer
from tests.unit.plan.samples import CONTROL, GUEST, PUBLIC, isolated, with_settings

RENDER = renderer()
SSHD = "/etc/ssh/sshd_config.d/cloudstack.conf"


def content(router: Router, path: str, given: Given | None = None) -> str:
    """Return a wanted file."""
    (found,) = (f.content for f in system.wanted(router, RENDER, given or Given()).files if f.path == path)
    return found


def test_wanted_lets_sshd_listen_on_the_control_address_only() -> None:
    lines = content(isolated(), SSHD).splitlines()
    assert [line for line in lines if line.startswith("ListenAddress")] == ["ListenAddress 169.254.3.101"]


def test_wanted_stops_sshd_without_a_control_address() -> None:
    """Without an address it would listen on all of them, the public ones too (F14)."""
    bare = isolated(GUEST, PUBLIC)
    assert "ListenAddress" not in content(bare, SSHD)
    assert [unit.running for unit in system.wanted(bare, RENDER, Given()).units] == [False]
    assert [unit.running for unit in system.wanted(isolated(), RENDER, Given()).units] == [True]


def test_wanted_reloads_sshd_for_its_own_file_only() -> None:
    effects = {f.path: f.effect for f in system.wanted(isolated(), RENDER, Given()).files}
    assert [path for path, effect in effects.items() if effect is not Effect.NONE] == [SSHD]


def test_wanted_keeps_each_key_once() -> None:
    """Those of the boot arguments and those that the hypervisor's agent has left."""
    router = with_settings(isolated(), ssh_keys=("a", "b"))
    path = "/root/.ssh/authorized_keys"
    assert content(router, path, Given(ssh_keys=("b", "c"))) == "a\nb\nc\n"
    assert [f.mode for f in system.wanted(router, RENDER, Given()).files if f.path == path] == [0o600]


def test_wanted_names_the_host() -> None:
    router = isolated()
    assert content(router, "/etc/hostname") == "r-1-VM\n"
    assert "10.1.1.1        r-1-VM" in content(router, "/etc/hosts").splitlines()
    assert "127.0.1.1       r-1-VM" in content(isolated(CONTROL), "/etc/hosts").splitlines()
    assert ("/proc/sys/kernel/hostname", "r-1-VM") in system.wanted(router, RENDER, Given()).knobs


def test_wanted_resolves_by_the_given_servers() -> None:
    router = with_settings(isolated(), resolvers=("203.0.113.53", "203.0.113.54"), domain="cs.internal")
    assert content(router, "/etc/resolv.conf").splitlines()[1:] == [
        "search cs.internal",
        "nameserver 203.0.113.53",
        "nameserver 203.0.113.54",
    ]


def test_timer_has_the_given_calendar_only() -> None:
    """The empty line takes the unit's own calendar away (systemd.timer(5))."""
    (file,) = system.timer(with_settings(isolated(), logrotate_calendar="*:00:00")).files
    assert file.content.splitlines()[1:] == ["[Timer]", "OnCalendar=", "OnCalendar=*:00:00"]
    assert system.timer(isolated()).files == ()


def test_timer_steps_follow_a_change_only() -> None:
    router = with_settings(isolated(), logrotate_calendar="*:00:00")
    (file,) = system.timer(router).files
    assert system.timer_steps(router, [], present=True) == []
    steps = system.timer_steps(router, [WriteFile(file, None)], present=False)
    assert [step.argv[1] for step in steps if isinstance(step, Run)] == ["daemon-reload", "restart"]


def test_timer_steps_remove_a_calendar_that_nobody_gives_any_more() -> None:
    assert system.timer_steps(isolated(), [], present=False) == []
    removed, *told = system.timer_steps(isolated(), [], present=True)
    assert removed == RemoveFile(system.TIMER_FILE)
    assert [step.argv[1] for step in told if isinstance(step, Run)] == ["daemon-reload", "restart"]


def test_password_steps_set_it_once() -> None:
    """Not again while both the password and the hash it became are the same."""
    router = with_settings(isolated(), root_password="s3cret")
    assert system.password_steps(router, Given(root_shadow="root:hash:1::")) == [SetRootPassword("s3cret")]
    mark = system.password_mark("s3cret", "root:hash:1::")
    assert system.password_steps(router, Given(root_shadow="root:hash:1::", password_mark=mark)) == []


def test_password_steps_see_a_new_password_and_a_changed_hash() -> None:
    mark = system.password_mark("s3cret", "root:hash:1::")
    other = with_settings(isolated(), root_password="n3w")
    assert system.password_steps(other, Given(root_shadow="root:hash:1::", password_mark=mark))
    same = with_settings(isolated(), root_password="s3cret")
    assert system.password_steps(same, Given(root_shadow="root:!:1::", password_mark=mark))


def test_password_steps_need_a_password() -> None:
    assert system.password_steps(isolated(), Given()) == []


def test_password_is_shown_nowhere() -> None:
    step = SetRootPassword("s3cret")
    assert "s3cret" not in step.summary + step.before + step.after + repr(step)
    assert "s3cret" not in system.password_mark("s3cret", "root:hash")
