# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replay what the management server's own parser was given, where we make the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Router


MANIFEST = Path(__file__).resolve().parents[4] / "shared/drops/queries/MANIFEST.jsonl"


def canned(script: str) -> list[dict[str, Any]]:
    """Return the successful and failed outputs that the parser was run on for one command."""
    if not MANIFEST.exists():
        pytest.skip(f"{MANIFEST} is not there")
    lines = [json.loads(line) for line in MANIFEST.read_text().splitlines()]
    found = [line for line in lines if line["kind"] == "exec" and line.get("script") == script]
    assert found
    return found


def outputs(script: str) -> list[str]:
    return [line.get("canned_output", "") for line in canned(script)]


def test_get_template_version(router: Router) -> None:
    wanted = outputs("get_template_version.sh")[0]
    release, _ampersand, checksum = wanted.partition("&")
    router.put("/etc/cloudstack-release", release + "\n")
    router.put("/var/cache/cloud/cloud-scripts-signature", checksum)
    router.put("/var/cache/cloud/boot_up_done")
    assert router.run("get_template_version.sh").stdout == wanted


def test_checkrouter(router: Router) -> None:
    assert router.run("checkrouter.sh").stdout in outputs("checkrouter.sh")


def test_filesystem_writable_check(router: Router) -> None:
    assert router.run("filesystem_writable_check.py").stdout in outputs("filesystem_writable_check.py")


def test_cleanup(router: Router) -> None:
    (query,) = canned("cleanup.sh")
    assert router.run("cleanup.sh", query["args"]).stdout == query["canned_output"]


def test_update_interface_config(router: Router) -> None:
    router.tool("ip", 'echo \'[{"ifname":"eth2","addr_info":[{"local":"192.0.2.10","prefixlen":24}]}]\'')
    router.put("/sys/class/net/eth2/mtu", "1450\n")
    for query in canned("update_interface_config.sh"):
        done = router.run("update_interface_config.sh", *query["args"].split())
        if query["canned_output"] != "ifconfig failed":
            assert done.stdout.strip() == query["canned_output"].strip()
            assert (done.returncode == 0) is query["canned_success"]


def test_get_router_monitor_results(router: Router) -> None:
    """The server reads the same from the original's answer of four lines and from ours of one."""
    wanted = next(text for text in outputs("getRouterMonitorResults.sh") if '"basic":\n{}' in text)
    assert parsed(router.run("getRouterMonitorResults.sh", "false").stdout) == parsed(wanted)


def parsed(text: str) -> tuple[list[str], Any]:
    """Read an answer as the management server does (contract.md)."""
    failing: list[str] = []
    glued, reading = "", ""
    for line in text.splitlines():
        if "FAILING CHECKS" in line or "MONITOR RESULTS" in line:
            reading = line
        elif "FAILING CHECKS" in reading:
            failing += [name.strip() for name in line.split(",") if name.strip()]
        else:
            glued += line.strip()
    return failing, json.loads(glued)


def test_get_router_alerts(router: Router) -> None:
    (query, *_others) = canned("getRouterAlerts.sh")
    assert router.run("getRouterAlerts.sh", *query["args"].split()).stdout == query["canned_output"]
    wanted = next(text for text in outputs("getRouterAlerts.sh") if "\\n" in text).strip().split("\\n")
    records = [record for record in wanted if record]
    router.put("/var/log/cloudstack/alerts.log", "".join(f"{record}\n" for record in records))
    assert router.run("getRouterAlerts.sh", *query["args"].split()).stdout.strip().split("\\n") == records


def test_diagnostics(router: Router) -> None:
    """What the tools print is canned too; the form around it is ours."""
    for query in canned("diagnostics.py"):
        wanted = query["canned_output"].split("&&")
        if len(wanted) != 3:
            continue
        out, err, status = (part.strip() for part in wanted)
        router.tool("ping", f"printf '%s\\n' '{out}'; printf '%s' '{err}' >&2; exit {status}")
        assert router.run("diagnostics.py", *query["args"].split()).stdout == query["canned_output"]


def test_get_diagnostics_files(router: Router) -> None:
    (query,) = canned("get_diagnostics_files.py")
    for name in ("nft", "ip", "ss", "systemctl", "journalctl"):
        router.tool(name, "exit 0")
    answer = router.run("get_diagnostics_files.py", *query["args"].split()).stdout
    assert [len(part) for part in answer.split("-")] == [len(part) for part in query["canned_output"].split("-")]


def test_manage_service(router: Router) -> None:
    router.tool("systemctl", "exit 0")
    for query in canned("manage_service.sh"):
        done = router.run("manage_service.sh", *query["args"].split())
        assert (done.returncode == 0) is query.get("canned_success", True)
        assert done.stdout.strip() == query.get("canned_output", "").strip()


def test_keystore_setup(router: Router) -> None:
    (query,) = canned("keystore-setup")
    lines = router.run("keystore-setup", *query["args"].split()).stdout.splitlines()
    wanted = query["canned_output"].splitlines()
    assert (lines[0], lines[-1]) == (wanted[0], wanted[-1])
