# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab itself: its wires, hosts, probes and containers do what traffic tests take for granted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import wires
from tests.lab.lab import Lab
from tests.lab.podman import SPACE
from tests.lab.probes import (
    PingStream,
    TcpStream,
    arp_probe,
    ask_all,
    dhcp,
    dhcp_lease,
    dns_query,
    icmp_ping,
    ping,
    raw_protocol,
    tcp,
    tcp_connect,
    tcp_scan,
    udp,
    udp_echo,
)
from tests.lab.process import CommandError, LabError, run
from tests.lab.router import Router

MAC = "1e:00:2d:00:00:0a"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("selftest") as made:
        made.segment("left")
        made.segment("right")
        middle = made.host("middle", "left", ["10.9.1.1/24", "fd00:1::1/64"])
        middle.add_nic("eth1", "right", made.mac("middle.right"), ["10.9.2.1/24"])
        middle.forward()
        made.host("a", "left", ["10.9.1.11/24", "10.9.1.12/24", "fd00:1::11/64"], "10.9.1.1")
        made.host("b", "right", ["10.9.2.11/24", "10.9.2.12/24"], "10.9.2.1")
        made.hosts["b"].probe.serve(tcp=[80, 443, *range(7000, 7010)], udp=[53, 123])
        yield made


@pytest.fixture(scope="module")
def router(lab: Lab) -> Router:
    made = lab.router("r1", nics={"eth2": ("right", MAC)}, files={"/root/before": b"boot"})
    assert made.wait_systemd() in ("running", "degraded")
    return made


def test_tcp_banner_tells_server_port_and_source(lab: Lab) -> None:
    seen = tcp_connect(lab.hosts["a"], "10.9.2.12", 443, source_port=4444)
    assert (seen.verdict, seen.server, seen.port) == ("open", "b", 443)
    assert (seen.seen_from, seen.seen_port, seen.seen_at) == ("10.9.1.11", 4444, "10.9.2.12")
    # The source port is free again at once.
    assert tcp_connect(lab.hosts["a"], "10.9.2.12", 443, source_port=4444)


def test_udp_answers_from_the_address_asked(lab: Lab) -> None:
    seen = udp_echo(lab.hosts["a"], "10.9.2.12", 53, source_port=5353)
    assert (seen.verdict, seen.server, seen.seen_at, seen.seen_port) == ("open", "b", "10.9.2.12", 5353)


def test_closed_ports_are_refused(lab: Lab) -> None:
    assert tcp_connect(lab.hosts["a"], "10.9.2.11", 81).verdict == "refused"
    assert udp_echo(lab.hosts["a"], "10.9.2.11", 81).verdict == "refused"


def test_filters_show_in_verdicts(lab: Lab) -> None:
    drop = (
        "add table ip t; add chain ip t c { type filter hook forward priority 0; }; add rule ip t c tcp dport 80 drop;"
    )
    reject = "add rule ip t c tcp dport 7000 reject with icmp type admin-prohibited"
    lab.hosts["middle"].run("nft", f"{drop} {reject}")
    try:
        answers = ask_all([(lab.hosts["a"], tcp("10.9.2.11", port)) for port in (80, 443, 7000)])
        assert [answer.verdict for answer in answers] == ["timeout", "open", "unreachable"]
        found = tcp_scan(lab.hosts["a"], "10.9.2.11", [80, 81, (7000, 7009)])
        assert found["open"] == list(range(7001, 7010))
        assert (found["refused"], found["timeout"], found["unreachable"]) == ([81], 1, [7000])
    finally:
        lab.hosts["middle"].run("nft", "delete table ip t")


def test_many_probes_are_quick_and_keep_their_order(lab: Lab) -> None:
    ports = [80, 81, 443, 7003] * 100
    answers = ask_all([(lab.hosts["a"], tcp("10.9.2.11", port)) for port in ports])
    assert [answer.port for answer in answers] == [port if port != 81 else None for port in ports]


def test_ping_of_either_family_and_type(lab: Lab) -> None:
    a = lab.hosts["a"]
    answers = ask_all([(a, ping(dst)) for dst in ("10.9.2.11", "10.9.2.99", "fd00:1::1")])
    assert [answer.verdict for answer in answers] == ["open", "timeout", "open"]
    assert icmp_ping(a, "10.9.2.11", kind=13).verdict == "open"
    assert icmp_ping(a, "10.9.9.9").verdict == "unreachable"


def test_other_protocols_arrive(lab: Lab) -> None:
    seen = raw_protocol(lab.hosts["a"], lab.hosts["b"], "10.9.2.11", 47)
    assert (seen.verdict, seen.seen_from, seen.extra["protocol"]) == ("open", "10.9.1.11", 47)
    assert raw_protocol(lab.hosts["a"], lab.hosts["b"], "10.9.2.77", 47, timeout=0.2).verdict == "timeout"


def test_arp_tells_who_has_an_address(lab: Lab) -> None:
    assert arp_probe(lab.hosts["a"], "10.9.1.1") == [lab.hosts["middle"].nics["eth0"][1]]
    assert arp_probe(lab.hosts["a"], "10.9.1.200") == []


def test_streams_lose_nothing_on_a_good_path(lab: Lab) -> None:
    a = lab.hosts["a"]
    with PingStream(a, "10.9.2.11") as pings, TcpStream(a, "10.9.2.11", 80) as echoes:
        ask_all([(a, udp("10.9.2.11", 53, timeout=0.3))] * 10)
        run("sleep", "0.3")
    assert (pings.lost, echoes.lost, echoes.error) == (0, 0, "")
    assert pings.sent > 15
    assert echoes.sent > 15


def test_streams_notice_a_cut(lab: Lab) -> None:
    a, middle = lab.hosts["a"], lab.hosts["middle"]
    with PingStream(a, "10.9.2.11") as pings, TcpStream(a, "10.9.2.11", 80) as echoes:
        run("sleep", "0.1")
        middle.run("nft", "add table ip t; add chain ip t c { type filter hook forward priority 0; policy drop; }")
        run("sleep", "0.2")
        middle.run("nft", "delete table ip t")
        run("sleep", "0.4")
    assert pings.lost > 5
    assert pings.longest_gap > 0.15
    assert (echoes.lost, echoes.error) == (0, "")
    assert echoes.longest_stall > 0.15


def test_errors_of_probes_reach_the_test(lab: Lab) -> None:
    with pytest.raises(LabError, match="unexpected keyword"):
        lab.hosts["a"].probe.call("tcp", nonsense=1)


def test_router_has_its_nic_files_and_hostname(lab: Lab, router: Router) -> None:
    assert router.facts.links()["eth2"]["address"] == MAC
    assert router.read("/root/before") == "boot"
    assert router.exec("hostname").stdout.strip() == "r1"
    router.put("/root/script", "#!/bin/sh\nexit 3\n", 0o755)
    with pytest.raises(CommandError, match="exit 3"):
        router.exec("/root/script")


def test_router_passes_traffic_and_its_nics_come_and_go(lab: Lab, router: Router) -> None:
    router.shell("nft flush ruleset; ip addr replace 10.9.2.200/24 dev eth2; ip link set eth2 up")
    assert icmp_ping(lab.hosts["b"], "10.9.2.200")
    assert icmp_ping(router, "10.9.2.11")
    assert router.facts.addresses("eth2") == ["10.9.2.200/24"]
    router.plug("eth3", "left", "06:00:2f:00:00:0a")
    assert router.facts.links()["eth3"]["address"] == "06:00:2f:00:00:0a"
    router.unplug("eth3")
    assert "eth3" not in router.facts.links()


def test_dhcp_and_dns_clients_understand_dnsmasq(lab: Lab, router: Router) -> None:
    router.shell("nft flush ruleset; ip addr replace 10.9.2.200/24 dev eth2; ip link set eth2 up")
    where = "--interface=eth2 --bind-interfaces --no-hosts --no-resolv --pid-file= --dhcp-leasefile=/tmp/leases"
    what = "--dhcp-range=10.9.2.0,static --dhcp-host=02:01:00:00:00:0b,10.9.2.50,vm-web01,1h --dhcp-option=26,1400"
    router.shell(f"dnsmasq {where} {what} --domain=lab.internal --address=/web.lab.internal/10.9.2.50")
    b = lab.hosts["b"]
    lease = dhcp_lease(b, mac="02:01:00:00:00:0b", host_name="vm-web01")
    assert lease is not None
    assert (lease["kind"], lease["address"], lease["mtu"], lease["lease"]) == ("ack", "10.9.2.50", 1400, 3600)
    assert (lease["domain"], lease["routers"]) == ("lab.internal", ["10.9.2.200"])
    assert dhcp(b, mac="02:01:00:00:00:99", timeout=0.5) == []
    for over_tcp in (False, True):
        answer = dns_query(b, "10.9.2.200", "web.lab.internal", tcp=over_tcp)
        assert answer.extra["answers"] == [["web.lab.internal", "A", 0, "10.9.2.50"]]


def test_reboot_keeps_disk_and_nics_but_not_the_network(lab: Lab, router: Router) -> None:
    router.put("/root/kept", "disk")
    router.shell("ip addr replace 10.9.2.200/24 dev eth2; nft add table ip volatile")
    router.power_off()
    router.start()
    router.wait_systemd()
    assert router.read("/root/kept") == "disk"
    assert router.facts.links()["eth2"]["address"] == MAC
    assert "10.9.2.200/24" not in router.facts.addresses("eth2")
    assert "volatile" not in router.facts.ruleset()


def test_two_labs_do_not_meet_and_leave_nothing() -> None:
    with Lab("twin") as one, Lab("twin-b") as other:
        for lab in (one, other):
            lab.segment("wire")
            lab.host("a", "wire", "10.0.0.1/24")
        one.host("b", "wire", "10.0.0.2/24")
        assert icmp_ping(one.hosts["a"], "10.0.0.2")
        assert not icmp_ping(other.hosts["a"], "10.0.0.2", timeout=0.2)
        other.save()
        assert Lab.attach("twin-b").hosts["a"].ip("-brief", "link").count("eth0") == 1
        # A run that was killed: the next of its name starts from nothing.
        one.hosts["a"].close()
        one.hosts["b"].close()
        with Lab("twin") as again:
            assert wires.namespaces(again.prefix) == [again.bridges]
    assert wires.namespaces(f"lab{SPACE}.twin") == []
