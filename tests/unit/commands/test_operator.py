# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr: what an operator sees, on the databags of a golden case."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import rows

from .conftest import CHECKOUT

if TYPE_CHECKING:
    from .conftest import Router

CASE = CHECKOUT / "tests/golden/isolated-three-public-subnets"
TOPICS = (*rows.TOPICS, "drops")


@pytest.fixture
def filled(router: Router) -> Router:
    """Return a router with databags and NICs."""
    for file in (CASE / "databags").iterdir():
        shutil.copy(file, router.path("/etc/cloudstack"))
    for name, mac in json.loads((CASE / "nics.json").read_text()).items():
        router.put(f"/sys/class/net/{name}/address", f"{mac}\n")
    return router


def said(router: Router, *words: str, status: int = 0) -> str:
    done = router.run("vr", *words)
    assert (done.returncode, done.stderr) == (status, ""), done
    return done.stdout


@pytest.mark.parametrize("topic", TOPICS)
def test_show_prints_a_table_and_the_same_as_json(filled: Router, topic: str) -> None:
    lines, rows = said(filled, "show", topic).splitlines(), json.loads(said(filled, "show", topic, "--json"))
    assert len(lines) == (len(rows) + 1 if rows else 1)
    assert all(
        value.split(" ")[0] in line for row, line in zip(rows, lines[1:], strict=False) for value in row.values()
    )


def test_show_takes_every_topic_and_no_other(filled: Router) -> None:
    done = filled.run("vr", "show", "bogus")
    assert done.returncode == 2
    assert sorted(re.findall("[a-z]+", done.stderr.rpartition("choose from")[2])) == sorted(TOPICS)


def test_show_nat(filled: Router) -> None:
    rows = json.loads(said(filled, "show", "nat", "--json"))
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("forward", "static", "source")}
    assert kinds["forward"][1] == {
        "kind": "forward",
        "public": "192.0.2.11",
        "protocol": "tcp",
        "ports": "80",
        "internal": "10.1.1.11",
        "internal_ports": "8080",
        "sources": "any",
    }
    assert [row["public"] for row in kinds["static"]] == ["203.0.113.130"]
    assert len(kinds["source"]) == 3


def test_why_names_way_translation_and_record(filled: Router) -> None:
    assert said(filled, "why", "203.0.113.9", "192.0.2.10", "tcp/22").splitlines() == [
        "  comes in by eth2 (public)",
        "  allowed by the firewall of 192.0.2.10  [firewallrules 101]",
        "  its destination becomes 10.1.1.11 port 22  [forwardingrules 192.0.2.10]",
        "  goes out by eth0 (guest)",
        "forwarded by eth0: 203.0.113.9 -> 10.1.1.11 tcp/22",
    ]
    denied = json.loads(said(filled, "why", "203.0.113.200", "192.0.2.10", "tcp/22", "--json", status=1))
    assert denied["ends"] == "dropped"
    assert "default of the firewall of 192.0.2.10" in denied["stages"][-1]["by"]
    spoofed = said(filled, "why", "10.1.1.11", "192.0.2.10", "tcp/22", "--in", "eth2", status=1)
    assert "no packet from 10.1.1.11 can come in by eth2  [chain sources]" in spoofed


def test_why_imports_nothing_that_the_packet_does_not_need(filled: Router) -> None:
    """An answer must come at once: what makes rulesets and files costs half as much again."""
    question = ("why", "203.0.113.9", "192.0.2.10", "tcp/22")
    asked = ["/usr/bin/python3", "-IS", "-X", "importtime", filled.program("vr"), *question]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "forwarded by eth0" in done.stdout
    plans = {line.partition("._plan.")[2] for line in done.stderr.splitlines()}
    assert {"firewall.judge", "firewall.nat", "why"} <= plans
    assert not plans & {"bgp", "firewall.conntrack", "firewall.ruleset", "interfaces", "shares", "steps", "why6"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("x", "192.0.2.10", "tcp/22"), "expected an IP address"),
        (("2001:db8::g", "2001:db8::1", "tcp/22"), "expected an IP address"),
        (("2001:db8::2%eth0", "2001:db8::1", "tcp/22"), "expected an IP address"),
        (("192.0.2.1", "2001:db8::1", "tcp/22"), "expected two addresses of one family"),
        (("192.0.2.1", "192.0.2.10", "tcp"), "expected tcp/PORT"),
        (("192.0.2.1", "192.0.2.10", "tcp/70000"), "expected tcp/PORT"),
        (("192.0.2.1", "192.0.2.10", "foo/1"), "expected tcp/PORT"),
        (("192.0.2.1", "192.0.2.10", "tcp/1", "--in", "eth9"), "expected one of eth0, eth1"),
    ],
)
def test_why_refuses_what_is_no_packet(filled: Router, words: tuple[str, ...], expected: str) -> None:
    done = filled.run("vr", "why", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert expected in done.stderr


def test_why_knows_a_protocol_by_its_number(filled: Router) -> None:
    asked = [said(filled, "why", "203.0.113.9", "192.0.2.10", f"{word}/22") for word in ("tcp", "6", "006")]
    assert len(set(asked)) == 1


def test_why_tells_apart_what_it_does_not_explain(filled: Router) -> None:
    assert said(filled, "why", "0.0.0.0", "255.255.255.255", "udp/67", status=2).endswith(
        "not explained: 0.0.0.0 -> 255.255.255.255 udp/67\n"
    )


def test_databags_that_are_damaged_are_one_line(filled: Router) -> None:
    filled.put("/etc/cloudstack/dhcpentry.json", "{")
    drop = filled.drop("forwarding_rules.json.1", json.dumps({"type": "forwardrules", "rules": []}))
    for words in (("show",), ("why", "192.0.2.1", "192.0.2.10", "tcp/1"), ("plan", drop.name), ("report",)):
        assert "dhcpentry.json" in filled.fails("vr", *words)


def test_plan_says_what_comes_and_goes_and_takes_nothing(filled: Router) -> None:
    forward = {
        "public_ip": "192.0.2.10",
        "internal_ip": "10.1.1.12",
        "type": "forward",
        "protocol": "tcp",
        "public_ports": "8443:8443",
        "internal_ports": "443:443",
    }
    drop = filled.drop("forwarding_rules.json.1", json.dumps({"type": "forwardrules", "rules": [_rule(forward)]}))
    before = {file.name: file.read_bytes() for file in filled.path("/etc/cloudstack").iterdir() if file.is_file()}
    out = said(filled, "plan", drop.name)
    assert out.splitlines()[0] == "nat:"
    assert out.splitlines()[2].startswith("+ forward 192.0.2.10 tcp      8443  10.1.1.12 443")
    assert len(out.splitlines()) == 3
    assert before == {f.name: f.read_bytes() for f in filled.path("/etc/cloudstack").iterdir() if f.is_file()}
    assert drop.exists()
    filled.drop("bad.json", "{")
    assert filled.fails("vr", "plan", "bad.json").startswith("bad.json: $: expected JSON")


def _rule(forward: dict[str, str]) -> dict[str, object]:
    return {
        "revoke": False,
        "protocol": forward["protocol"],
        "source_ip_address": forward["public_ip"],
        "source_port_range": forward["public_ports"],
        "destination_ip_address": forward["internal_ip"],
        "destination_port_range": forward["internal_ports"],
        "already_added": False,
    }


def test_a_record_that_is_damaged_hides_no_other(filled: Router) -> None:
    """A power cut leaves such; one that the disk did not take is listed once, with what is in memory."""
    for number, (folder, text) in enumerate(
        [("var/lib", "{"), ("var/lib", '{"rc": 0}'), ("var/lib", '{"rc": 1}'), ("run", '{"rc": 0}')]
    ):
        file = filled.put(f"/{folder}/cloudstack/results/{min(number, 2)}.json", text)
        os.utime(file, (1_700_000_000 + number,) * 2)
    rows = json.loads(said(filled, "log", "--json"))
    assert [row["result"] for row in rows] == ["unknown", "done", "done"]
    assert "0.json: damaged result record" in rows[0]["said"]
    assert "damaged" in said(filled, "report")


def test_who_reads_no_further_is_no_failure(filled: Router) -> None:
    """As of `vr show nat | head -1`."""
    with filled.start("vr", "show", "nat") as running:
        assert running.stdout
        running.stdout.close()
        assert running.stderr
        assert (running.stderr.read(), running.wait(30)) == ("", 0)


def test_log_shows_records(filled: Router) -> None:
    for name, record in (("a.json", {"rc": 0, "changed": ["firewall"]}), ("b.json", {"rc": 1, "reason": "b.json: no"})):
        filled.put(f"/var/lib/cloudstack/results/{name}.json", json.dumps({"name": name, "duration": 0.5, **record}))
    rows = json.loads(said(filled, "log", "--json"))
    assert sorted((row["drop"], row["result"], row["said"]) for row in rows) == [
        ("a.json", "done", "firewall"),
        ("b.json", "failed", "b.json: no"),
    ]
    assert json.loads(said(filled, "log", "b.json", "--json"))["reason"] == "b.json: no"
    assert "no record in" in filled.fails("vr", "log", "c.json")
    lines = ["x b.json: no", "x b.json.1: done", "x web.json: done", "x failed with a.json, b.json taken along"]
    filled.put("/var/log/cloudstack/router.log", "\n".join(lines))
    assert said(filled, "log", "b.json").splitlines()[-2:] == [lines[0], lines[3]]
    assert "done" not in said(filled, "log", "b.json")


def test_check_is_quiet_when_all_is_well_and_fails_else(filled: Router) -> None:
    assert "no drift" in said(filled, "check")
    assert filled.calls()[0]["argv"][-4:-2] == ["--check", "--diff"]
    entry = {"success": "FAILED", "lastUpdate": "1", "lastRunDuration": "1", "message": "down"}
    filled.put("/var/lib/cloudstack/health/basic.json", json.dumps({"dhcp.service": entry}))
    assert "dhcp.service" in said(filled, "check", status=1)
    filled.path("/var/lib/cloudstack/health/basic.json").unlink()
    filled.plan(
        {"output": "TASK [x]\n--- before\n+++ after\n+a line\nchanged: [localhost]\n"},
        {"output": "TASK [x]\nchanged: [localhost]\n"},
    )
    assert "+a line" in said(filled, "check", status=1)
    assert "the kernel's state does" in said(filled, "check", status=1)


def test_a_report_is_one_page_and_has_the_verdict_of_the_checks(filled: Router) -> None:
    results = {f"/var/lib/cloudstack/results/{number}.json.json": f"{number}.json" for number in range(30)}
    for path, name in results.items():
        filled.put(path, json.dumps({"name": name, "rc": 0, "duration": 0.5, "changed": ["firewall"]}))
    filled.put("/var/log/cloudstack/alerts.log", "2025-10-01 10:00:00,000 [ALERT] [x] y\n" * 50)
    lines = said(filled, "report").splitlines()
    assert lines[0] == "OK"
    assert len(lines) <= 60
    assert lines[-1].endswith("[ALERT] [x] y")
    entry = {"success": "FAILED", "lastUpdate": "1", "lastRunDuration": "1", "message": "down"}
    filled.put("/var/lib/cloudstack/health/basic.json", json.dumps({"dhcp.service": entry}))
    assert said(filled, "report", status=1).splitlines()[0] == "FAILED: dhcp.service"
    filled.put("/var/lib/cloudstack/health/advanced.json", json.dumps({f"x{number}.py": entry for number in range(30)}))
    assert len(said(filled, "report", status=1).splitlines()) <= 60
    filled.path("/var/lib/cloudstack/health/advanced.json").unlink()
    assert json.loads(said(filled, "report", "--json", status=1))["verdict"] == "FAILED: dhcp.service"


class Page(HTMLParser):
    """Read a page: every element must be closed in its order, and nothing may lead or call elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.lines: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "div", "table", "tr"}
        assert tag in allowed | {"th", "td", "svg", "line", "rect", "text"}, tag
        assert not [name for name, _value in attrs if name.startswith("on") or name in ("src", "href", "style")]
        if tag != "meta":
            self.open.append(tag)
        if tag == "line":
            self.lines.append(dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            assert "url(" not in data
            assert "@import" not in data
        self.words.append(data)


HOSTILE = "<script src=//x>&quot;' onload=x</td><img src=x onerror=alert(1)>"


def test_a_report_for_browsers_is_one_file_and_what_others_named_is_text(filled: Router) -> None:
    bag = json.loads(filled.path("/etc/cloudstack/cmdline.json").read_text())
    for number in range(20):
        record = {"name": f"{HOSTILE}{number}", "rc": 1, "reason": HOSTILE * 9, "duration": 0.5}
        filled.put(f"/var/lib/cloudstack/results/{number}.json.json", json.dumps(record))
    entry = {"success": "FAILED", "lastUpdate": "1", "lastRunDuration": "1", "message": HOSTILE}
    filled.put("/var/lib/cloudstack/health/basic.json", json.dumps({"dhcp.service": entry}))
    filled.put("/var/log/cloudstack/alerts.log", f"2025-10-01 10:00:00,000 [ALERT] [x] {HOSTILE}\n" * 50)
    filled.put("/sys/class/net/eth3/operstate", "down\n")
    text = said(filled, "report", "--html", status=1)
    page = Page(text)
    said_all = "".join(page.words)
    assert len(text.encode()) < 100_000
    assert "FAILED: dhcp.service" in said_all
    assert HOSTILE in said_all
    assert bag["config"]["name"] in said_all
    assert len(page.lines) == 5
    assert [line.get("class") for line in page.lines].count("down") == 1
    assert "prefers-color-scheme: dark" in text
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text


def test_no_secret_is_shown(filled: Router) -> None:
    bag = json.loads(filled.path("/etc/cloudstack/cmdline.json").read_text())
    bag["config"] |= {"vmpassword": "CanaryOne", "router_password": "CanaryTwo", "redundant_router": "1"}
    filled.put("/etc/cloudstack/cmdline.json", json.dumps(bag))
    filled.put("/etc/cloudstack/vmpassword.json", json.dumps({"id": "vmpassword", "10.1.1.11": "CanaryThree"}))
    everything = "".join(said(filled, "show", topic, "--json") for topic in TOPICS) + said(filled, "report")
    filled.path("/tmp").mkdir(exist_ok=True)
    everything += said(filled, "report", "--html") + said(filled, "report", "--metrics")
    assert "r-101-VM" in everything
    assert "Canary" not in everything
