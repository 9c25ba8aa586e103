# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drops of IPv6 and routed mode that the management server's own code wrote; skipped where they are not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.probes import ask_all, ping, tcp, udp
from tests.scenarios import dual, states
from tests.scenarios.dual import CLIENT, CLIENT6, GUEST, VMS, Dual, address6, configured
from tests.scenarios.networks import SHARED_DROPS
from tests.scenarios.peers import Bird

if not SHARED_DROPS.is_dir():
    pytest.skip(f"the management server's drops are not in {SHARED_DROPS}", allow_module_level=True)

VM1, VM2 = VMS["vm1"][1], VMS["vm2"][1]
VM6 = address6("vm1")


def replayed(lab: Lab, arguments: str, directory: str) -> Dual:
    """Return the network with the drops of a directory applied; the VMs have their IPv6 addresses."""
    cmdline = (SHARED_DROPS / "cmdline" / f"{arguments}.txt").read_text(encoding="utf-8")
    network = dual.make(lab, cmdline, [GUEST])
    for answer in network.router.replay(SHARED_DROPS / directory):
        assert answer.returncode == 0
        assert "not built" not in answer.stdout + answer.stderr
    configured(network, "vm1", "vm2")
    return network


def test_an_isolated_network_with_ipv6() -> None:
    with Lab("shared-ipv6") as lab:
        network = replayed(lab, "router-ipv6", "ipv6-isolated")
        hosts = network.hosts
        table = [
            ("client", ping(VM6), True),
            ("client", udp(VM6, 53), True),
            ("client", tcp(VM6, 80), False),
            ("client", tcp(VM6, 22), False),
            ("other", udp(VM6, 53), True),
            ("vm1", tcp(CLIENT6, 80), True),
            ("vm1", tcp(CLIENT6, 25), False),
            ("vm1", udp(CLIENT6, 123), False),
        ]
        found = [bool(result) for result in ask_all([(hosts[name], probe) for name, probe, _ in table])]
        assert found == [wanted for _name, _probe, wanted in table]
        asked = hosts["vm2"].run("dig", "+short", "@10.1.1.1", "AAAA", "vm-web01.cs2cloud.internal")
        assert asked.stdout.split() == ["2001:db8:a:1:1:ff:fe00:b"]
        assert states.repaired(network.router) == []


def test_a_routed_network_with_peers(tmp_path: Path) -> None:
    own = ("192.0.2.3", "2001:db8:f::3")
    with Lab("shared-routed") as lab:
        network = replayed(lab, "router-routed", "routed-isolated")
        hosts = network.hosts
        table = [
            ("client", tcp(VM1, 22), False),
            ("client", tcp(VM1, 80), True),
            ("other", udp(VM2, 53), True),
            ("client", udp(VM2, 53), True),
            ("other", ping(VM2), True),
            ("other", tcp(VM2, 25), True),
            ("vm1", tcp(CLIENT, 25), False),
            ("vm1", tcp(CLIENT, 80), True),
            ("vm1", udp(CLIENT, 123), False),
            ("vm1", ping(CLIENT), False),
            ("vm1", tcp(CLIENT6, 80), True),
            ("client", ping(VM6), True),
        ]
        results = ask_all([(hosts[name], probe) for name, probe, _ in table])
        assert [bool(result) for result in results] == [wanted for _name, _probe, wanted in table]
        assert (results[1].seen_from, results[7].seen_from) == (CLIENT, VM1)
        second = lab.host("second", "public", [f"{own[0]}/24", f"{own[1]}/64"])
        options = {"remote": 64513, "password": "bgpS3cret", "ours": 65010, "options": "multihop 3;"}
        with Bird(second, own, tmp_path, **options) as bird:
            bird.established("four", "six")
            bird.learns("four", {GUEST.network: dual.OWN})
            bird.learns("six", {GUEST.network6: dual.OWN6})
        assert states.repaired(network.router) == []
