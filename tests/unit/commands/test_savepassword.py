# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""savepassword.sh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

PLAYBOOK = "/opt/cloudstack/venv/bin/ansible-playbook"


@pytest.mark.parametrize("order", [("-v", "10.1.1.11", "-p", "a b*$(id)"), ("-p", "a b*$(id)", "-v", "10.1.1.11")])
def test_the_password_becomes_one_drop_that_is_not_kept(router: Router, order: tuple[str, ...]) -> None:
    """One request per password (A18), none of it on any output (M2)."""
    real = router.path(PLAYBOOK).read_text().replace("venv/bin/ansible-playbook", "venv/bin/real")
    router.put("/opt/cloudstack/venv/bin/real", real, 0o755)
    copy = f"cp {router.path('/var/cache/cloud')}/vm_password.json.* {router.path('/drop.json')}"
    router.put(PLAYBOOK, f'#!/bin/sh\n{copy}\nexec {router.path("/opt/cloudstack/venv/bin/real")} "$@"\n', 0o755)
    done = router.run("savepassword.sh", *order)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    drop = json.loads(router.path("/drop.json").read_text())
    assert drop == {"type": "vmpassword", "ip_address": "10.1.1.11", "password": "a b*$(id)"}
    (call,) = router.calls()
    assert call["values"]["vr_keep"] is False
    assert "a b" not in json.dumps(call)
    assert list(router.path("/var/cache/cloud").iterdir()) == []


def test_a_refused_password_fails_with_the_reason(router: Router) -> None:
    router.plan({"record": {"rc": 1, "reason": "vm_password.json.x: ip_address: expected an address"}})
    assert "expected an address" in router.fails("savepassword.sh", "-v", "nonsense", "-p", "canary-17")


@pytest.mark.parametrize("args", [(), ("-v", "10.1.1.11"), ("-v", "10.1.1.11", "-p"), ("-v", "a", "-x", "canary-17")])
def test_anything_else_is_a_usage_error(router: Router, args: tuple[str, ...]) -> None:
    assert router.fails("savepassword.sh", *args) == "usage: savepassword.sh -v ADDRESS -p PASSWORD"
    assert router.calls() == []
