# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Show an isolated network's router: ``make demo``.

Wires a lab, boots a router with boot arguments alone, feeds it the drops of tests/fixtures/isolated one by one, shows
what it became, and sends packets through it. Everything is removed at the end. Exit status 1 if a packet went astray.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.probes import Probe, ask, dhcp_lease, dns_query, ping, tcp
from tests.lab.router import Router
from tests.scenarios.networks import ELSEWHERE, FIXTURES, INTERNET, Isolated, fixture_network

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
PICTURE = """
      internet hosts  203.0.113.10, 203.0.113.200
             │
   ┌─────────┼──────────┐           three providers: what comes from a wrong
 192.0.2.1 198.51.100.1 198.18.5.1  address is dropped there
   │         │          │
  eth2      eth3       eth4
   └─────────┼──────────┘
        ┌────┴────┐
        │ r-7-VM  │ eth1 ── 169.254.7.7  management
        └────┬────┘
            eth0  10.7.0.1
   ┌─────────┼──────────┐
  web        db       backup        10.7.0.11, .12, .13
"""


def paint(text: str, colour: str) -> str:
    """Return the text in a colour, where the terminal shows it."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if sys.stdout.isatty() else text


def say(text: str = "", colour: str = "") -> None:
    """Print a line at once."""
    print(paint(text, colour) if colour else text, flush=True)


def title(text: str) -> None:
    """Print a heading."""
    say()
    say(text, "bold")


@dataclass(frozen=True)
class Attempt:
    """A packet that the demonstration sends, in words, and whether it should arrive."""

    words: str
    origin: str
    probe: Probe
    passes: bool = True


ATTEMPTS = (
    Attempt("outside → port forward 192.0.2.20:2222 → web:22", INTERNET, tcp("192.0.2.20", 2222)),
    Attempt("outside → shifted range 192.0.2.20:8003 → db:9003", INTERNET, tcp("192.0.2.20", 8003)),
    Attempt("outside → static NAT 198.51.100.30 → db:22", INTERNET, tcp("198.51.100.30", 22)),
    Attempt("outside → a port that nobody opened", INTERNET, tcp("192.0.2.20", 22), passes=False),
    Attempt("outside, wrong source → 192.0.2.20:33060", ELSEWHERE, tcp("192.0.2.20", 33060), passes=False),
    Attempt("web → internet, with its own public address", "web", tcp(INTERNET, 22)),
    Attempt("db → internet, by the second public NIC", "db", tcp(INTERNET, 22)),
    Attempt("db → internet, ping (blocked by egress rule 3)", "db", ping(INTERNET), passes=False),
    Attempt("db → 192.0.2.20:2222 → web, hairpin", "db", tcp("192.0.2.20", 2222)),
)


def boot(lab: Lab) -> Isolated:
    """Wire the lab and wait for the router."""
    title("A lab is wired, and a router boots with nothing but its boot arguments")
    say(PICTURE, "blue")
    started = time.monotonic()
    network = fixture_network(lab)
    network.router.wait_boot()
    say(f"  wired and booted in {time.monotonic() - started:.1f} s")
    return network


def feed(router: Router, directory: Path) -> None:
    """Send the drops and show what each one changed."""
    title("The management server sends its drops")
    say(f"  {'seconds':>7}  {'on router':>9}  {'drop':<26} changed", "dim")
    spent = 0.0
    for answer in router.replay_steps(directory):
        name = answer.command.split()[-1]
        record = json.loads(router.read(f"/var/lib/cloudstack/results/{name}.json"))
        changed = ", ".join(record["changed"]) or "nothing (kept for later)"
        say(f"  {answer.seconds:7.2f}  {record['duration']:9.2f}  {name.split('.json')[0]:<26} {changed}")
        spent += answer.seconds
    say(f"  {spent:7.2f}  in all, one Ansible run per drop", "dim")


def show(router: Router) -> None:
    """Show what the router became."""
    title("What the router became")
    for nic in sorted(router.nics):
        say(f"  {nic}  " + "  ".join(router.facts.addresses(nic)))
    say()
    for line in router.exec("ip", "rule").stdout.splitlines():
        if "Table_" in line:
            say(f"  {line}", "dim")
    for line in router.exec("ip", "route", "show", "table", "Table_eth3").stdout.splitlines():
        say(f"  Table_eth3: {line}", "dim")
    say()
    rules = router.exec("nft", "--stateless", "list", "chain", "inet", "cloudstack", "firewall_192.0.2.20").stdout
    for line in rules.splitlines()[1:-1]:
        say(f"  {line.expandtabs(2)}", "dim")


def services(network: Isolated) -> bool:
    """Lease an address and ask for a name, as a VM does."""
    title("A VM asks")
    lease = dhcp_lease(network.vms["web"], mac="02:07:00:00:00:0b")
    address = lease["address"] if lease else "no answer"
    name = dns_query(network.vms["web"], "10.7.0.1", "data-server.lab.internal").extra.get("answers", [])
    say(f"  DHCP: {address}     DNS: data-server is {name[0][3] if name else 'unknown'}")
    return address == "10.7.0.11" and bool(name)


def send(network: Isolated) -> bool:
    """Send packets and show where they went; return whether all went as they should."""
    title("Packets")
    well = True
    for attempt in ATTEMPTS:
        host = network.vms.get(attempt.origin) or network.internet[attempt.origin]
        result = ask(host, attempt.probe)
        as_wanted = bool(result) is attempt.passes
        well = well and as_wanted
        fate = (
            f"{result.server} saw {result.seen_from}" if result and result.server else "passed" if result else "dropped"
        )
        mark = paint("✔", "green") if as_wanted else paint("✘", "red")
        say(f"  {mark} {attempt.words:<52} {fate}")
    return well


def refuse(router: Router) -> bool:
    """Send a drop that is wrong and show what the management server is told."""
    title("A drop that is wrong changes nothing, and says why")
    rule = {
        "revoke": False,
        "protocol": "tcp",
        "source_ip_address": "192.0.2.20",
        "source_port_range": "70000:70000",
        "destination_ip_address": "10.7.0.11",
        "destination_port_range": "22:22",
        "source_cidr_list": "",
    }
    answer = router.drop("forwarding_rules.json.wrong", {"type": "forwardrules", "rules": [rule]}, check=False)
    say(f"  exit status {answer.returncode}: {answer.stderr.strip()}", "yellow")
    return answer.returncode != 0


def main() -> int:
    """Run the demonstration; return the exit status."""
    with Lab("demo") as lab:
        network = boot(lab)
        feed(network.router, FIXTURES / "isolated")
        show(network.router)
        well = services(network)
        well = send(network) and well
        well = refuse(network.router) and well
    title("All as it should be." if well else "Something went astray: see ✘ above.")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
