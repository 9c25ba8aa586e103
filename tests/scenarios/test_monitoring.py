# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health checks, alerts and diagnostics of a real router: no false alarm, and no failure that is not seen."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.lab.router import Router
from tests.scenarios import states
from tests.scenarios.networks import Isolated
from tests.scenarios.vpcs import Vpc

SERVICES = ("ssh", "dhcp", "loadbalancing", "webserver")
DROP = {
    "type": "monitorservice",
    "config": "".join(f"[{name}]:processname=x:servicename=x:pidfile=x:," for name in SERVICES),
    "disable_monitoring": "false",
    "health_checks_enabled": True,
    "health_checks_basic_run_interval": 3,
    "health_checks_advanced_run_interval": 10,
    "excluded_health_checks": "memory_usage_check.py",
    "health_checks_config": {"systemThresholds": "minDiskNeeded=10,maxCpuUsage=100,maxMemoryUsage=100;"},
}
DEFAULT = (
    "iptables ipaddr iprule iproute /etc/cloudstack-release /etc/dnsmasq.conf /etc/dhcphosts.txt /etc/dhcpopts.txt"
    " /etc/dnsmasq.d/cloud.conf /etc/dnsmasq-resolv.conf /var/lib/misc/dnsmasq.leases /var/log/dnsmasq.log /etc/hosts"
    " /etc/resolv.conf /etc/haproxy/haproxy.cfg /var/log/haproxy.log /var/log/cloud.log"
    " /var/log/routerServiceMonitor.log /var/log/daemon.log"
)


def results(router: Router, fresh: str = "true") -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the failing names and the entries, as the management server reads them."""
    lines = router.command(f"getRouterMonitorResults.sh {fresh}").stdout.splitlines()
    middle = lines.index("MONITOR RESULTS:")
    failing = [name for line in lines[1:middle] for name in line.split(",") if name]
    found = json.loads("".join(lines[middle + 1 :]))
    entries = {name: entry for kind in found.values() for name, entry in kind.items() if name != "lastRun"}
    assert failing == [name for name, entry in entries.items() if entry["success"] == "FAILED"]
    return failing, entries


def monitored(router: Router) -> None:
    router.drop("monitor_service.json.1", DROP)


def words(entries: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: f"{entry['success']}: {entry['message']}" for name, entry in entries.items()}


@pytest.fixture(scope="module")
def router(isolated: Isolated) -> Router:
    """Return the router of an isolated network whose health is watched."""
    monitored(isolated.router)
    return isolated.router


def test_a_healthy_router_fails_no_check(router: Router) -> None:
    for _run in range(5):
        started = time.monotonic()
        failing, entries = results(router)
        assert time.monotonic() - started < 10
        assert failing == [], words(entries)
    assert "WARNING" not in {entry["success"] for entry in entries.values()}, words(entries)
    assert {"dhcp.service", "dns_check.py", "iptables_check.py", "gateways_check.py"} <= set(entries)
    assert "memory_usage_check.py" not in entries
    assert entries["gateways_check.py"]["message"] == "All 3 gateways are reachable via ARP"


def test_metrics_are_written_for_the_collector_and_nothing_listens(router: Router) -> None:
    """Statement 45: with no exporter there is no port of one."""
    results(router)
    text = router.read("/var/lib/prometheus/node-exporter/cloudstack_router.prom")
    assert 'cloudstack_router_healthcheck_status{check="dhcp.service",type="basic",status="SUCCESS"} 1\n' in text
    assert 'cloudstack_router_service_up{service="dnsmasq"} 1\n' in text
    assert len(re.findall(r"cloudstack_router_gateway_up\{.*\} 1\n", text)) == 3
    assert 'cloudstack_router_public_sent_bytes_total{device="eth2"} ' in text
    assert ":9100 " not in router.exec("ss", "--listening", "--tcp", "--numeric").stdout


def test_the_journal_tells_what_a_drop_has_caused(router: Router) -> None:
    name = "monitor_service.json.0"
    router.drop(name, {**DROP, "health_checks_basic_run_interval": 4})
    end = time.monotonic() + 10
    while f"{name}: done in" not in (text := router.exec("journalctl", "--output=cat", f"DROP={name}").stdout):
        assert time.monotonic() < end, text
        time.sleep(0.1)
    assert "systemctl daemon-reload" in text
    words = ("journalctl", "--output=cat", "--output-fields=TRANSACTION", f"DROP={name}", "SERVICE=monitoring")
    (transaction,) = set(router.exec(*words).stdout.split())
    assert f"{name}: done in" in router.exec("journalctl", "--output=cat", f"TRANSACTION={transaction}").stdout
    monitored(router)


def test_timers_have_their_intervals_and_a_repeated_drop_restarts_none(router: Router) -> None:
    def timers() -> str:
        names = "cloudstack-health-basic.timer cloudstack-health-advanced.timer"
        return router.shell(f"systemctl show -p ActiveEnterTimestampMonotonic -p TimersMonotonic {names}").stdout

    before = timers()
    assert "OnUnitActiveUSec=3min" in before
    assert "OnUnitActiveUSec=10min" in before
    time.sleep(1.1)
    done = router.drop("monitor_service.json.2", {k: v for k, v in DROP.items() if k != "config"})
    assert "no change" in done.stdout
    assert states.repaired(router) == []
    strip = re.compile(r"next_elapse=[^}]*")
    assert strip.sub("", timers()) == strip.sub("", before)
    router.drop("monitor_service.json.3", {**DROP, "health_checks_advanced_run_interval": 0})
    assert router.exec("systemctl", "is-active", "cloudstack-health-advanced.timer", check=False).returncode != 0
    monitored_again = router.drop("monitor_service.json.4", DROP)
    assert "monitoring" in monitored_again.stdout
    assert router.exec("systemctl", "is-active", "cloudstack-health-advanced.timer").stdout == "active\n"


BROKEN = {
    "dhcp_check.py": "sed -i '$d' /etc/dnsmasq.cloudstack/dhcp-hosts",
    "dns_check.py": "sed -i '$d' /etc/dnsmasq.cloudstack/hosts",
    "iptables_check.py": "nft flush chain inet cloudstack destinations",
}


@pytest.mark.parametrize("check", BROKEN)
def test_what_is_broken_behind_the_routers_back_fails_its_check_alone(router: Router, check: str) -> None:
    router.shell(BROKEN[check])
    results(router)
    failing, entries = results(router)
    assert failing == [check], words(entries)
    router.command("configure.py monitor_service.json")
    assert results(router)[0] == []
    text = router.read("/var/log/cloudstack/alerts.log")
    assert f"[ALERT] [{check}] health check failed" in text
    assert f"[INFO] [{check}] health check succeeds again" in text


@pytest.mark.parametrize("unit", ["dnsmasq", "nginx", "cloudstack-passwords"])
def test_a_daemon_that_is_killed_is_back_at_once_and_told_of(router: Router, unit: str) -> None:
    """At once: systemd waits 0.3 s, and its first try succeeds; how long a start takes is the machine's."""
    assert router.exec("systemctl", "show", "--property=RestartUSec", unit).stdout == "RestartUSec=300ms\n"
    before = int(router.facts.unit(unit)["NRestarts"])
    router.exec("systemctl", "kill", "--signal=KILL", unit)
    end = time.monotonic() + 20
    while router.exec("systemctl", "is-active", unit, check=False).stdout != "active\n":
        assert time.monotonic() < end, router.exec("systemctl", "status", unit, check=False).stdout
        time.sleep(0.05)
    assert int(router.facts.unit(unit)["NRestarts"]) == before + 1
    assert f"[ALERT] [{unit}] The process {unit} is not running (killed KILL), restarted" in router.read(
        "/var/log/cloudstack/alerts.log"
    )
    assert results(router)[0] == []
    time.sleep(1.1)
    answer = router.command("getRouterAlerts.sh 1970-01-01 00:00:00").stdout
    assert answer.count("\n") == 1
    last = answer.rstrip("\n").split("\\n")[-1].partition(",")[0]
    assert router.command(f"getRouterAlerts.sh {last}").stdout == "No Alerts\n"


def test_own_checks_of_operators_are_run_if_root_alone_may_write_them(router: Router) -> None:
    router.exec("mkdir", "-p", "/root/health_checks")
    router.put("/root/health_checks/mine.py", '#!/bin/sh\necho "mine $1 *  [a]"; exit 2\n', 0o755)
    router.put("/root/health_checks/open.sh", "#!/bin/sh\nexit 1\n", 0o777)
    router.put("/root/health_checks/quiet.sh", "#!/bin/sh\nexit 0\n", 0o755)
    router.exec("chmod", "0777", "/root/health_checks/open.sh")
    router.exec("chmod", "0755", "/root/health_checks")
    _failing, entries = results(router)
    router.exec("rm", "-r", "/root/health_checks")
    assert "mine.py" not in results(router)[1]
    assert entries["mine.py"]["success"] == "WARNING"
    assert entries["mine.py"]["message"] in ("mine basic *  [a]", "mine advanced *  [a]")
    assert "open.sh" not in entries
    assert "quiet.sh" not in entries


def test_the_archive_of_the_servers_list_is_whole(router: Router) -> None:
    path = router.command(f"get_diagnostics_files.py {DEFAULT}").stdout.strip()
    text = router.shell(
        f"cd /tmp && python3 -m zipfile -l {path} && python3 -m zipfile -e {path} d && cat d/fileinfo.txt"
    ).stdout
    assert "File Not Found" not in text, text
    assert "Refused" not in text
    assert "table inet cloudstack" in router.read("/tmp/d/iptables.log")
    assert router.command(f"cleanup.sh {path}").stdout == f"Deleting diagnostics zip file {path}\n"
    router.exec("rm", "-r", "/tmp/d")


def parts(router: Router, line: str) -> list[str]:
    found = router.command(f"diagnostics.py {line}").stdout.split("&&")
    assert len(found) == 3
    return [part.strip() for part in found]


def test_diagnostics_reach_what_is_there(router: Router) -> None:
    out, err, status = parts(router, "ping 192.0.2.1 -c 2")
    assert ("2 packets transmitted, 2 received" in out, err, status) == (True, "", "0")
    assert parts(router, "arping 10.7.0.11 -c 1")[2] == "0"
    out, _err, status = parts(router, "traceroute 203.0.113.10 -n -q 1 -w 1")
    assert ("203.0.113.10" in out, status) == (True, "0")
    assert parts(router, "ping6 ::1 -c 1")[2] == "0"
    assert parts(router, "ping 192.0.2.1 -f")[2] == "2"


def test_manage_service_restarts_and_refuses(router: Router) -> None:
    before = router.exec("systemctl", "show", "-p", "MainPID", "--value", "dnsmasq").stdout
    assert router.command("manage_service.sh restart dnsmasq").stdout == ""
    assert router.exec("systemctl", "show", "-p", "MainPID", "--value", "dnsmasq").stdout != before
    done = router.command("manage_service.sh restart x", check=False)
    assert (done.returncode, done.stdout) == (1, "Failed to restart x.service: Unit x.service not found.\n")


def test_vr_says_what_the_router_is(router: Router) -> None:
    assert router.exec("vr", "show").stdout.splitlines()[1].split() == ["name", "r-7-VM"]
    assert "forwarded by eth0" in router.exec("vr", "why", "203.0.113.10", "192.0.2.20", "tcp/2222").stdout
    done = router.exec("vr", "check", check=False)
    assert done.returncode == 0, done.stdout
    router.exec("nft", "flush", "chain", "inet", "cloudstack", "destinations")
    done = router.exec("vr", "check", check=False)
    assert (done.returncode, "differs" in done.stdout) == (1, True), done.stdout
    router.command("configure.py monitor_service.json")


def test_checks_that_are_switched_off_are_gone(router: Router) -> None:
    router.drop("monitor_service.json.5", {**DROP, "health_checks_enabled": False})
    assert results(router) == ([], {})
    assert router.exec("systemctl", "list-timers", "cloudstack-health-*", "--no-legend").stdout == ""


def test_a_vpc_fails_no_check(vpc: Vpc) -> None:
    monitored(vpc.router)
    for _run in range(3):
        failing, entries = results(vpc.router)
        assert failing == [], words(entries)
    units = vpc.router.shell("systemctl list-units --plain --no-legend 'dnsmasq@*'").stdout.split("\n")
    vpc.router.exec("systemctl", "stop", units[0].split()[0])
    results(vpc.router)
    failing, entries = results(vpc.router)
    assert "dhcp.service" in failing, words(entries)
    vpc.router.command("configure.py monitor_service.json")


def test_the_iso_of_a_cluster_is_served_until_it_is_taken_back(router: Router, isolated: Isolated) -> None:
    """The kernel of the lab has no driver for ISO 9660: mount(8)'s helper of that name mounts ext4 in its place.

    On a machine systemd lets mounts reach the services that run; in a container it does not (mount_namespaces(7)).
    """
    router.shell("mount --make-rshared / && systemctl restart nginx")
    router.shell(
        "mkdir -p /tmp/iso/bin && head -c 3000000 /dev/urandom >/tmp/iso/bin/kubeadm && echo v1 >/tmp/iso/version"
    )
    router.shell("ln -s /var/www/cloudstack /tmp/iso/all && ln -s /etc/hostname /tmp/iso/name")
    router.shell("truncate -s 16M /dev/cdrom && mkfs.ext4 -q -d /tmp/iso /dev/cdrom")
    router.put("/sbin/mount.iso9660", '#!/bin/sh\nexec mount -i -t ext4 -o "$4,loop" "$1" "$2"\n', 0o755)
    vm, url = isolated.vms["web"], "http://10.7.0.1/cks-iso"
    router.shell("mv /dev/cdrom /dev/drawer")
    started = time.monotonic()
    missing = router.command("cks_iso.sh true", check=False)
    assert (missing.returncode, "no drive" in missing.stderr) == (1, True)
    assert time.monotonic() - started > 10
    assert vm.run("curl", "--silent", "--fail", f"{url}/version", check=False).returncode != 0
    router.shell("mv /dev/drawer /dev/cdrom")
    worker = router.exec("systemctl", "show", "-p", "MainPID", "--value", "nginx").stdout
    for _again in range(2):
        assert router.command("cks_iso.sh true").stdout == ""
    end = time.monotonic() + 30
    while vm.run("curl", "--silent", "--fail", f"{url}/version", check=False).stdout != "v1\n":
        assert time.monotonic() < end, vm.run("curl", "--silent", "--include", f"{url}/version", check=False).stdout
        time.sleep(0.1)
    assert 'href="kubeadm"' in vm.run("curl", "--silent", "--fail", "--location", f"{url}/bin").stdout
    size = ("--output", "/dev/null", "--write-out", "%{size_download}")
    assert vm.run("curl", "--silent", *size, f"{url}/bin/kubeadm").stdout == "3000000"
    for link in ("all", "all/", "name"):
        told = vm.run("curl", "--silent", "--include", f"{url}/{link}").stdout
        assert told.split()[1] in ("403", "404"), told
    assert states.repaired(router) == []
    for _again in range(2):
        assert router.command("cks_iso.sh false").stdout == ""
    assert router.exec("mountpoint", "-q", "/var/www/cks-iso", check=False).returncode != 0
    assert router.exec("systemctl", "show", "-p", "MainPID", "--value", "nginx").stdout == worker
    router.shell("rm -r /tmp/iso /dev/cdrom /sbin/mount.iso9660")
