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
