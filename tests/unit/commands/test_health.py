# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health checks: what is listed, in which words, and what is no failure."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import CHECKOUT, UNITS

if TYPE_CHECKING:
    from .conftest import Router

CASE = CHECKOUT / "tests/golden/isolated-three-public-subnets"
BASIC = "/var/lib/cloudstack/health/basic.json"
ENTRY = {
    "success": "SUCCESS",
    "lastUpdate": "1761991200123",
    "lastRunDuration": "12.5",
    "message": "service is running",
}
BAG = {"id": "monitorservice", "health_checks_enabled": True, "config": "[dhcp]:x:,[webserver]:x:,[odd]:x:,"}


@pytest.fixture
def watched(router: Router) -> Router:
    """Return a booted router with databags whose daemons run but answer nothing."""
    router.boot_with(CASE)
    router.put("/etc/cloudstack/monitorservice.json", json.dumps(BAG))
    return router


def run(router: Router, kind: str = "basic") -> dict[str, Any]:
    done = router.run("vr-health", kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found: dict[str, Any] = json.loads(router.path(f"/var/lib/cloudstack/health/{kind}.json").read_text())
    return found


def parsed(router: Router) -> tuple[list[str], Any]:
    """Return failing names and results as the management server reads them."""
    done = router.run("getRouterMonitorResults.sh", "false")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    lines = done.stdout.splitlines()
    assert [line for line in lines if "FAILING CHECKS" in line or "MONITOR RESULTS" in line] == [
        "FAILING CHECKS:",
        "MONITOR RESULTS:",
    ]
    middle = lines.index("MONITOR RESULTS:")
    return [name for line in lines[1:middle] for name in line.split(",")], json.loads("".join(lines[middle + 1 :]))


@pytest.mark.parametrize(
    "text",
    ["*", "[a] ?", "two  blanks", "\"'`", "é\u202e", "a\nb\n", "MONITOR RESULTS", "x FAILING CHECKS: y", "x" * 900],
)
def test_messages_come_through_as_data(router: Router, text: str) -> None:
    router.put(
        BASIC, json.dumps({"a_check.py": {**ENTRY, "success": "FAILED", "message": text}, "lastRun": {"start": "x"}})
    )
    failing, found = parsed(router)
    assert failing == ["a_check.py"]
    assert found["basic"]["a_check.py"]["message"] == text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a,b": {}}', json.dumps({"a": {**ENTRY, "success": "true"}})])
def test_results_that_are_none_are_left_out(router: Router, text: str) -> None:
    router.put(BASIC, text)
    assert parsed(router) == ([], {"basic": {}, "advanced": {}})


def test_every_entry_is_as_the_server_wants_it(watched: Router) -> None:
    found = run(watched)
    last = found.pop("lastRun")
    assert sorted(last) == ["duration", "end", "start"]
    for name, entry in found.items():
        assert sorted(entry) == ["lastRunDuration", "lastUpdate", "message", "success"], name
        assert entry["success"] in ("SUCCESS", "FAILED", "WARNING", "UNKNOWN")
        assert entry["lastUpdate"].isdecimal()
        assert float(entry["lastRunDuration"]) >= 0
    names = sorted(found)
    assert not [(a, b) for a in names for b in names if a != b and a in b], "the server looks for names as substrings"


def test_the_words_are_those_that_people_know(watched: Router) -> None:
    found = run(watched)
    assert found["memory_usage_check.py"]["message"] == "Memory Usage within limits with current at 41.2%"
    assert found["disk_space_check.py"]["message"].startswith("Sufficient free space is ")
    assert found["odd.service"]["success"] == "UNKNOWN"
    assert found["conntrack_check.py"]["success"] == "WARNING"


def test_one_bad_moment_is_no_failure_and_two_are_told(watched: Router) -> None:
    watched.tool("systemctl", UNITS.format("failed"))
    assert run(watched)["dhcp.service"]["success"] == "WARNING"
    assert run(watched)["dhcp.service"]["success"] == "FAILED"
    assert "dhcp.service" in parsed(watched)[0]
    log = watched.path("/var/log/cloudstack/alerts.log").read_text()
    assert "[ALERT] [dhcp.service] health check failed: service down at last check" in log


def test_nothing_fails_while_a_converge_runs(watched: Router) -> None:
    watched.tool("systemctl", UNITS.format("failed"))
    run(watched)
    watched.put("/var/lib/cloudstack/transaction.json", "{}")
    found = run(watched)["dhcp.service"]
    assert (found["success"], found["message"].split(":")[0]) == ("UNKNOWN", "a converge runs")
    watched.put("/proc/uptime", "100.0 1.0\n")
    watched.path("/var/cache/cloud/boot_up_done").unlink()
    assert run(watched)["dhcp.service"]["message"].startswith("the router boots")


def test_excluded_checks_are_neither_run_nor_listed(watched: Router) -> None:
    bag = {**BAG, "excluded_health_checks": "dhcp.service,gateways_check.py"}
    watched.put("/etc/cloudstack/monitorservice.json", json.dumps(bag))
    assert not {"dhcp.service", "gateways_check.py"} & set(run(watched))


def test_thresholds_of_the_drop_count(watched: Router) -> None:
    config = {"systemThresholds": "minDiskNeeded=99999999,maxMemoryUsage=40;"}
    watched.put("/etc/cloudstack/monitorservice.json", json.dumps({**BAG, "health_checks_config": config}))
    found = run(watched)
    assert found["memory_usage_check.py"]["message"] == "Memory Usage 41.2% has crossed threshold of 40.0%"
    assert found["disk_space_check.py"]["message"].startswith("Insufficient free space is ")


def test_a_version_that_differs_is_a_warning(watched: Router) -> None:
    watched.put("/etc/cloudstack-release", "Cloudstack Release 4.23.0\n")
    config = {"routerVersion": "templateVersion=Cloudstack Release 4.22.0,scriptsVersion=x;"}
    watched.put("/etc/cloudstack/monitorservice.json", json.dumps({**BAG, "health_checks_config": config}))
    found = run(watched)["router_version_check.py"]
    wanted = "Template Version mismatch. Expected: Cloudstack Release 4.22.0, found: Cloudstack Release 4.23.0"
    assert (found["success"], found["message"]) == ("WARNING", wanted)


def test_disabled_checks_leave_nothing(watched: Router) -> None:
    run(watched)
    watched.put("/etc/cloudstack/monitorservice.json", json.dumps({**BAG, "health_checks_enabled": False}))
    assert run(watched) == {}


def test_own_checks_say_what_they_like(watched: Router) -> None:
    folder = watched.path("/root/health_checks")
    for name, script in {"a.sh": "echo $1; exit 1", "b.py": "exit 0", "c": "echo x; exit 9", "-d": "exit 1"}.items():
        watched.put(f"/root/health_checks/{name}", f"#!/bin/sh\n{script}\n", 0o755)
    folder.chmod(0o755)
    found = run(watched)
    assert (found["a.sh"]["success"], found["a.sh"]["message"]) == ("FAILED", "basic")
    assert (found["c"]["success"], found["c"]["message"]) == ("UNKNOWN", "exit status 9: x")
    assert not {"b.py", "-d"} & set(found)
    folder.chmod(0o777)
    assert "a.sh" not in run(watched)


def test_dhcp_hosts_that_are_missing_fail(watched: Router) -> None:
    hosts = json.loads((CASE / "databags/dhcpentry.json").read_text())
    assert hosts
    watched.put("/etc/dnsmasq.cloudstack/dhcp-hosts", "02:01:0a:01:01:0b,10.1.1.11,web01,infinite\n")
    found = run(watched, "advanced")["dhcp_check.py"]
    assert found["success"] == "FAILED"
    assert found["message"].startswith("Missing elements in dhcphosts.txt - 10.1.1.12")


def test_results_are_kept_in_memory_until_the_disk_takes_them(watched: Router, namespaces: list[str]) -> None:
    kept = watched.put("/var/lib/cloudstack/health/basic.json", json.dumps({"odd.service": ENTRY}))
    program, folder = watched.path("/opt/cloudstack/libexec/vr-health"), kept.parent
    script = f"mount -t tmpfs -o ro none {folder} && {program} basic && {folder.parents[3]}/opt/cloud/bin/"
    done = subprocess.run(
        [*namespaces, "sh", "-c", f"{script}getRouterMonitorResults.sh false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"success":"UNKNOWN"' in done.stdout
    assert parsed(watched)[1]["basic"]["odd.service"]["success"] == "UNKNOWN"
    assert run(watched)
    assert not watched.path("/run/cloudstack/health/basic.json").exists()


def test_databags_that_are_damaged_fail_a_check(watched: Router) -> None:
    run(watched)
    watched.put("/etc/cloudstack/dhcpentry.json", "{")
    found = run(watched)
    assert sorted(found) == ["converge_check.py", "lastRun"]
    assert found["converge_check.py"]["success"] == "FAILED"
    assert "dhcpentry.json" in found["converge_check.py"]["message"]
    assert sorted(run(watched, "advanced")) == ["lastRun"]
    assert parsed(watched)[0] == ["converge_check.py"]


@pytest.mark.parametrize(
    ("bag", "said"),
    [
        ({"id": "forwardingrules", "192.0.2.10": [{"x": 1}]}, "192.0.2.10"),
        ({"id": "dhcpentry", "10.1.1.2": {}}, "10.1.1.2.mac_address"),
    ],
)
def test_databags_that_nobody_has_checked_fail_it_too(watched: Router, bag: dict[str, Any], said: str) -> None:
    """Of another release, or edited by hand; a converge refuses them as well, and `vr` says so in a line."""
    run(watched)
    watched.put(f"/etc/cloudstack/{bag['id']}.json", json.dumps(bag))
    found = run(watched)["converge_check.py"]
    assert (found["success"], said in found["message"]) == ("FAILED", True)
    done = watched.run("vr", "show", "nat")
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


def test_a_run_that_fails_is_no_answer(watched: Router) -> None:
    watched.put("/opt/cloudstack/libexec/vr-health", "#!/bin/sh\nexit 1\n", 0o755)
    assert "vr-health basic: exit status 1" in watched.fails("getRouterMonitorResults.sh", "true")


def down(router: Router) -> None:
    router.tool("systemctl", UNITS.format("failed"))
    run(router)


def test_a_boot_that_does_not_end_hides_nothing(watched: Router) -> None:
    down(watched)
    watched.path("/var/cache/cloud/boot_up_done").unlink()
    watched.put("/proc/uptime", "299.0 1.0\n")
    assert run(watched)["dhcp.service"]["message"].startswith("the router boots")
    watched.put("/proc/uptime", "301.0 1.0\n")
    assert run(watched)["dhcp.service"]["success"] == "FAILED"


@pytest.mark.parametrize("age", [-7200, 600])
def test_a_converge_that_does_not_end_hides_nothing(watched: Router, age: int) -> None:
    down(watched)
    watched.put("/etc/cloudstack/.journal")
    old = watched.put("/var/lib/cloudstack/transaction.json", "{}")
    moment = old.stat().st_mtime - age
    os.utime(old, (moment, moment))
    found = run(watched)
    assert {found[name]["success"] for name in ("dhcp.service", "converge_check.py")} == {"FAILED"}


def test_a_pair_that_elects_nobody_hides_nothing(watched: Router) -> None:
    bag = json.loads(watched.path("/etc/cloudstack/cmdline.json").read_text())
    bag["config"] |= {"redundant_router": "true"}
    watched.put("/etc/cloudstack/cmdline.json", json.dumps(bag))
    config = {"systemThresholds": "minDiskNeeded=99999999;"}
    watched.put("/etc/cloudstack/monitorservice.json", json.dumps({**BAG, "health_checks_config": config}))
    watched.put("/proc/uptime", "299.0 1.0\n")
    assert run(watched)["disk_space_check.py"]["message"].startswith("nobody is elected yet")
    watched.put("/proc/uptime", "301.0 1.0\n")
    assert run(watched)["disk_space_check.py"]["success"] == "FAILED"
    moment = time.time() + 7200
    os.utime(watched.put("/run/cloudstack/redundancy/state", "PRIMARY\n"), (moment, moment))
    assert run(watched)["disk_space_check.py"]["success"] == "FAILED"


def test_own_checks_replace_none_of_the_routers(watched: Router) -> None:
    for name in ("memory_usage_check.py", "dhcp_check.py", "odd.service"):
        watched.put(f"/root/health_checks/{name}", "#!/bin/sh\necho mine\n", 0o755)
    watched.path("/root/health_checks").chmod(0o755)
    messages = [entry["message"] for kind in ("basic", "advanced") for entry in _entries(run(watched, kind))]
    assert messages
    assert "mine" not in messages


def _entries(found: dict[str, Any]) -> list[dict[str, str]]:
    return [entry for name, entry in found.items() if name != "lastRun"]


def test_own_checks_do_not_outlast_the_run(watched: Router) -> None:
    library = watched.library("check")
    library.write_text(library.read_text().replace("LIMIT = 15.0", "LIMIT = 4.0"))
    pids = watched.path("/pids.txt")
    for name in ("a.sh", "b.sh"):
        watched.put(f"/root/health_checks/{name}", f"#!/bin/sh\necho $$ >>{pids}\nexec sleep 77\n", 0o755)
    watched.path("/root/health_checks").chmod(0o755)
    assert float(run(watched)["lastRun"]["duration"]) < 8
    assert pids.read_text()
    assert not [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")]


def test_a_run_starts_few_programs_however_large_the_network(watched: Router) -> None:
    """Statement 12: 1,000 forwards, as many VMs as a /24 has, and a ruleset that must be listed as it has drifted."""
    bag = json.loads(watched.path("/etc/cloudstack/forwardingrules.json").read_text())
    (address, rules) = next((key, value) for key, value in bag.items() if key != "id")
    bag[address] = [
        {**rules[0], "public_ports": f"{port}:{port}", "internal_ports": f"{port}:{port}"} for port in range(1000, 2000)
    ]
    watched.put("/etc/cloudstack/forwardingrules.json", json.dumps(bag))
    hosts = json.loads(watched.path("/etc/cloudstack/dhcpentry.json").read_text())
    host = next(value for key, value in hosts.items() if key != "id")
    for number in range(2, 255):
        ip, mac = f"10.1.1.{number}", f"02:00:00:01:00:{number:02x}"
        hosts[ip] = {**host, "mac_address": mac, "ipv4_address": ip, "host_name": f"vm{number}"}
    watched.put("/etc/cloudstack/dhcpentry.json", json.dumps(hosts))
    started = watched.path("/started")
    for name, script in (("systemctl", UNITS.format("active")), ("nft", "exit 1"), ("openssl", "exit 0")):
        watched.tool(name, f'echo {name} "$@" >>"{started}"\n{script}')
    for kind, most in (("basic", 3), ("advanced", 4)):
        started.write_text("")
        found = run(watched, kind)
        assert len(started.read_text().splitlines()) <= most, started.read_text()
    assert found["iptables_check.py"]["message"].startswith(("Found all entries", "somebody has changed"))
    known = json.loads(watched.path("/run/cloudstack/health/expected.json").read_text())
    assert (known["forwards"] > 1000, known["vms"]) == (True, 253)
