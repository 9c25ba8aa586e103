# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever is asked for and not built is told, by name; what was taken away again is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.merge import merge_all
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.parse import parse_drop
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.build import build
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.unbuilt import UNBUILT
from tests.unit.model.bags import cmdline

Body = dict[str, Any]
REMOTE: Body = {
    "type": "remoteaccessvpn",
    "create": True,
    "vpn_server_ip": "192.0.2.10",
    "ip_range": "10.1.2.2-10.1.2.8",
    "local_ip": "10.1.2.1",
    "preshared_key": "secret",
}
PEER: Body = {"peer_id": 1, "peer_as_number": 64512, "ip4_address": "192.0.2.2", "network_id": 7}
PEER |= {"network_as_number": 65010, "guest_ip4_cidr": "10.1.1.0/24", "details": {}}
USER: Body = {"user": "alice", "password": "secret", "add": True}


def warnings(*drops: Body) -> tuple[str, ...]:
    """Return what a router without databags says once it has taken the drops."""
    parsed = (parse_drop(f"drop.{n}", json.dumps(drop).encode()) for n, drop in enumerate(drops))
    return build(merge_all({}, parsed), []).warnings


def arguments(**given: str) -> Body:
    return {"type": "cmdline", "cmd_line": {"type": "router", "name": "r-1-VM", **given}}


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        (REMOTE, "remoteaccessvpn (192.0.2.10)"),
        ({"type": "vpnuserlist", "vpn_users": [USER]}, "vpnuserlist (alice)"),
        (arguments(userdata="H4sIAAAA"), "userdata (userdata)"),
        (arguments(sshonguest="true"), "sshonguest (sshonguest)"),
        (arguments(baremetalnotificationapikey="secret"), "baremetal (baremetalnotificationapikey)"),
        (arguments(ntpserverlist="192.0.2.123"), "ntpserverlist (ntpserverlist)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_asked_for_in_vain_is_told(drop: Body, named: str) -> None:
    (warning,) = warnings(drop)
    assert warning.startswith(f"not built yet: {named}: ")
    assert "secret" not in warning


def test_the_same_drop_again_is_told_again() -> None:
    """It changes no databag and is asked for all the same."""
    assert warnings(REMOTE, REMOTE) == warnings(REMOTE)


@pytest.mark.parametrize(
    "drops",
    [
        (REMOTE, {**REMOTE, "create": False}),
        ({**REMOTE, "create": False},),
        ({"type": "vpnuserlist", "vpn_users": [USER]}, {"type": "vpnuserlist", "vpn_users": [{**USER, "add": False}]}),
        (arguments(userdata="", sshonguest="false"),),
    ],
    ids=str,
)
def test_what_was_taken_away_or_never_asked_for_is_not_told(drops: tuple[Body, ...]) -> None:
    assert warnings(*drops) == ()


def test_a_long_list_is_cut() -> None:
    users = [{"user": f"user{number:04d}", "password": "secret", "add": True} for number in range(1000)]
    (warning,) = warnings({"type": "vpnuserlist", "vpn_users": users})
    assert "user0004 and 995 more)" in warning
    assert len(warning) < 300


def test_kinds_are_told_apart() -> None:
    """README.md has a row for each."""
    assert len({unbuilt.kind for unbuilt in UNBUILT}) == len(UNBUILT)


def test_nothing_is_told_of_an_ordinary_router() -> None:
    assert build({"cmdline": cmdline(eth0ip="10.1.1.1", eth0mask="255.255.255.0")}, []).warnings == ()
