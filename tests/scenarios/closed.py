# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Damage the saved packet filter, keep a router from loading another, and look at it from all sides meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import probes
from tests.lab.host import Host
from tests.lab.process import wait_for
from tests.lab.router import Router
from tests.scenarios.networks import INTERNET, Isolated

SAVED = "/var/lib/cloudstack/nftables/ruleset.nft"
FOREIGN = "table inet foreign { chain y { type filter hook forward priority 0; }; }"
BOOT = "cloudstack-boot.service"

DAMAGES = {
    "absent": f"rm {SAVED}",
    "empty": f": > {SAVED}",
    "one byte": f"printf t > {SAVED}",
    "cut after three lines": f"sed -i '4,$d' {SAVED}",
    "cut before its last line": f"sed -i '$d' {SAVED}",
    "zeros": f"head -c $(stat -c %s {SAVED}) /dev/zero > /zeros; mv /zeros {SAVED}",
    "a foreign table": f"echo '{FOREIGN}' > {SAVED}",
    "a foreign table behind ours": f"echo '{FOREIGN}' >> {SAVED}",
    "a directory": f"mv {SAVED} /whole.nft; mkdir {SAVED}; mv /whole.nft {SAVED}/",
    "a link": f"mv {SAVED} /whole.nft; ln -s /whole.nft {SAVED}",
    "garbage": f"head -c 20M /dev/urandom > {SAVED}",
    "wrong at its end": f"echo '}}' >> {SAVED}",
    "another table deleted": f"sed -i '1i delete table inet other' {SAVED}",
}
"""What is done to the saved ruleset, as lines of shell."""

# Refuses what only a whole ruleset has, or its change: links come up, and their filter does not.
REFUSING_NFT = """#!/bin/sh
case "$*" in
--file*) ;;
*) exec /usr/sbin/nft.real "$@" ;;
esac
cat > /run/nft-asked.$$
if grep -q 'chain prerouting' /run/nft-asked.$$; then
  rm /run/nft-asked.$$
  echo 'held back by the test' >&2
  exit 1
fi
/usr/sbin/nft.real "$@" < /run/nft-asked.$$
status=$?
rm /run/nft-asked.$$
exit $status
"""

PORTS = ((1, 450), 3922, (8000, 8100), 2222, 3306, (9000, 9003))
"""Few enough to be asked all at once; what a router listens on is among them."""


@contextmanager
def held(router: Router) -> Iterator[None]:
    """Let no ruleset be loaded but that of a closed router; afterwards let the boot come to its end."""
    hold(router)
    try:
        yield
    finally:
        release(router)


def hold(router: Router) -> None:
    """Put a program in nft's place that refuses whole rulesets, over reboots, too."""
    router.shell("cp -a /usr/sbin/nft /usr/sbin/nft.real")
    router.put("/usr/sbin/nft.new", REFUSING_NFT, 0o755)
    router.shell("mv /usr/sbin/nft.new /usr/sbin/nft")


def release(router: Router) -> None:
    """Put nft back."""
    router.shell("mv /usr/sbin/nft.real /usr/sbin/nft")


def boot_held(router: Router) -> None:
    """Wait until the boot has raised the links and has failed to load their filter."""

    def failed() -> bool:
        journal = router.exec("journalctl", "--no-pager", "--unit", BOOT, "--boot", check=False).stdout
        return "held back by the test" in journal and "10.7.0.1/24" in router.facts.addresses("eth0")

    wait_for(failed, 60, "a boot that has raised the links and fails")


def heard(network: Isolated) -> list[str]:
    """Scan the router from each side, and say what answers or passes."""
    web, internet, found = network.vms["web"], network.internet[INTERNET], list[str]()
    control = "169.254.7.7"
    sides = {
        "guest": (web, ("10.7.0.1", control)),
        "internet": (internet, ("192.0.2.20", "198.51.100.30")),
        "control": (network.management, (control,)),
    }
    for side, (host, addresses) in sides.items():
        for address in addresses:
            found += [f"{side}: {address} {line}" for line in _scan(host, address)]
            if probes.icmp_ping(host, address, timeout=0.3):
                found.append(f"{side}: {address} pings")
    for name, sender, receiver in (("out", web, INTERNET), ("in", internet, "192.0.2.20")):
        if probes.tcp_connect(sender, receiver, 443, timeout=0.3):
            found.append(f"{name}: passes")
    return found


def _scan(host: Host, address: str) -> list[str]:
    answer = probes.tcp_scan(host, address, PORTS)
    return [f"{verdict} {port}" for verdict in ("open", "refused") for port in answer.get(verdict, [])]


CLOSED = ["control: 169.254.7.7 open 3922"]
"""All that is heard of a closed router whose links are up."""


class Watch:
    """Ask from each side, again and again, until it ends; `found` is what was heard that must not be."""

    def __init__(self, network: Isolated) -> None:
        self.network, self.found, self.asked = network, list[str](), 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        web, internet = self.network.vms["backup"], self.network.internet["203.0.113.200"]
        questions = [
            *((web, probes.tcp("10.7.0.1", port, timeout=0.2)) for port in (22, 53, 80, 3922, 8080)),
            *((internet, probes.tcp("192.0.2.20", port, timeout=0.2)) for port in (22, 80, 443, 3922)),
            (web, probes.tcp(INTERNET, 443, timeout=0.2)),
            (web, probes.ping("10.7.0.1", timeout=0.2)),
        ]
        while not self._end.is_set():
            for (host, question), answer in zip(questions, probes.ask_all(questions), strict=True):
                self.asked += 1
                if answer or answer.verdict == "refused":
                    self.found.append(f"{host.name}: {question}: {answer}")
