# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure converges on one router, cold and with the resident parent, and print tables: ``make bench``.

Figures of a noisy machine: compare them with each other and with the empty playbook of the same run. ``goal`` is what
the design asks for, in seconds.
"""

from __future__ import annotations

from typing import Any

from tests.bench import drops, vpc
from tests.bench.measuring import HEADER, measure, median, send, send_aggregate
from tests.lab.lab import Lab
from tests.lab.router import Router

NICS = {"eth0": ("guest", "02:09:00:01:00:00"), "eth1": ("control", "02:09:00:01:00:01")}
EMPTY_PLAY = "- hosts: all\n  gather_facts: false\n  tasks: []\n"
PLAYBOOK = "/opt/cloudstack/venv/bin/ansible-playbook"


def run(router: Router) -> None:
    """Measure everything on a fresh router, small first."""
    noop = ("/opt/cloud/bin/configure.py", "monitor_service.json")
    router.put("/tmp/empty.yml", EMPTY_PLAY)
    base = median(router, "empty playbook", None, PLAYBOOK, "-i", "localhost,", "-c", "local", "/tmp/empty.yml")
    measure(router, "public addresses (240)", *send(router, "ip_associations.json", drops.public_addresses(240)))
    router.command(" ".join(send_aggregate(router, _small_router())).replace("/opt/cloud/bin/", ""))
    idle = median(router, "nothing to do, 20 VMs, 100 rules", 0.8, *noop)
    small = send(router, "vm_dhcp_entry.json", drops.dhcp_entry(21))
    lease = measure(router, "one DHCP drop, 20 VMs, 100 rules", *small, goal=0.9).seconds
    first = measure(router, "first static NAT", *send(router, "staticnat_rules.json", drops.static_nat(1))).seconds
    forwards = send(router, "forwarding_rules.json", drops.forwards(1000))
    thousand = measure(router, "1,000 forwards in one drop", *forwards, goal=1.2).seconds
    again = send(router, "vm_dhcp_entry.json", drops.dhcp_entry(22))
    measure(router, "one DHCP drop, 1,000 forwards present", *again, goal=1.0)
    many = [("staticnat_rules.json", drops.static_nat(number)) for number in range(2, 200)]
    measure(router, "198 static NATs as one aggregate", *send_aggregate(router, many))
    last = measure(router, "200th static NAT", *send(router, "staticnat_rules.json", drops.static_nat(200))).seconds
    vms = [(p, d(n)) for n in range(500) for p, d in _VM]
    measure(router, "500 VMs (DHCP and metadata) as one aggregate", *send_aggregate(router, vms), goal=6)
    measure(router, "one more VM", *send(router, "vm_dhcp_entry.json", drops.dhcp_entry(500)))
    rules = send(router, "firewall_rules.json", drops.firewall(10000))
    huge = measure(router, "10,000 random firewall rules in one drop", *rules, goal=4)
    measure(router, "nothing to do, 10,000 rules", *noop)
    print(
        f"\nratios in this run: nothing to do / empty playbook {idle / base:.2f}; DHCP drop / nothing to do "
        f"{lease / idle:.2f}; 1,000 forwards / nothing to do {thousand / idle:.2f}; 200th static NAT / first "
        f"{last / first:.2f}; peak memory with 10,000 rules {huge.memory} MiB"
    )


_VM = (("vm_dhcp_entry.json", drops.dhcp_entry), ("vm_metadata.json", drops.metadata))


def _small_router() -> list[tuple[str, dict[str, Any]]]:
    vms = [("vm_dhcp_entry.json", drops.dhcp_entry(number)) for number in range(20)]
    return [*vms, ("firewall_rules.json", drops.firewall(100))]


def main() -> None:
    """Bring a router of each kind up, measure it without and with the resident parent, and take it down."""
    for way in ("each command starts Ansible (cold; the goals are for this)", "the resident parent converges"):
        print(f"\n{way}\n{HEADER}", flush=True)
        with Lab("bench") as lab:
            for segment in ("guest", "control", "public"):
                lab.segment(segment)
            router = lab.router("r1", drops.CMDLINE, {**NICS, "eth2": ("public", drops.PUBLIC_MAC)})
            router.wait_boot()
            if way.startswith("each"):
                router.exec("systemctl", "stop", "cloudstack-converge.socket", "cloudstack-converge.service")
            run(router)
    vpc.main()


if __name__ == "__main__":
    main()
