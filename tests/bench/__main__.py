# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure converges cold and warm, and what passes meanwhile: ``make bench`` writes docs/bench.md and docs/bench.svg.

Figures of a noisy machine: compare them with each other and with the empty playbook of the same run. ``goal`` is what
the design asks for, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import connections, data_plane, drops, loads, plot, vpc, wiring
from tests.bench.measuring import (
    HEADER,
    Figure,
    choose_way,
    empty_playbook,
    measure,
    median,
    middle,
    send,
    send_aggregate,
)
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.probes import PingStream
from tests.lab.router import Router
from tests.scenarios.drops import egress, ingress

NOOP = ("/opt/cloud/bin/configure.py", "monitor_service.json")
WAYS = ("cold", "warm")
FORWARDS = (1, 10, 100, 1000, 10000)
VMS = (20, 200, 500, 2000)
RULES = (100, 1000, 10000)
# Seconds, cold and warm.
GOALS: dict[str, tuple[float | None, float | None]] = {
    "noop": (0.8, 0.15),
    "drop": (0.9, 0.2),
    "drop with 1,000": (1.0, 0.25),
    "forwards 1000": (1.2, 0.6),
    "forwards 10000": (None, 3.0),
    "VMs 500": (6.0, 4.0),
    "VMs 2000": (15.0, 12.0),
    "VM with 2,000": (1.0, None),
}


@contextmanager
def isolated() -> Iterator[tuple[Router, Host, Host]]:
    """Bring up the router of an isolated network, a VM and a host of the internet; take them down at the end."""
    with Lab("bench") as lab:
        router = wiring.booted(lab)
        vm = lab.host("vm", "guest", f"{drops.vm_address(0)}/16", gateway="10.1.0.1")
        internet = lab.host("internet", "public", "192.0.2.1/24")
        router.exec(*send(router, "ip_associations.json", drops.public_addresses(1)))
        router.exec(*send(router, "firewall_rules.json", egress(990, "tcp", (9, 9))))
        yield router, vm, internet


def converges(router: Router, way: str) -> tuple[list[Figure], dict[str, list[tuple[int, float]]], list[str]]:
    """Measure everything on a fresh router, small first; return figures, points of the plot, and ratios."""
    goal = {name: goals[WAYS.index(way)] for name, goals in GOALS.items()}
    base = empty_playbook(router)
    addresses = measure(
        router, "240 public addresses", *send(router, "ip_associations.json", drops.public_addresses(240))
    )
    few = measure(router, "20 VMs and 100 rules as one aggregate", *send_aggregate(router, _small_router()))
    idle = median(router, "nothing to do, 20 VMs, 100 rules", goal["noop"], *NOOP)
    lease = _leases(router, 21, "one DHCP drop, 20 VMs, 100 rules", goal["drop"])
    figures = [base, addresses, few, idle, lease]
    first = middle([_static_nat(router, number, "first static NAT") for number in (1, 2, 3)])
    many = [("staticnat_rules.json", drops.static_nat(number)) for number in range(4, 198)]
    figures += [first, measure(router, "194 static NATs as one aggregate", *send_aggregate(router, many))]
    last = middle([_static_nat(router, number, "200th static NAT") for number in (198, 199, 200)])
    forwards = [_forwards(router, count, goal.get(f"forwards {count}")) for count in FORWARDS[:-1]]
    figures += [last, *forwards, _leases(router, 26, "one DHCP drop, 1,111 forwards", goal["drop with 1,000"])]
    vms = [_vms(router, count, goal.get(f"VMs {count}")) for count in VMS]
    figures += [*vms, _leases(router, VMS[-1], f"one more VM than {VMS[-1]}", goal["VM with 2,000"])]
    forwards.append(_forwards(router, FORWARDS[-1], goal[f"forwards {FORWARDS[-1]}"]))
    figures.append(forwards[-1])
    points = {
        "forwards in one drop": [(count, figure.seconds) for count, figure in zip(FORWARDS, forwards, strict=True)],
        "VMs in one aggregate": [(count, figure.seconds) for count, figure in zip(VMS, vms, strict=True)],
    }
    ratios = (
        f"{way}: nothing to do / empty playbook {idle.seconds / base.seconds:.2f}; DHCP drop / nothing to do "
        f"{lease.seconds / idle.seconds:.2f}; 200th static NAT / first {last.seconds / first.seconds:.2f} (goal 1.2); "
        f"largest process with {VMS[-1]} VMs: {vms[-1].memory} MiB (goal 256)"
    )
    return figures, points, [ratios]


def _small_router() -> list[tuple[str, dict[str, Any]]]:
    vms = [("vm_dhcp_entry.json", drops.dhcp_entry(number)) for number in range(20)]
    return [*vms, ("firewall_rules.json", drops.firewall(100))]


def _leases(router: Router, first: int, what: str, goal: float | None) -> Figure:
    """Send the DHCP entries of five VMs, one after the other, and return the figure in the middle."""
    entries = [drops.dhcp_entry(number) for number in range(first, first + 5)]
    return middle([measure(router, what, *send(router, "vm_dhcp_entry.json", entry), goal=goal) for entry in entries])


def _static_nat(router: Router, number: int, what: str) -> Figure:
    return measure(router, what, *send(router, "staticnat_rules.json", drops.static_nat(number)))


def _forwards(router: Router, count: int, goal: float | None) -> Figure:
    """Add forwards to ports that have none yet."""
    body = drops.forwards(count, first_port=10000 + count)
    return measure(
        router, f"{count} more forwards in one drop", *send(router, "forwarding_rules.json", body), goal=goal
    )


def _vms(router: Router, count: int, goal: float | None) -> Figure:
    """Send all VMs from the first to this one, as after a restart of the router by the management server."""
    bodies = [
        body
        for number in range(count)
        for body in (("vm_dhcp_entry.json", drops.dhcp_entry(number)), ("vm_metadata.json", drops.metadata(number)))
    ]
    return measure(
        router, f"{count} VMs (DHCP and metadata) as one aggregate", *send_aggregate(router, bodies), goal=goal
    )


def through(router: Router, vm: Host, internet: Host) -> list[str]:
    """Measure new connections through 0 to 10,000 forwards, then firewall rules; return notes."""
    with data_plane.served(internet, 8080):
        notes = [_rate("no forward, outwards through source NAT", data_plane.connect(vm, "192.0.2.1", 8080))]
    router.exec(*send(router, "firewall_rules.json", ingress(999, "192.0.2.10", "tcp", (8000, 65000))))
    one: data_plane.Connections | None = None
    with data_plane.served(vm, 80):
        for count in (1, *RULES):
            router.exec(*send(router, "forwarding_rules.json", drops.forwards(count)), timeout=120)
            found = data_plane.connect(internet, "192.0.2.10", 10000)
            one = one or found
            notes.append(_rate(f"{count} forwards, to the first", found, one))
            data_plane.flush(router)
        for count in RULES:
            router.exec(*send(router, "firewall_rules.json", drops.firewall(count)), timeout=120)
            found = data_plane.connect(internet, "192.0.2.10", 10000)
            notes.append(_rate(f"the same and {count} firewall rules", found, one))
            data_plane.flush(router)
    return notes


def _rate(what: str, found: data_plane.Connections, one: data_plane.Connections | None = None) -> str:
    ratio = f"; {found.rate / one.rate:.2f} of the rate through 1" if one else ""
    line = f"data plane, {what}: {found.rate:.0f} connections/s, handshake {found.latency * 1e6:.0f} µs{ratio}"
    print(line, flush=True)
    return line


def main() -> None:
    """Measure without and with the resident parent, the data plane, a VPC and loads of rules, and write the results."""
    sections: dict[str, list[Figure]] = {}
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    notes: list[str] = []
    for way in WAYS:
        print(f"\n{way}\n{HEADER}", flush=True)
        with isolated() as (router, vm, internet):
            choose_way(router, cold=way == "cold")
            with PingStream(vm, "192.0.2.1") as pings:
                sections[way], points, found = converges(router, way)
            notes += [*found, f"{way}: of {pings.sent} pings through source NAT, one in 10 ms, {pings.lost} were lost"]
            if way == "warm":
                notes += through(router, vm, internet)
        sections[f"VPC, {way}"], points["VPC from nothing, by tiers"] = vpc.main(cold=way == "cold")
        for title, series in points.items():
            panels.setdefault(title, {})[way] = series
    notes += loads.main()
    notes += connections.main()
    plot.draw(panels)
    plot.write(sections, notes)
    print("\n" + "\n".join(notes) + f"\n\nwritten: {plot.TABLES} and {plot.PLOT}")


if __name__ == "__main__":
    main()
