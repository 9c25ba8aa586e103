# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-firewall and the units that start things at boot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables

if TYPE_CHECKING:
    from .conftest import Router


SAVED = "/var/lib/cloudstack/nftables/ruleset.nft"
ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "roles/system/files/systemd"
RULESET = (ROOT / "tests/golden/isolated-three-public-subnets/expect/ruleset.nft").read_text()
WHOLE = tables.seal(RULESET).encode()
ADDRESSES = json.dumps({"eth0": [{"nw_type": "guest"}], "eth1": [{"nw_type": "control", "add": True}], "id": "ips"})
FOREIGN = "table inet foreign {\n\tchain y {\n\t\ttype filter hook forward priority 0;\n\t}\n}\n"


def restored(router: Router, namespaces: list[str]) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run vr-firewall with the real nft where there are no rules; return how it ended, and the ruleset."""
    restore, live = router.path("/opt/cloudstack/libexec/vr-firewall"), router.path("/live.nft")
    script = f"{restore}; status=$?; nft list ruleset >{live}; exit $status"
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    return done, live.read_text()


def is_closed(live: str, control: str = "eth1") -> bool:
    """Tell whether the closed ruleset is loaded, with ssh on a NIC, and nothing else."""
    named = f'elements = {{ "{control}" }}' in live if control else "elements" not in live
    return live.count("policy drop;") == live.count("hook") == 2 and live.count("table ") == 1 and named


def test_the_saved_ruleset_is_loaded(router: Router, namespaces: list[str]) -> None:
    router.put(SAVED, WHOLE)
    router.put("/etc/cloudstack/ips.json", ADDRESSES)
    done, live = restored(router, namespaces)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tables.must_hold(live, RULESET, "cloudstack")
    assert live.count("table ") == 1
    assert "policy drop" not in live, "of the closed ruleset nothing is left"


def test_without_a_saved_ruleset_the_router_is_closed(router: Router, namespaces: list[str]) -> None:
    done, live = restored(router, namespaces)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_closed(live, control="")


def as_directory(path: Path) -> None:
    """Put a directory there, with a ruleset in it: `nft -f` takes all files of one."""
    path.unlink()
    path.mkdir()
    (path / "ruleset.nft").write_bytes(WHOLE)


def as_link(path: Path) -> None:
    other = path.with_name("other.nft")
    path.rename(other)
    path.symlink_to(other)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": made(b""),
    "one byte": made(b"t"),
    "its first three lines": made(b"".join(WHOLE.splitlines(keepends=True)[:3])),
    "cut in the middle": made(WHOLE[: len(WHOLE) // 2]),
    "without its last line": made(RULESET.encode()),
    "without its last byte": made(WHOLE[:-1]),
    "zeros": made(bytes(len(WHOLE))),
    "zeros at the end": made(WHOLE[:-4096] + bytes(4096)),
    "of somebody else": made(FOREIGN.encode()),
    "a foreign table behind it": made(WHOLE + FOREIGN.encode()),
    "a foreign table before it": made(FOREIGN.encode() + WHOLE),
    "another table deleted": made(b"delete table inet other\n" + WHOLE),
    "wrong at the end": made(WHOLE + b"}}\n"),
    "no text": made(b"\xff\xfe" + WHOLE),
    "garbage": made(os.urandom(1 << 20)),
    "too long": lambda path: os.truncate(path, 65 << 20),
    "a directory": as_directory,
    "a link": as_link,
    "a pipe": as_pipe,
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("/nowhere")),
    "sealed and refused by the kernel": made(tables.seal("table inet x { chain y { jump z } }\n").encode()),
    "sealed and no guard": made(tables.seal("add table inet cloudstack\ndelete table inet cloudstack\n").encode()),
    "sealed and lets all through": made(
        tables.seal(RULESET.replace("\t\tdrop\n\t}", "\t}").replace("\t\tdrop\n", "")).encode()
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_saved_ruleset_that_is_not_whole_closes_the_router_loudly(
    router: Router, namespaces: list[str], damage: str
) -> None:
    DAMAGES[damage](router.put(SAVED, WHOLE))
    router.put("/etc/cloudstack/ips.json", ADDRESSES)
    done, live = restored(router, namespaces)
    assert done.returncode == 1
    assert done.stderr.startswith("<2>the saved packet filter ")
    assert done.stderr.count("\n") == 1
    assert is_closed(live), live


def test_a_file_that_is_cut_at_any_line_is_not_whole(router: Router) -> None:
    """No line but the last can say that it is the last."""
    loader = load(router.path("/opt/cloudstack/libexec/vr-firewall"))
    lines = WHOLE.splitlines(keepends=True)
    for count in range(len(lines)):
        with pytest.raises(loader.DamagedError):
            loader.unsealed(b"".join(lines[:count]))
        with pytest.raises(loader.DamagedError):
            loader.unsealed(b"".join(lines[:count]) + lines[count][:-1])
    assert loader.unsealed(WHOLE) == RULESET


def test_converge_and_boot_read_the_seal_alike() -> None:
    assert tables.unsealed(WHOLE.decode()) == RULESET
    assert tables.unsealed(RULESET) == ""
    assert tables.unsealed(WHOLE.decode() + "x") == ""


BAG = json.dumps({"config": {"type": "vpcrouter"}})
CMD_LINE = {"type": "cmdline", "cmd_line": {"type": "vpcrouter"}}


@pytest.mark.parametrize(
    ("files", "nics"),
    [
        ({}, ()),
        ({"/etc/cloudstack/ips.json": ADDRESSES}, ("eth1",)),
        (
            {"/etc/cloudstack/ips.json": "{", "/etc/cloudstack/cmdline.json": '{"config": {"type": "router"}}'},
            ("eth1",),
        ),
        ({"/etc/cloudstack/cmdline.json": BAG}, ("eth0",)),
        ({"/var/cache/cloud/cmd_line.json": json.dumps(CMD_LINE)}, ("eth0",)),
        ({"/var/cache/cloud/cmdline": " template=domP type=vpcrouter name=r"}, ("eth0",)),
        ({"/proc/cmdline": "ro%template=domP%type=dhcpsrvr%name=r"}, ("eth1",)),
        ({"/proc/cmdline": "rootfstype=ext4 root=/dev/vda1"}, ()),
        ({"/etc/cloudstack/ips.json": '{"eth9 } ; flush ruleset; {": [{"nw_type": "control"}]}'}, ()),
    ],
)
def test_the_control_nic_is_known_before_any_converge(
    router: Router, files: dict[str, str], nics: tuple[str, ...]
) -> None:
    for path, content in files.items():
        router.put(path, content)
    assert load(router.path("/opt/cloudstack/libexec/vr-firewall")).control_nics() == nics


LIBRARY = ("vrlib", "vrlib.command", "vrlib.process")


def load(path: Path) -> Any:
    """Return a command as a module, with the files of the router that it is on."""
    for name in LIBRARY:
        sys.modules.pop(name, None)
    library = str(path.resolve().parents[1] / "lib")
    loader = SourceFileLoader("vr_firewall", str(path))
    module = ModuleType("vr_firewall")
    module.__file__ = str(path)
    sys.path.insert(0, library)
    try:
        loader.exec_module(module)
    finally:
        sys.path.remove(library)
        for name in LIBRARY:
            sys.modules.pop(name, None)
    return module


def test_a_closed_router_lets_itself_and_nobody_else_in(router: Router, namespaces: list[str]) -> None:
    ping = "ping -c 1 -W 1"
    lines = (
        "set -e; ip link set lo up; ip netns add outside; ip link add eth0 type veth peer name eth0 netns outside",
        "ip address add 10.1.1.1/24 dev eth0; ip link set eth0 up",
        "ip -n outside address add 10.1.1.2/24 dev eth0; ip -n outside link set eth0 up",
        f"ip netns exec outside {ping} 10.1.1.1 >/dev/null && echo open",
        f"{router.path('/opt/cloudstack/libexec/vr-firewall')} >/dev/null",
        f"{ping} 127.0.0.1 >/dev/null && echo self; {ping} 10.1.1.2 >/dev/null && echo out",
        f"ip netns exec outside {ping} 10.1.1.1 >/dev/null || echo closed",
    )
    script = "mount -t tmpfs none /run\n" + "\n".join(lines)
    done = subprocess.run([*namespaces, "sh", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["open", "self", "out", "closed"]


ASK = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((address, port), 0.5)
    print("open")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("silent")
"""


def test_a_closed_router_answers_ssh_on_the_control_nic_and_nothing_else(router: Router, namespaces: list[str]) -> None:
    """From every side, to every one of its addresses: Linux answers for all of them on each NIC."""
    router.put(SAVED, WHOLE[:-1])
    router.put("/etc/cloudstack/ips.json", ADDRESSES)
    ask = router.put("/ask.py", ASK)
    lines = ["set -e; ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward"]
    for number, side in enumerate(("guest", "control", "public")):
        lines += [
            f"ip netns add {side}; ip link add eth{number} type veth peer name eth0 netns {side}",
            f"ip address add 10.{number}.0.1/24 dev eth{number}; ip link set eth{number} up",
            f"ip -n {side} address add 10.{number}.0.2/24 dev eth0; ip -n {side} link set eth0 up",
            f"ip -n {side} route add default via 10.{number}.0.1",
        ]
    lines += ["ip netns exec public ping -c 1 -W 1 10.0.0.2 >/dev/null && echo before: forwarded"]
    lines += [f"{router.path('/opt/cloudstack/libexec/vr-firewall')} || echo loud"]
    for side in ("guest", "control", "public"):
        for address, port in (("10.0.0.1", 3922), ("10.1.0.1", 3922), ("10.1.0.1", 22), ("10.2.0.1", 80)):
            lines += [f"echo {side} {address} {port} $(ip netns exec {side} python3 {ask} {address} {port})"]
        lines += [f"ip netns exec {side} ping -c 1 -W 0.3 10.0.0.1 >/dev/null && echo {side} pings || true"]
        for other in range(3):
            forwarded = f"ip netns exec {side} ping -c 1 -W 0.3 10.{other}.0.2 >/dev/null"
            lines += [f"[ {side} = {('guest', 'control', 'public')[other]} ] || ! {forwarded} || echo {side} passes"]
    script = "mount -t tmpfs none /run\n" + "\n".join(lines)
    done = subprocess.run([*namespaces, "sh", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["before: forwarded", "loud"]
    heard = {line for line in said[2:] if not line.endswith("silent")}
    # Nobody listens there in this namespace: that the kernel says so means that the packet came in.
    assert heard == {"control 10.0.0.1 3922 refused", "control 10.1.0.1 3922 refused"}


SIGNS = ("/var/cache/cloud/cmdline", "/var/cache/cloud/cmd_line.json", "/var/lib/cloudstack/powered-off")


@pytest.mark.parametrize("sign", SIGNS)
def test_a_router_that_is_started_anew_does_not_open_what_it_had_open(
    router: Router, namespaces: list[str], sign: str
) -> None:
    """What was revoked while it was stopped is closed from the first moment; keepalived, which would be deaf, waits."""
    router.put(SAVED, WHOLE)
    router.put("/etc/cloudstack/ips.json", ADDRESSES)
    router.put(sign)
    done, live = restored(router, namespaces)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_closed(live)
    assert router.path("/run/cloudstack/closed").exists()
    elector = ROOT / "roles/redundancy/files/systemd/keepalived.service"
    assert "ConditionPathExists=!/run/cloudstack/closed\n" in elector.read_text()


def test_a_reboot_is_not_closed(router: Router, namespaces: list[str]) -> None:
    router.put(SAVED, WHOLE)
    restored(router, namespaces)
    assert not router.path("/run/cloudstack/closed").exists()


@pytest.mark.parametrize(
    ("jobs", "remembered"),
    [
        ("102 poweroff.target start waiting\n103 systemd-poweroff.service start waiting\n", True),
        ("7 systemd-halt.service start waiting\n9 halt.target start waiting\n", True),
        ("102 reboot.target start waiting\n103 shutdown.target start waiting\n", False),
        ("102 kexec.target start waiting\n", False),
        ("102 soft-reboot.target start waiting\n", False),
        ("9 cloudstack-powered-off.service stop running\n", False),
        ("", False),
    ],
)
def test_only_a_power_off_is_remembered(router: Router, jobs: str, remembered: bool) -> None:
    router.tool("systemctl", f"[ \"$1\" = list-jobs ] && printf '{jobs}'".replace("\n", "\\n"))
    assert router.run("vr-powered-off").returncode == 0
    assert router.path("/var/lib/cloudstack/powered-off").exists() is remembered


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
    assert "network-pre.target" in unit["Wants"][0].split()
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
            if line.startswith(("ExecStart=", "ExecStop=")):
                # The commands are not installed here.
                text = text.replace(line, f"{line.partition('=')[0]}=/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) >= 3
    done = subprocess.run(["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "cloudstack-" in line]
    assert (done.returncode, ours) == (0, [])
