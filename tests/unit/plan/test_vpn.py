# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What charon is given for each tunnel, and when it is told."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router, VrrpState
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.vpn import Tunnel, Vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import vpn
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.files import Live, LiveFile
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    RemoveFile,
    Run,
    Step,
    WriteFile,
)
from tests.golden.cases import renderer
from tests.unit.plan.samples import vpc, with_settings

RENDER = renderer()
RUNNING = frozenset(vpn.UNITS)


def tunnel(peer: str = "203.0.113.41", remote: str = "10.41.0.0/16", **fields: Any) -> Tunnel:
    """Return a tunnel of the VPC."""
    return Tunnel(
        **{
            "peer": peer,
            "address": IPv4Address(peer) if peer[0].isdigit() else None,
            "local_id": IPv4Address("192.0.2.50"),
            "local_address": IPv4Address("192.0.2.50"),
            "device": "eth1",
            "local_networks": (IPv4Network("10.2.0.0/16"),),
            "remote_networks": tuple(map(IPv4Network, remote.split(","))),
            "psk": "secret",
            "ike_proposals": ("aes256-sha256-modp2048",),
            "esp_proposals": ("aes256-sha256-modp2048",),
            "version": 2,
            **fields,
        }
    )


A, B = tunnel(), tunnel("203.0.113.42", "10.42.0.0/16")


def router(*tunnels: Tunnel, **fields: Any) -> Router:
    return vpc(vpn=Vpn(tunnels), **fields)


def settings(text: str) -> dict[str, Any]:
    """Read a file as strongSwan does (strongswan.conf(5)): sections, and texts up to the end of the line or quoted.

    Written apart from the writer: a reader that knew it would forgive it.
    """
    tokens = re.findall(r'#[^\n]*|([{}])|([^\s{}=#"]+)\s*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^\n#}"]*))?', text)
    stack: list[dict[str, Any]] = [{}]
    name = ""
    for brace, word, value in tokens:
        if brace == "{":
            stack.append(stack[-1].setdefault(name, {}))
        elif brace == "}":
            stack.pop()
        elif word and value:
            stack[-1][word] = value.strip().strip('"')
        elif word:
            name = word
    assert len(stack) == 1
    return stack[0]


def connection(found: Tunnel, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is written of a connection, and of its secret."""
    files = vpn.wanted(router(found), RENDER, vpn.Options(**options)).files
    written = settings(files[0].content)
    assert files[0].mode == 0o600
    assert files[0].secret
    return written["connections"][found.name], written["secrets"][f"ike-{found.name}"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=256))
def test_vpn_5_any_key_comes_out_as_it_went_in(psk: str) -> None:
    _connection, secret = connection(tunnel(psk=psk))
    assert secret["secret"].startswith("0s")
    assert base64.b64decode(secret["secret"].removeprefix("0s")).decode() == psk
    assert set(secret) == {"id-1", "id-2", "secret"}


@given(st.lists(st.integers(0, 255), min_size=1, max_size=12, unique=True), st.booleans())
def test_any_networks_come_out_as_they_went_in(numbers: list[int], split: bool) -> None:
    found = tunnel(remote=",".join(f"10.{n}.0.0/16" for n in numbers), split=split)
    written, _secret = connection(found)
    listed = [net for child in written["children"].values() for net in child["remote_ts"].split(", ")]
    assert listed == [f"10.{n}.0.0/16" for n in numbers]
    assert len(written["children"]) == (len(numbers) if split else 1)
    assert {child["local_ts"] for child in written["children"].values()} == {"10.2.0.0/16"}


def test_both_ends_are_named() -> None:
    """Without `remote.id` no key is found; owners of a key are both ends, so it is nobody else's (H2)."""
    written, secret = connection(tunnel("vpn.example.com"))
    assert (written["local_addrs"], written["local"]["id"]) == ("192.0.2.50", "192.0.2.50")
    assert (written["remote_addrs"], written["remote"]["id"]) == ("vpn.example.com", "vpn.example.com")
    assert (secret["id-1"], secret["id-2"]) == ("192.0.2.50", "vpn.example.com")


@pytest.mark.parametrize("limit", [1, 59, 120, 3599, 86400])
def test_vpn_8_lifetimes_are_as_given(limit: int) -> None:
    written, _secret = connection(tunnel(ike_lifetime=limit, esp_lifetime=limit))
    (child,) = written["children"].values()
    rekey, over = (int(written[name].removesuffix("s")) for name in ("rekey_time", "over_time"))
    assert child["life_time"] == f"{limit}s"
    assert 0.8 * limit <= rekey <= limit
    assert 0.8 * limit <= int(child["rekey_time"].removesuffix("s")) <= limit
    assert limit == 1 or rekey + over == limit
    assert written["reauth_time"] == "0s"


def test_vpn_9_passive_neither_traps_nor_starts() -> None:
    written, _secret = connection(tunnel(passive=True, dpd=True))
    (child,) = written["children"].values()
    assert (child["start_action"], child["close_action"], child["dpd_action"]) == ("none", "none", "clear")
    written, _secret = connection(tunnel(dpd=True))
    (child,) = written["children"].values()
    assert (child["start_action"], child["close_action"], child["dpd_action"]) == ("trap|start", "trap", "restart")
    assert (written["dpd_delay"], written["dpd_timeout"]) == ("30s", "120s")


def test_vpn_12_without_dpd_nobody_is_asked() -> None:
    written, _secret = connection(tunnel())
    assert "dpd_delay" not in written


@pytest.mark.parametrize("encap", [False, True])
def test_vpn_13_encap(encap: bool) -> None:
    assert connection(tunnel(encap=encap))[0]["encap"] == ("yes" if encap else "no")


def test_vpn_6_proposals_are_strict_unless_the_operator_says_otherwise() -> None:
    strict, _secret = connection(tunnel())
    loose, _secret = connection(tunnel(), default_proposals=True)
    assert strict["proposals"] == "aes256-sha256-modp2048"
    assert loose["proposals"] == "aes256-sha256-modp2048, default"
    assert [c["esp_proposals"] for c in loose["children"].values()] == ["aes256-sha256-modp2048, default"]


def test_vpn_35_no_diff_shows_a_key_and_what_others_read_has_none() -> None:
    found = steps(router(tunnel(psk="c4nary")), active=frozenset())
    shown = "".join(step.before + step.after + step.summary for step in found)
    assert "c4nary" not in shown
    assert vpn.secret("c4nary") not in shown
    open_files = [step.file for step in found if isinstance(step, WriteFile) and step.file.mode != 0o600]
    assert [file.path for file in open_files] == [vpn.KEEPER_FILE]
    assert not any("c4nary" in file.content for file in open_files)


def steps(
    wanted: Router, before: Router | None = None, active: frozenset[str] = RUNNING, told: dict[str, str] | None = None
) -> list[Step]:
    """Return the steps for a router on which `before` is applied."""
    old = vpn.wanted(before, RENDER) if before else None
    files = {f.path: LiveFile(f.content, f.mode) for f in old.files} if old else {}
    known = told if told is not None else digests(before) if before else {}
    return vpn.compare(wanted, vpn.wanted(wanted, RENDER), Live(files, {}, active), files, known)


def digests(known: Router) -> dict[str, str]:
    contents = {file.path: file.content for file in vpn.wanted(known, RENDER).files}
    return {t.name: vpn.digest(contents[vpn.path(t)]) for t in known.vpn.tunnels}


def told(found: list[Step]) -> vpn.TellDaemon:
    (tell,) = [step for step in found if isinstance(step, vpn.TellDaemon)]
    return tell


def test_vpn_17_no_difference_no_step() -> None:
    assert steps(router(A, B), router(A, B)) == []
    assert steps(router(), active=frozenset()) == []


def test_vpn_18_what_changes_is_ended_and_nothing_else() -> None:
    assert told(steps(router(A, B), router(A))).ended == ()
    assert told(steps(router(A, replace(B, psk="new")), router(A, B))).ended == (B.name,)
    assert told(steps(router(A), router(A, B))).ended == (B.name,)


def test_vpn_19_the_last_tunnel_takes_everything_with_it() -> None:
    found = steps(router(), router(A))
    assert [step.argv for step in found if isinstance(step, Run)] == [
        ("systemctl", "stop", "cloudstack-vpn.service"),
        ("systemctl", "stop", "strongswan.service"),
    ]
    assert {step.path for step in found if isinstance(step, RemoveFile)} == {vpn.path(A), vpn.KEEPER_FILE}


def test_a_daemon_that_does_not_run_is_started_by_who_tells_it() -> None:
    found = steps(router(A), active=frozenset())
    assert told(found).tunnels == (A,)
    assert [step.argv for step in found if isinstance(step, Run)] == [("systemctl", "start", "cloudstack-vpn.service")]


def test_what_was_left_half_done_is_told_again() -> None:
    """The files are as wanted, and a kill came before the daemon knew."""
    found = steps(router(A, B), router(A, B), told={A.name: digests(router(A))[A.name], B.name: ""})
    assert told(found).ended == (B.name,)


def test_vpn_25_a_backup_has_the_files_and_runs_nothing() -> None:
    backup = with_settings(router(A, state=VrrpState.BACKUP), redundant=True)
    found = steps(backup, active=frozenset())
    assert {type(step) for step in found} == {WriteFile}
    stopped = [step.argv for step in steps(backup, router(A)) if isinstance(step, Run)]
    assert stopped == [("systemctl", "stop", "strongswan.service"), ("systemctl", "stop", "cloudstack-vpn.service")]
    assert vpn.units(backup) == ("strongswan.service", "cloudstack-vpn.service")


def test_the_keeper_knows_what_it_needs() -> None:
    files = vpn.wanted(router(A, tunnel("vpn.example.com", "10.48.0.0/24", passive=True)), RENDER).files
    first, second = json.loads(files[-1].content)
    assert first == {
        "peer": "203.0.113.41",
        "name": "s2s-203_0_113_41",
        "children": ["s2s-203_0_113_41-1"],
        "passive": False,
        "resolve": False,
        "device": "eth1",
        "local": "192.0.2.50",
    }
    assert (second["passive"], second["resolve"]) == (True, True)
