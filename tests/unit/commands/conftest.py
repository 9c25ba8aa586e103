# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build a router out of files: the real commands, with stand-ins for what they start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
UNITS = "shift 2; for unit; do echo ActiveState={}; echo NRestarts=2; echo; done"
"""What systemctl says of all units it is asked about."""
COLLECTION = "usr/share/ansible/collections/ansible_collections/cloudstack/virtual_router"

# Does what play.json says, one entry per call; without one it takes the drop or aggregate as the real playbook does.
PLAYBOOK = r"""#!/usr/bin/python3 -IS
import json, os, signal, sys, time
root = os.path.abspath(__file__).removesuffix("/opt/cloudstack/venv/bin/ansible-playbook")
values = json.loads(sys.argv[sys.argv.index("-e") + 1])
inbox, results = root + "/var/cache/cloud/", root + "/var/lib/cloudstack/results/"
with open(root + "/calls.jsonl", "a") as calls:
    seen = {"argv": sys.argv[1:], "env": dict(os.environ), "values": values, "inbox": sorted(os.listdir(inbox))}
    calls.write(json.dumps(seen) + "\n")
plan = {}
if os.path.exists(root + "/play.json"):
    entries = json.load(open(root + "/play.json"))
    plan = entries.pop(0) if entries else {}
    json.dump(entries, open(root + "/play.json", "w"))
for path, text in plan.get("write", {}).items():
    with open(root + path, "w") as file:
        file.write(text)
sys.stdout.write(plan.get("output", "PLAY [routers]\n"))
sys.stdout.flush()
time.sleep(plan.get("sleep", 0))
check = "--check" in sys.argv
names = values["vr_drops"] + [os.path.basename(path) for path in [values.get("vr_aggregate")] if path]
if plan.get("waiting"):
    names = values["vr_waiting"] + names
record = plan.get("record", {})
if not check and record is not None:
    for name in names:
        if record.get("rc", 0) == 0 and values["vr_keep"]:
            os.makedirs(inbox + "processed", exist_ok=True)
            open(inbox + "processed/" + name + ".gz", "wb").close()
        os.unlink(inbox + name)
    for name in names if plan.get("waiting") else names[-1:] or ["converge"]:
        full = {"name": name, "rc": 0, "reason": None, "changed": ["firewall"], "duration": 0.5, "pending": [],
                "warnings": []} | record
        with open(results + name + ".json.new", "w") as file:
            json.dump(full, file)
        os.replace(results + name + ".json.new", results + name + ".json")
if "signal" in plan:
    os.kill(os.getpid(), getattr(signal, "SIG" + plan["signal"]))
sys.exit(plan.get("status", 1 if (record or {}).get("rc") else 0))
"""


@dataclass(frozen=True)
class Router:
    """A fake root directory with the commands in place."""

    root: Path

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def program(self, name: str) -> Path:
        """Return where a command, or what a unit starts, is."""
        daemon = self.path(f"/opt/cloudstack/libexec/{name}")
        return daemon if daemon.exists() else self.path(f"/opt/cloud/bin/{name}")

    def library(self, name: str) -> Path:
        """Return a module of what they share."""
        return self.path(f"{COLLECTION}/lib/vrlib/{name}.py")

    def put(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        return file

    def drop(self, name: str, content: str = "{}") -> Path:
        return self.put(f"/var/cache/cloud/{name}", content)

    def tool(self, name: str, script: str) -> None:
        """Put a stand-in for a program of the system first in the commands' PATH."""
        self.put(f"/usr/sbin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def plan(self, *entries: dict[str, Any]) -> None:
        """Say what the next runs of the playbook do."""
        self.put("/play.json", json.dumps(entries))

    def start(self, command: str, *args: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        # The environment is the caller's own business: nothing of it may matter.
        return subprocess.Popen(
            [str(self.program(command)), *args],
            env={"PATH": "/nowhere", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
            preexec_fn=_heed_interrupts,
        )

    def run(self, command: str, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(command, *args, env=env)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def boot_with(self, case: Path) -> None:
        """Let it have booted with the databags of a golden case; its daemons run, and of connections 90 % are taken."""
        for file in (case / "databags").iterdir():
            shutil.copy(file, self.path("/etc/cloudstack"))
        for name, mac in json.loads((case / "nics.json").read_text()).items():
            self.put(f"/sys/class/net/{name}/address", f"{mac}\n")
        self.put("/var/cache/cloud/boot_up_done")
        self.put("/proc/uptime", "1000.0 1.0\n")
        self.put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 588 kB\n")
        self.put("/proc/stat", "cpu  10 0 10 80 0 0 0 0 0 0\n")
        self.put("/proc/sys/net/netfilter/nf_conntrack_count", "90\n")
        self.put("/proc/sys/net/netfilter/nf_conntrack_max", "100\n")
        self.tool("systemctl", UNITS.format("active"))
        for folder in ("/var/log", "/tmp"):
            self.path(folder).mkdir(parents=True, exist_ok=True)

    def calls(self) -> list[dict[str, Any]]:
        """Return what the playbook was started with, run by run."""
        file = self.path("/calls.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def fails(self, command: str, *args: str) -> str:
        """Run a command that must fail with exactly one line on stderr and nothing on stdout; return the line."""
        done = self.run(command, *args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1
        return done.stderr.rstrip("\n")


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    """Return a router with the real commands and collection, a stand-in playbook, and empty state."""
    made = Router(tmp_path / "router")
    collection = made.path(COLLECTION)
    for folder in ("bin", "lib", "libexec"):
        shutil.copytree(CHECKOUT / folder, collection / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("plugins", "playbooks", "roles", "templates", "meta"):
        (collection / folder).symlink_to(CHECKOUT / folder)
    for path, folder in (("/opt/cloud/bin", "bin"), ("/opt/cloudstack/libexec", "libexec")):
        made.path(path).parent.mkdir(parents=True, exist_ok=True)
        made.path(path).symlink_to(collection / folder)
    made.put("/opt/cloudstack/venv/bin/ansible-playbook", PLAYBOOK, 0o755)
    for folder in ("var/cache/cloud", "etc/cloudstack", "var/lib/cloudstack/results", "var/log/cloudstack", "root"):
        made.path(folder).mkdir(parents=True)
    return made


@pytest.fixture(scope="session")
def namespaces() -> list[str]:
    """Return the words that run a command in its own network and mount namespaces; skip where that is not allowed."""
    words = ["unshare", "-n", "-m"]
    if os.geteuid() != 0 or subprocess.run([*words, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("network and mount namespaces need root")
    return words
