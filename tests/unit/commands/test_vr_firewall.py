# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-firewall and the units that start things at boot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router


SAVED = "/var/lib/cloudstack/nftables/ruleset.nft"
UNITS = Path(__file__).resolve().parents[3] / "roles/system/files/systemd"
GOOD = "table inet cloudstack {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"


def restored(router: Router, namespaces: list[str]) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run vr-firewall with the real nft where there are no rules; return how it ended, and the ruleset."""
    restore, live = router.path("/opt/cloud/bin/vr-firewall"), router.path("/live.nft")
    script = f"{restore}; status=$?; nft list ruleset >{live}; exit $status"
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    return done, live.read_text()


def test_the_saved_ruleset_is_loaded(router: Router, namespaces: list[str]) -> None:
    router.put(SAVED, GOOD)
    done, live = restored(router, namespaces)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert live == GOOD


def is_closed(live: str) -> bool:
    return live.count("policy drop;") == 2 and "hook input" in live and "hook forward" in live


def test_without_a_saved_ruleset_the_router_is_closed(router: Router, namespaces: list[str]) -> None:
    done, live = restored(router, namespaces)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_closed(live)


@pytest.mark.parametrize(
    "saved", ["table inet cloudstack {", GOOD + "table inet x { chain y { jump z } }\n", "garbage\n"]
)
def test_a_saved_ruleset_that_does_not_load_closes_the_router_loudly(
    router: Router, namespaces: list[str], saved: str
) -> None:
    router.put(SAVED, saved)
    done, live = restored(router, namespaces)
    assert done.returncode == 1
    assert "<2>the saved packet filter does not load" in done.stderr
    assert is_closed(live)


def test_a_closed_router_lets_itself_and_nobody_else_in(router: Router, namespaces: list[str]) -> None:
    ping = "ping -c 1 -W 1"
    lines = (
        "set -e; ip link set lo up; ip netns add outside; ip link add eth0 type veth peer name eth0 netns outside",
        "ip address add 10.1.1.1/24 dev eth0; ip link set eth0 up",
        "ip -n outside address add 10.1.1.2/24 dev eth0; ip -n outside link set eth0 up",
        f"ip netns exec outside {ping} 10.1.1.1 >/dev/null && echo open",
        f"{router.path('/opt/cloud/bin/vr-firewall')} >/dev/null",
        f"{ping} 127.0.0.1 >/dev/null && echo self; {ping} 10.1.1.2 >/dev/null && echo out",
        f"ip netns exec outside {ping} 10.1.1.1 >/dev/null || echo closed",
    )
    script = "mount -t tmpfs none /run\n" + "\n".join(lines)
    done = subprocess.run([*namespaces, "sh", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["open", "self", "out", "closed"]


def settings(unit: str) -> dict[str, list[str]]:
    """Return the settings of a unit, name to values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_packet_filter_is_loaded_before_any_link_goes_up() -> None:
    unit = settings("cloudstack-firewall.service")
    assert "network-pre.target" in unit["Before"][0].split()
    assert unit["Wants"] == ["network-pre.target"]
    assert unit["DefaultDependencies"] == ["no"]


def test_the_boot_comes_after_the_packet_filter_but_needs_no_success_of_it() -> None:
    unit = settings("cloudstack-boot.service")
    assert "cloudstack-firewall.service" in unit["After"][0].split()
    assert "Requires" not in unit


def test_boot_arguments_that_come_late_can_start_the_boot_again() -> None:
    path, service = settings("cloudstack-boot.path"), settings("cloudstack-boot.service")
    assert path["PathExists"] == ["/var/cache/cloud/cmdline", "/var/cache/cloud/cmd_line.json"]
    assert path["Unit"] == ["cloudstack-boot.service"]
    # An active unit would not be started again.
    assert "RemainAfterExit" not in service
    # A failed one would be, at once and without end, if it did not count as activating between its restarts.
    assert service["Restart"] == ["on-failure"]
    assert service["StartLimitIntervalSec"] == ["0"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text()
        for line in text.splitlines():
            if line.startswith("ExecStart="):
                # The commands are not installed here.
                text = text.replace(line, "ExecStart=/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) >= 3
    done = subprocess.run(["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "cloudstack-" in line]
    assert (done.returncode, ours) == (0, [])
