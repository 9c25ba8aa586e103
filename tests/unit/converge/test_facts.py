# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr_facts: what the databags say, by topic, as its documentation has it, and no secret."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.rows import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer
from ansible_collections.cloudstack.virtual_router.plugins.modules import vr_facts
from tests.golden.cases import GOLDEN, cases, nics
from tests.unit.plan.samples import rule, rules, vpc


def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, *subset: str) -> dict[str, Any]:
    """Return the facts of a golden case."""
    shutil.copytree(GOLDEN / case / "databags", tmp_path / "etc/cloudstack", dirs_exist_ok=True)
    monkeypatch.setattr(host, "nics", lambda: nics(GOLDEN / case))
    call = Call({"gather_subset": list(subset or ("all",))}, Renderer({}), store=Store(Paths(tmp_path)))
    result = ENTRIES["vr_facts"](call)
    assert result["changed"] is False
    found: dict[str, Any] = result["ansible_facts"]["cloudstack_router"]
    return found


def test_only_what_is_asked_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(tmp_path, monkeypatch, "vpc", "nat", "acl")
    assert sorted(found) == ["acl", "nat"]
    assert found["nat"]


def documented() -> dict[str, set[str]]:
    topics = yaml.safe_load(vr_facts.RETURN)["ansible_facts"]["contains"]["cloudstack_router"]["contains"]
    return {topic: set(item["contains"]) for topic, item in topics.items()}


@pytest.mark.parametrize("case", [case.name for case in cases()])
def test_every_key_is_documented_and_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    known = documented()
    found = facts(tmp_path, monkeypatch, case)
    assert set(found) == set(known)
    for topic, rows in found.items():
        for row in rows:
            assert set(row) == known[topic]
            assert all(isinstance(value, str) for value in row.values())


ENTERS = ("into the network", "out of the network", "into the network, IPv6", "out of the network, IPv6")


def test_a_routed_network_tells_what_enters_it_of_both_families(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = facts(tmp_path, monkeypatch, "routed-isolated")
    assert tuple(dict.fromkeys(row["way"] for row in found["firewall"])) == ENTERS
    assert any(":" in row["addresses"] for row in found["tiers"])
    assert any(":" in row["network"] for row in found["routes"])
    assert any(":" in row["networks"] and row["peer"] for row in found["bgp"])


def test_a_vpc_tells_its_lists_of_both_families() -> None:
    lists = (rules(rule(label="six", sources=("2001:db8::/32",))), rules())
    rows = tables(vpc(acls6={"eth2": lists}))["acl"]
    assert [(row["way"], row["sources"], row["record"]) for row in rows] == [
        ("towards eth2, IPv6", "2001:db8::/32", "six"),
        ("towards eth2, IPv6", "any", "default"),
        ("from eth2, IPv6", "any", "default"),
    ]


def test_tunnels_and_sessions_are_told_without_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(tmp_path, monkeypatch, "site-to-site-vpn")
    bag = json.loads((tmp_path / "etc/cloudstack/site2sitevpn.json").read_text())
    assert {row["peer"] for row in found["vpn"]} <= bag.keys()
    assert found["vpn"]
    keys = [record["ipsec_psk"] for peer, record in bag.items() if peer != "id"]
    assert not [key for key in keys if key in json.dumps(found)]
    sessions = facts(tmp_path / "other", monkeypatch, "routed-isolated")["bgp"]
    peers = json.loads((tmp_path / "other/etc/cloudstack/bgppeers.json").read_text())
    passwords = [record.get("peer_password") for key, record in peers.items() if key != "id"]
    assert passwords == ["bgpS3cret"]
    assert sessions
    assert "bgpS3cret" not in json.dumps(sessions)


def test_no_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(tmp_path, monkeypatch, "load-balancer")
    bag = tmp_path / "etc/cloudstack/cmdline.json"
    content = json.loads(bag.read_text())
    content["config"] |= {"vmpassword": "CanaryOne", "router_password": "CanaryTwo"}
    bag.write_text(json.dumps(content))
    (tmp_path / "etc/cloudstack/vmpassword.json").write_text('{"id": "vmpassword", "10.1.1.11": "CanaryThree"}')
    call = Call({"gather_subset": ["all"]}, Renderer({}), store=Store(Paths(tmp_path)))
    told = json.dumps(ENTRIES["vr_facts"](call))
    assert found["lb"]
    assert "Canary" not in told
    assert "AdMiN123" not in told
