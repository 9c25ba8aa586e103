# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Alerts: what is written once is delivered once, whatever is rotated meanwhile."""

from __future__ import annotations

import resource
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

LOG = "/var/log/cloudstack/alerts.log"
RECORD = "2025-10-01 10:00:0{},123 [ALERT] [haproxy] record {}"


def fetch(router: Router, moment: str = "1970-01-01 00:00:00") -> list[str]:
    """Return the records as the management server splits them."""
    done = router.run("getRouterAlerts.sh", *moment.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert len(done.stdout) <= 32 * 1024
    return [] if done.stdout == "No Alerts\n" else done.stdout.rstrip("\n").split("\\n")


def test_nothing_is_no_alerts(router: Router) -> None:
    for args in ((), ("null",), ("1970-01-01", "00:00:00")):
        assert router.run("getRouterAlerts.sh", *args).stdout == "No Alerts\n"


def test_what_is_newer_comes_oldest_first(router: Router) -> None:
    router.put(f"{LOG}.1", RECORD.format(1, "a") + "\n")
    router.put(LOG, RECORD.format(2, "b") + "\n" + RECORD.format(3, "c") + "\n")
    assert [line[-1] for line in fetch(router)] == ["a", "b", "c"]
    assert [line[-1] for line in fetch(router, "2025-10-01 10:00:01")] == ["b", "c"]
    assert fetch(router, "2025-10-01 10:00:03") == []


@pytest.mark.parametrize(
    "args",
    [
        ("2025-10-01",),
        ("2025-13-01", "00:00:00"),
        ("2025-10-01", "24:00:00"),
        (";reboot",),
        ("$(id)", "x"),
        ("1", "2", "3"),
    ],
)
def test_a_moment_that_is_none_is_refused(router: Router, args: tuple[str, ...]) -> None:
    assert "expected yyyy-MM-dd HH:mm:ss" in router.fails("getRouterAlerts.sh", *args)


def test_a_full_log_is_answered_at_once_and_in_bounds(router: Router) -> None:
    """100,000 records: the newest 100, of which the first says how many are left out."""
    stamps = (time.gmtime(1_700_000_000 + number) for number in range(100_000))
    lines = [f"{time.strftime('%Y-%m-%d %H:%M:%S', s)},000 [ALERT] [x] {n} {'y' * 40}\n" for n, s in enumerate(stamps)]
    router.put(LOG, "".join(lines))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = fetch(router)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    assert len(found) == 100
    assert f"99901 older alerts are in {LOG}" in found[0]
    assert found[-1] == lines[-1].rstrip("\n")


def test_records_are_one_line_whatever_is_said(router: Router) -> None:
    write(router, 'alerts.write("CRIT", "a\\\\b", "x\\ny\\\\n z\\0 \\x1b[0m  é")')
    time.sleep(1.1)
    (found,) = fetch(router)
    assert found.endswith(" [CRIT] [a/b] x y/n z? ?[0m é")


def write(router: Router, code: str) -> None:
    head = f"import sys, time\nsys.path.insert(0, {str(router.library('').parents[1])!r})\nfrom vrlib import alerts\n"
    script = router.put("/opt/cloud/bin/write.py", head + code)
    done = subprocess.run(["python3", "-IS", str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_each_of_a_thousand_comes_once_while_the_log_is_renamed(router: Router) -> None:
    """Four writers, a reader that goes on from its own last timestamp, and a log that is renamed often."""
    library = router.library("alerts")
    library.write_text(library.read_text().replace("MOST_BYTES = 1024 * 1024", "MOST_BYTES = 12 * 1024"))
    script = router.put("/opt/cloud/bin/write.py", WRITER)
    writers = [subprocess.Popen(["python3", "-IS", str(script), str(number)]) for number in range(4)]
    moment, seen = "1970-01-01 00:00:00", []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        over = all(writer.poll() is not None for writer in writers)
        if over:
            time.sleep(1.1)
        found = fetch(router, moment)
        seen += found
        if found:
            moment = found[-1].partition(",")[0]
        if over:
            break
        time.sleep(0.3)
    assert [writer.returncode for writer in writers] == [0] * 4
    texts = [line.rpartition(" ")[2] for line in seen]
    assert sorted(texts) == sorted(f"{number}-{count}" for number in range(4) for count in range(250))
    assert router.path(f"{LOG}.1").exists()


WRITER = """
import os, random, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib"))
from vrlib import alerts
for count in range(250):
    alerts.write("ALERT", "test", f"{sys.argv[1]}-{count}")
    time.sleep(random.random() / 7)
"""


def test_what_comes_again_is_counted(router: Router) -> None:
    library = router.library("alerts")
    library.write_text(library.read_text().replace("WINDOW = 600.0", "WINDOW = 1.0"))
    write(router, 'for _ in range(5):\n    alerts.write("ALERT", "x", "again")\ntime.sleep(1.1)\nalerts.flush()')
    lines = router.path(LOG).read_text().splitlines()
    assert [line.partition("] again")[2] for line in lines] == ["", " (5 times in 0 min)"]


def test_an_alert_is_added_by_a_command(router: Router) -> None:
    assert router.run("vr-alert", "NOTIF", "keepalived", "this router is primary now").returncode == 0
    assert router.path(LOG).read_text().endswith(" [NOTIF] [keepalived] this router is primary now\n")
    assert "usage: vr-alert" in router.fails("vr-alert", "LOUD", "x", "y")


def test_a_record_that_the_disk_does_not_take_whole_is_not_torn(router: Router) -> None:
    write(
        router,
        'import resource\nalerts.write("ALERT", "x", "whole")\n'
        "resource.setrlimit(resource.RLIMIT_FSIZE, (90, 90))\n"
        'alerts.write("ALERT", "x", "torn " * 50)\n',
    )
    assert [line.rpartition(" ")[2] for line in router.path(LOG).read_text().splitlines()] == ["whole"]


def test_a_full_memory_stops_nobody_who_has_an_alert(router: Router, namespaces: list[str]) -> None:
    place, program = router.path("/run"), router.path("/opt/cloudstack/libexec/vr-alert")
    place.mkdir()
    script = f"mount -t tmpfs -o nr_inodes=1 none {place} && {program} ALERT x full"
    done = subprocess.run([*namespaces, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert router.path(LOG).read_text().endswith(" [ALERT] [x] full\n")


def ended(router: Router, **said: str) -> None:
    done = router.run(
        "vr-service-ended", "dnsmasq@tier_10_1_1_0", env={"EXIT_CODE": "killed", "EXIT_STATUS": "KILL", **said}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_daemon_that_was_stopped_is_no_alert(router: Router) -> None:
    ended(router, SERVICE_RESULT="success")
    assert not router.path(LOG).exists()


def test_a_daemon_that_cannot_run_is_critical_until_it_runs(router: Router) -> None:
    library = router.library("ended")
    library.write_text(library.read_text().replace("PAUSE = 4.0", "PAUSE = 0.0").replace("WINDOW / 6", "0"))
    for _end in range(10):
        ended(router, SERVICE_RESULT="signal")
    texts = [line.partition(",")[2][4:] for line in router.path(LOG).read_text().splitlines()]
    assert texts == [
        "[ALERT] [dnsmasq] The process dnsmasq is not running (killed KILL), restarted",
        "[CRIT] [dnsmasq] The process dnsmasq recover failed",
    ]
    write(router, 'from vrlib import ended\nended.recovered(["dnsmasq@tier_10_1_1_0", "nginx"])')
    last = router.path(LOG).read_text().splitlines()[-1]
    assert last.endswith("[INFO] [dnsmasq] The process dnsmasq is recovered successfully")
