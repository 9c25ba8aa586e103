# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Metrics: whole at every moment, in the form that Prometheus reads, and bounded."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from .conftest import CHECKOUT
from .test_health import run

if TYPE_CHECKING:
    from .conftest import Router

FILE = "/var/lib/prometheus/node-exporter/cloudstack_router.prom"
LINE = re.compile(
    r'(cloudstack_router_[a-z0-9_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+\})? (-?[0-9]+(?:\.[0-9]+)?)'
)
COUNTERS = {"eth2_sent": 5, "eth2_received": 7, "eth2_own_sent": 10, "eth2_own_received": 20, "eth9_sent": 1}
STATS = """# pxname,svname,scur,status,bin,bout,
192_0_2_10-443,FRONTEND,3,OPEN,100,200,
192_0_2_10-443,a,1,UP,1,1,
192_0_2_10-443,b,2,UP 1/2,1,1,
192_0_2_10-443,c,0,DOWN,1,1,
192_0_2_10-443,BACKEND,3,UP,100,200,
stats_on_guest,FRONTEND,1,OPEN,1,1,
"""
Metrics = dict[str, dict[str, float]]


def parsed(text: str) -> Metrics:
    """Return samples by metric and labels; each metric must say once what it is, before its samples, in one place."""
    assert text.endswith("\n")
    found: Metrics = {}
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            said.append(line.split()[2])
            continue
        if line.startswith("# TYPE "):
            _hash, _type, name, kind = line.split()
            assert name == said[-1]
            assert (kind == "counter") == name.endswith("_total")
            assert name not in found
            found[name] = {}
            continue
        match = LINE.fullmatch(line)
        assert match, line
        name, labels, number = match.groups()
        assert name == said[-1]
        assert (labels or "") not in found[name], line
        found[name][labels or ""] = float(number)
    assert all(found.values())
    return {name.removeprefix("cloudstack_router_"): samples for name, samples in found.items()}


@pytest.fixture
def watched(router: Router) -> Router:
    """Return a router with databags whose daemons run, and that has counted."""
    router.boot_with(CHECKOUT / "tests/golden/isolated-three-public-subnets")
    router.put("/etc/cloudstack/monitorservice.json", '{"id": "monitorservice", "health_checks_enabled": true}')
    router.put("/proc/net/stat/nf_conntrack", "entries drop x\n00000001 0000000a 1\n00000001 00000001 1\n")
    router.put("/etc/cloudstack-release", 'Cloudstack "Release" 4.23.0\\\n')
    listed = [{"counter": {"name": name, "bytes": number}} for name, number in COUNTERS.items()]
    router.put("/counters", json.dumps({"nftables": listed}))
    router.tool("nft", f'cat "{router.path("/counters")}"')
    return router


def test_what_a_run_writes_is_what_prometheus_reads(watched: Router) -> None:
    run(watched)
    file = watched.path(FILE)
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755
    found = parsed(file.read_text())
    assert len(file.read_text().splitlines()) < 2000
    release = '"Cloudstack \\"Release\\" 4.23.0\\\\"'
    assert list(found["info"]) == [f'{{name="r-101-VM",kind="router",redundant="false",release={release}}}']
    assert found["rules"]['{kind="forwards"}'] == 4
    assert found["public_sent_bytes_total"] == {'{device="eth2"}': 15}
    assert found["public_received_bytes_total"] == {'{device="eth2"}': 27}
    assert (found["conntrack_entries"], found["conntrack_drop_total"]) == ({"": 90}, {"": 11})
    assert found["service_up"]['{service="dnsmasq"}'] == 1
    assert found["service_restarts_total"]['{service="dnsmasq"}'] == 2
    checks = found["healthcheck_status"]
    assert checks['{check="conntrack_check.py",type="basic",status="WARNING"}'] == 1
    assert checks['{check="conntrack_check.py",type="basic",status="FAILED"}'] == 0
    assert "vrrp_state" not in found


def test_a_systemd_that_is_late_makes_no_daemon_down(watched: Router) -> None:
    watched.tool("systemctl", "echo ActiveState=active; exit 1")
    for _again in range(2):
        entries = [entry for name, entry in run(watched).items() if name.endswith(".service")]
        assert {entry["message"] for entry in entries} == {"systemd does not answer", "service is not needed here"}
        assert not [entry for entry in entries if entry["success"] == "FAILED"]
    found = parsed(watched.path(FILE).read_text())
    assert not {"service_up", "service_restarts_total"} & set(found)


def test_the_same_is_printed_and_changes_nothing(watched: Router) -> None:
    run(watched)
    before = watched.path(FILE).read_text()
    done = watched.run("vr", "report", "--metrics")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(parsed(done.stdout)) == set(parsed(before))
    assert watched.path(FILE).read_text() == before


def test_drops_are_counted_once_and_since_the_start(watched: Router) -> None:
    results = "/var/lib/cloudstack/results/"
    watched.put(f"{results}vm_dhcp_entry.json.1.json", '{"rc": 0, "duration": 0.5}')
    watched.put(f"{results}bad.json.1.json", '{"rc": 1, "duration": 0.1}')
    watched.put(f"{results}cut.json.1.json", "{")
    watched.put(f"{results}odd.json.1.json", "[]")
    for more in (0, 0, 1):
        for number in range(more):
            watched.put(f"{results}more.json.{number}.json", '{"rc": 0, "duration": 0.25}')
        run(watched)
        found = parsed(watched.path(FILE).read_text())
        assert found["drops_total"] == {'{result="applied"}': 1 + more, '{result="failed"}': 1}
    assert found["converge_last_duration_seconds"] == {"": 0.25}


def test_neither_a_start_nor_a_clock_that_is_set_counts_a_drop_again(watched: Router) -> None:
    """An alert on what failed in an hour must not come of a reboot, nor stay out until the clock is there again."""
    on_disk, in_memory = "/var/lib/cloudstack/results", "/run/cloudstack/results"

    def fail(folder: str, name: str, age: float) -> None:
        file, moment = watched.put(f"{folder}/{name}.json", '{"rc": 1, "duration": 0.1}'), time.time() - age
        os.utime(file, (moment, moment))

    def failed() -> float:
        run(watched)
        return parsed(watched.path(FILE).read_text())["drops_total"]['{result="failed"}']

    fail(on_disk, "before-the-start", 2000)
    fail(on_disk, "of-a-clock-that-was-ahead", -7200)
    fail(in_memory, "with-a-full-disk", 10)
    assert [failed(), failed()] == [2, 2]
    fail(on_disk, "of-the-clock-that-was-set", 0)
    assert [failed(), failed()] == [3, 3]


def test_the_load_balancer_is_told_by_rule(watched: Router) -> None:
    path = watched.path("/run/haproxy/admin.sock")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def answer() -> None:
            while True:
                wire = listener.accept()[0]
                with wire:
                    if wire.recv(100) == b"show stat\n":
                        wire.sendall(f"{STATS}192_0_2_10-443,killed-meanwh".encode())

        threading.Thread(target=answer, daemon=True).start()
        found = parsed(watched.run("vr", "report", "--metrics").stdout)
    rule = '{rule="192.0.2.10:443"}'
    numbers = [found[f"lb_{name}"][rule] for name in ("frontend_sessions", "servers", "servers_up")]
    assert numbers == [3, 3, 2]
    assert list(found["lb_servers"]) == [rule]


def test_no_reader_ever_sees_half_a_file(watched: Router) -> None:
    """Statement 44: it is read as fast as can be while it is written again and again."""
    run(watched)
    path, done = watched.path(FILE), threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5):
        watched.put("/proc/sys/net/netfilter/nf_conntrack_count", f"{number}\n")
        run(watched)
    done.set()
    reader.join()
    assert len(seen) > 1
    assert all("filesystem_free_bytes" in parsed(text) for text in seen)


def test_the_owner_of_the_directory_leads_root_nowhere(watched: Router) -> None:
    """It is node_exporter's, which some have listen on the network."""
    victim = watched.put("/etc/victim", "as it was")
    draft = watched.path(FILE).with_name(".cloudstack_router.prom.new")
    draft.parent.mkdir(parents=True)
    draft.symlink_to(victim)
    run(watched)
    assert victim.read_text() == "as it was"


def test_who_computes_at_the_same_moment_fails_neither(watched: Router) -> None:
    """In this copy to put a file into its place takes a second."""
    library = watched.library("command")
    text = library.read_text()
    assert text.count("    os.replace(draft, path)") == 1
    slow = "    import time\n    time.sleep(1)\n    os.replace(draft, path)"
    library.write_text(text.replace("    os.replace(draft, path)", slow))
    both = [watched.start("vr", "report", "--metrics") for _number in range(2)]
    ends = [(running.communicate(timeout=60)[1], running.returncode) for running in both]
    assert ends == [("", 0)] * 2


def test_a_disk_that_is_full_or_in_the_way_fails_no_run(watched: Router) -> None:
    watched.put("/var/lib/prometheus", "a file where a directory should be")
    assert run(watched)["memory_usage_check.py"]["success"] == "SUCCESS"
