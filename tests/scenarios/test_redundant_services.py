# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What VMs ask a redundant pair for: addresses, names, metadata and passwords; and what its daemons write down.

At the end its routers are upgraded and replaced.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.probes import arp_probe, ask_all, dhcp, dhcp_lease, dns_query, tcp, tcp_scan
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios import pair as pairs
from tests.scenarios import spoofing
from tests.scenarios.drops import named
from tests.scenarios.hostile import (
    SECONDS,
    Identity,
    connection_tracker,
    flooding,
    frames,
    roles_of,
    smuggled,
)
from tests.scenarios.networks import INTERNET
from tests.scenarios.pair import FAR, GATEWAY, OWN, SERVED, SOURCE_NAT, STATIC, VMS, Pair, status, vm_mac
from tests.scenarios.pair_failures import hand_over
from tests.scenarios.pair_traffic import traffic
from tests.scenarios.pair_upgrade import upgrade
from tests.scenarios.shared import data, password
from tests.scenarios.spoofing import NOBODYS, Place

WAITING = "/var/lib/cloudstack-passwords/waiting"
VM = "web"
UNKNOWN = "10.1.1.200"
"""An address of the network that no VM of it has, as far as the routers know."""
CONNECTIONS = 60


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pairs.running("pair-services") as made:
        yield made


def ask(vm: Host, server: str, word: str) -> str:
    """Return the answer of a password server, empty when it gives none."""
    url = f"http://{server}:8080/"
    return vm.run("curl", "-s", "-m", "3", "-H", f"DomU_Request: {word}", url, check=False).stdout


def store(pair: Pair, number: int, text: str) -> None:
    """Send a password to both routers, as the management server does."""
    for router in pair.routers.values():
        router.drop(named("vm_password", number), password(VMS[VM], text))


def waits(pair: Pair) -> list[str]:
    """Return the routers on which a password waits for the VM."""
    return [name for name, router in pair.routers.items() if VMS[VM] in router.exec("ls", WAITING).stdout]


def test_vms_find_their_services_on_both_addresses(pair: Pair) -> None:
    """C11, C12: the gateway address is what the clients are told, the router's own answers too."""
    web = pair.vms[VM]
    for server in (GATEWAY, OWN[pair.primary.name]):
        assert dns_query(web, server, "web.lab.internal").extra["answers"], server
    lease = dhcp_lease(web)
    assert lease is not None
    assert (lease["address"], lease["routers"], lease["dns"][0]) == (VMS[VM], [GATEWAY], GATEWAY)


def test_no_source_gets_in_where_it_cannot_be(pair: Pair) -> None:
    """On both: the backup has its guest and control NICs up, and serves the other router."""
    sources = {
        **NOBODYS,
        "vm": VMS["web"],
        "internet": INTERNET,
        "management": "169.254.0.1",
        "neighbour": "192.0.2.77",
        "gateway": GATEWAY,
        "static NAT": STATIC,
    }
    hosts = pair.lab.hosts
    management = pair.lab.host("management", "control", "169.254.0.1/16")
    for router in (pair.primary, pair.backup):
        own = OWN[router.name]
        places = [Place("eth0", hosts["far"], [(STATIC, SERVED), (INTERNET, SERVED), (own, 53)])]
        places += [Place("eth1", management, [(f"169.254.3.10{router.name[-1]}", 3922), (VMS["db"], SERVED)])]
        primary = router is pair.primary
        # The MAC of eth2 is the same on both, and the backup's is down.
        outer = Place("eth2", hosts["gateway1"], [(STATIC, SERVED), (VMS["db"], SERVED)])
        passed, taken = spoofing.believed(router, [*places, outer] if primary else places, sources)
        # The backup does not have the gateway address: who claims it is a matter of ARP.
        members = ("vm",) if primary else ("vm", "gateway")
        outside = ("internet", "neighbour") if primary else ()
        assert passed == spoofing.pairs({"eth0": members, "eth2": outside})
        assert taken == spoofing.pairs({"eth0": members, "eth1": ("management", "internet")})


def test_a_lease_is_good_at_the_next_primary(pair: Pair) -> None:
    """C11: the server that clients know is the gateway address; they renew with it alone at first (RFC 2131, 4.4.5)."""
    web, old, new = pair.vms[VM], pair.primary, pair.backup
    lease = dhcp_lease(web)
    assert lease is not None
    assert lease["server"] == [GATEWAY]
    with hand_over(pair, old):
        wait_for(lambda: status(new) == "PRIMARY", 30, "handover")
        wait_for(lambda: bool(renew(web)), 30, "an answer to the renewing client")
        (answer,) = renew(web)
    assert (answer["kind"], answer["address"], answer["routers"]) == ("ack", VMS[VM], [GATEWAY])
    assert answer["server"] == [GATEWAY]
    pair.settle()


def renew(vm: Host) -> list[dict[str, Any]]:
    """Return the answers to a client that asks the server it knows for more time, and nobody else."""
    (server,) = arp_probe(vm, GATEWAY)
    return dhcp(vm, "request", ciaddr=VMS[VM], unicast=[GATEWAY, server])


def test_connections_leave_no_trace_in_logs(pair: Pair) -> None:
    """C16: conntrackd wrote a line for each of them, and filled /var."""
    before = {name: logged(router) for name, router in pair.routers.items()}
    probes = [(pair.vms[VM], tcp(INTERNET, SERVED))] * 300
    assert all(ask_all(probes))
    known = pair.backup.exec("conntrackd", "-e").stdout.count(f"dst={INTERNET}")
    assert known >= 300, "each of them was told to the other router"
    assert before == {name: logged(router) for name, router in pair.routers.items()}


def logged(router: Router) -> str:
    """Return what conntrackd has written, to the journal or to a file."""
    journal = ("journalctl", "--unit=conntrackd", "--output=cat", "--no-pager")
    return router.exec(*journal).stdout + router.exec("sh", "-c", "ls -l /var/log/conntrackd* 2>&1 || true").stdout


def test_metadata_is_served_on_the_shared_address_and_the_primarys_own(pair: Pair) -> None:
    """C11, C12."""
    for router in pair.routers.values():
        router.drop(named("vm_metadata", 800), data(VMS[VM], b"x", vm_id="42"))
    for server in (GATEWAY, OWN[pair.primary.name]):
        assert pair.vms[VM].run("curl", "-s", "-m", "30", f"http://{server}/latest/vm-id").stdout == "42"


def test_a_consumed_password_stays_so_after_a_failover(pair: Pair) -> None:
    """C13: the backup stores and does not serve; C14: what the VM has, neither router hands out again."""
    vm = pair.vms[VM]
    store(pair, 900, "first")
    assert waits(pair) == ["r1", "r2"]
    assert ask(vm, OWN[pair.backup.name], "send_my_password") == ""
    assert ask(vm, OWN[pair.primary.name], "send_my_password") == "first"
    assert ask(vm, GATEWAY, "send_my_password") == "first"
    assert ask(vm, GATEWAY, "saved_password") == "saved_password"
    wait_for(lambda: waits(pair) == [], 30, "the news of a consumed password")
    before = pair.primary.name
    pair.primary.exec("systemctl", "stop", "keepalived")
    wait_for(lambda: ask(vm, GATEWAY, "send_my_password") == "saved_password", 30, "the new primary's answer")
    pair.routers[before].exec("systemctl", "start", "keepalived")
    pair.settle()
    assert pair.primary.name != before


def test_a_router_that_was_down_hears_of_it_later(pair: Pair) -> None:
    store(pair, 901, "second")
    pair.backup.exec("systemctl", "stop", "cloudstack-passwords")
    vm = pair.vms[VM]
    assert ask(vm, GATEWAY, "send_my_password") == "second"
    assert ask(vm, GATEWAY, "saved_password") == "saved_password"
    assert waits(pair) == [pair.backup.name]
    pair.backup.exec("systemctl", "start", "cloudstack-passwords")
    pair.primary.exec("systemctl", "restart", "cloudstack-passwords")
    wait_for(lambda: waits(pair) == [], 30, "the news told again")


def test_a_vm_is_not_taken_for_a_router(pair: Pair) -> None:
    """Whatever it says, and as whom, while the primary loses its power: nothing but the failover that was due."""
    pair.settle()
    old, new, db = pair.primary, pair.backup, pair.vms["db"]
    wait_for(lambda: all(map(knows_its_peer, pair.routers.values())), 30, "each router knows the other one")
    stranger = pair.lab.host("stranger", "guest", f"{UNKNOWN}/24")
    number = int(re.findall(r"virtual_router_id (\d+)", old.read("/etc/keepalived/keepalived.conf"))[0])
    moving = [GATEWAY, *OWN.values(), SOURCE_NAT, STATIC, FAR]
    contents = [frame for who in identities(pair, old) for frame in frames(who, number, GATEWAY, moving)]
    ports = [22, 80, 2222, 3780, 3922, 8080]
    before = tcp_scan(pair.internet, SOURCE_NAT, ports)
    with (
        roles_of(pair) as roles,
        connection_tracker(pair, db, VMS["db"]),
        connection_tracker(pair, stranger, UNKNOWN),
        flooding(db, contents),
        flooding(stranger, contents),
    ):
        time.sleep(SECONDS / 4)
        assert smuggled(old) == smuggled(new) == []
        old.power_off()
        wait_for(lambda: status(new) == "PRIMARY", pair.bound + 5, "the failover that is due")
        time.sleep(SECONDS / 4)
        old.start()
        old.wait_boot()
        pair.settle()
        time.sleep(SECONDS / 2)
        new.exec("/opt/cloudstack/libexec/vr-transition", "again")
        assert [smuggled(router) for router in pair.routers.values()] == [[], []]
    stranger.ip("link", "set", "eth0", "down")
    forget_the_attack(pair)
    assert roles.both == []
    assert roles.seen == {old.name: ["PRIMARY", "BACKUP"], new.name: ["BACKUP", "PRIMARY"]}
    assert set(tcp_scan(pair.internet, SOURCE_NAT, ports)["open"]) <= set(before["open"])
    # What the stranger has told VMs about the gateway holds until the primary says it again, within five seconds.
    wait_for(lambda: tcp_scan(pair.internet, SOURCE_NAT, ports) == before, 30, "all that was open before")
    assert "speaks like one" in new.read(pairs.LOG)
    for host in pair.vms.values():
        host.ip("neigh", "flush", "all")


def identities(pair: Pair, router: Router) -> list[Identity]:
    """Return what a stranger may call himself: a known VM, a router of the pair, nobody known, and mixtures of them."""
    mac, unknown = vm_mac("db"), pair.lab.mac("stranger")
    addresses = (VMS["db"], UNKNOWN, OWN[router.name])
    return [Identity(sender, address) for sender in (mac, unknown) for address in addresses]


def forget_the_attack(pair: Pair) -> None:
    """Do as an operator who knows better: else no newcomer is believed for ten minutes."""
    for router in pair.routers.values():
        router.exec("systemctl", "reload", "cloudstack-redundancy")
    wait_for(lambda: all(map(knows_its_peer, pair.routers.values())), 30, "each router knows the other one again")


def knows_its_peer(router: Router) -> bool:
    """Tell whether a router would know the other one again."""
    return router.exists("/var/lib/cloudstack/redundancy/former.nft")


def test_an_upgrade_is_no_election(pair: Pair) -> None:
    pair.settle()
    with traffic(pair, CONNECTIONS) as report:
        upgrade(pair)
    assert report.broken == ()
    assert report.lost == 0


def test_a_new_router_knows_what_the_old_ones_did(pair: Pair) -> None:
    """C17: as a network is restarted, the backup is replaced first; the old primary then goes without a word."""
    pair.settle()
    old, vm = pair.primary, pair.vms[VM]
    with traffic(pair, CONNECTIONS) as report:
        backup = pair.backup
        backup.stop()
        pair.remove(backup)
        new = pairs.add(pair, "r3")
        pair.settle()
        assert pair.primary is old
        store(pair, 902, "third")
        assert ask(vm, GATEWAY, "send_my_password") == "third"
        assert ask(vm, GATEWAY, "saved_password") == "saved_password"
        wait_for(lambda: waits(pair) == [], 30, "the news of a consumed password")
        wait_for(lambda: pairs.known(new) >= CONNECTIONS, 30, "the connections on the new router")
        pair.remove(old)
        wait_for(lambda: status(new) == "PRIMARY", pair.bound + 5, "the new router primary")
        wait_for(lambda: ask(vm, GATEWAY, "send_my_password") == "saved_password", 30, "its answer")
    assert report.broken == ()
    (answer,) = renew(vm)
    assert (answer["kind"], answer["address"], answer["server"]) == ("ack", VMS[VM], [GATEWAY])
