# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let each write, fsync and rename of a transaction fail once, as on a disk that fills up at that moment.

Whatever it is: the databags are the old ones or the new, the services are those of the databags, the drop is in the
inbox, in failed/ or taken, the reason is told, and the next converge takes the drop.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Service
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.services import SERVICES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, VrError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES, SPECS
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live, compare
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File, Step, Wanted
from tests.unit.databag.support import BODIES

DROP = "vm_password.json"
FULL = os.strerror(errno.ENOSPC)
DIFFERING = ("firewall", "metadata")


@dataclass
class Disk:
    """Count what is written below a directory, and let one step fail, half done where that is possible."""

    root: Path
    fails_at: int = -1
    steps: int = 0
    failed: str = ""

    def step(self, what: str, path: object) -> None:
        """Take a step; OSError if it is the one that fails."""
        number, self.steps = self.steps, self.steps + 1
        if number == self.fails_at:
            self.failed = f"{what} {path}"
            raise OSError(errno.ENOSPC, FULL)


class Raw(io.FileIO):
    """A file that has room for half of what is written when its step fails."""

    disk: Disk

    def write(self, data: Any) -> int:
        """Write, or fail."""
        try:
            self.disk.step("write", os.readlink(f"/proc/self/fd/{self.fileno()}"))
        except OSError:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no service read or change this machine."""
    monkeypatch.setattr(Host, "read_ahead", lambda _system, **_what: None)
    monkeypatch.setattr(log, "FILE", "/dev/null")
    for service in SERVICES:
        monkeypatch.setitem(SERVICES, service, Service(lambda *_: list[Step]()))


def service_of(root: Path, name: str) -> Callable[[Host, Router, Router], list[Step]]:
    """Return a service that keeps two files of what the router is, as real ones do."""

    def plan(_system: Host, router: Router, _committed: Router) -> list[Step]:
        path = str(root / "service" / name)
        wanted = Wanted(tuple(File(f"{path}{n}", f"{sorted(router.passwords)}\n", durable=n == 1) for n in (1, 2)))
        live = {file.path: found for file in wanted.files if (found := files.read(file.path))}
        return compare(wanted, Live(live, {}, frozenset()))

    return plan


def faulty(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the disk under all that this process writes in its directory."""
    fdopen, fsync, rename, pwrite = os.fdopen, os.fsync, os.rename, os.pwrite

    def opened(descriptor: int, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "w" not in mode or not os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(disk.root)):
            return fdopen(descriptor, mode, *more, **options)
        raw = Raw(descriptor, "w")
        raw.disk = disk
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    def stepping(what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            disk.step(what, arguments)
            return act(*arguments)

        return call

    monkeypatch.setattr(os, "fdopen", opened)
    monkeypatch.setattr(os, "fsync", stepping("fsync", fsync))
    monkeypatch.setattr(os, "rename", stepping("rename", rename))
    monkeypatch.setattr(os, "pwrite", stepping("pwrite", pwrite))


def play(paths: Paths) -> str | None:
    """Do what converge.yml does with the drop, each task with a store of its own; return why it failed."""
    transaction = None
    try:
        planned = task(paths, "vr_plan", drops=[DROP])
        transaction = planned["transaction"]
        for service in planned["services"]:
            task(paths, f"vr_{service}", transaction=transaction)
    except VrError as error:
        return put_back(paths, transaction, str(error)) if transaction else str(error)
    return None


def put_back(paths: Paths, transaction: str, reason: str) -> str:
    """Do what put_back.yml does."""
    try:
        for service in task(paths, "vr_plan", state="committed", transaction=transaction)["services"]:
            task(paths, f"vr_{service}", transaction=transaction)
    except VrError as error:
        reason += f"; putting the previous state back failed: {error}"
    task(paths, "vr_abort", transaction=transaction, reason=reason)
    return reason


def task(paths: Paths, module: str, **parameters: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in SPECS[module].items()}
    return ENTRIES[module](Call({**defaults, **parameters}, Renderer({}), store=Store(paths)))


def send(paths: Paths, address: str) -> None:
    """Let a password's drop lie in the inbox."""
    paths.inbox.mkdir(parents=True, exist_ok=True)
    body = {**BODIES["vmpassword"], "type": "vmpassword", "ip_address": address}
    (paths.inbox / DROP).write_text(json.dumps(body))


def passwords(paths: Paths) -> list[str]:
    return sorted(key for key in Store(paths).load().get("vmpassword", {}) if key != "id")


def services(paths: Paths) -> set[str]:
    return {path.read_text() for path in (paths.root / "service").iterdir()}


def attempt(paths: Paths, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> tuple[Disk, str | None]:
    """Take a second password's drop on a router that has a first one, with a disk that fails at a step."""
    send(paths, "10.1.1.11")
    assert play(paths) is None
    (paths.results / f"{DROP}.json").unlink()
    send(paths, "10.1.1.12")
    disk = Disk(paths.root, fails_at)
    with monkeypatch.context() as patch:
        faulty(disk, patch)
        reason = play(paths)
    return disk, reason


def check(paths: Paths, failed: str, reason: str | None) -> None:
    """Check that the router is one thing, old or new, and that whoever sent the drop hears the truth."""
    old, new = ["10.1.1.11"], ["10.1.1.11", "10.1.1.12"]
    found = passwords(paths)
    assert found == (new if reason is None else old), failed
    assert services(paths) == {f"{found}\n"}, failed
    kept = (paths.inbox / DROP).exists() or (paths.failed / DROP).exists()
    assert kept or (found == new and Store(paths).already_processed(DROP)), failed
    record = Store(paths).read_result(DROP)
    if reason is None:
        assert record is not None, failed
        assert record["rc"] == 0, failed
        return
    assert FULL in reason, failed
    assert record is None or (record["rc"] == 1 and FULL in record["reason"]), failed
    assert record is not None or (paths.inbox / DROP).exists(), failed


def test_each_write_fsync_and_rename_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, reason = attempt(in_directory(tmp_path / "whole", monkeypatch), monkeypatch, -1)
    assert reason is None
    assert whole.steps > 25
    outcomes = set()
    for number in range(whole.steps):
        paths = in_directory(tmp_path / str(number), monkeypatch)
        disk, reason = attempt(paths, monkeypatch, number)
        assert disk.failed, number
        check(paths, disk.failed, reason)
        outcomes.add(reason is None)
        # There is room again.
        send(paths, "10.1.1.12")
        assert play(paths) is None, disk.failed
        assert services(paths) == {f"{passwords(paths)}\n"}
    assert outcomes == {True, False}


def in_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Return a new router whose services keep their files in it."""
    for service in DIFFERING:
        monkeypatch.setitem(SERVICES, service, Service(service_of(root, service)))
    return Paths(root)
