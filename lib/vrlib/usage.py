# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Report the bytes between guests and public networks.

The firewall keeps four named counters for each public NIC in the nftables table ``inet cloudstack_usage``:
``<dev>_sent`` (guest to public), ``<dev>_received``, and ``<dev>_own_sent`` and ``<dev>_own_received`` for the TCP that
ends on the router, which is what goes through the load balancer. They come and go with the ruleset, not with these
commands.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from vrlib import command as vr
from vrlib.process import tool

TABLE = ("inet", "cloudstack_usage")
_DEVICE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"
COUNTED = ("sent", "received", "own_sent", "own_received")
"""The counters of a NIC, in the order in which they are printed; the agent adds up the pairs."""


@dataclass(frozen=True)
class Options:
    """Hold what is asked for: one of the actions, and the public address it is limited to."""

    action: str
    address: str | None


def isolated(args: list[str]) -> None:
    """Do what netusage.sh is asked for (contract.md)."""
    _do(_options(args, "netusage.sh -c | -g [-l IP] | -r | -a ethN | -d ethN [-i HOST]", plain="cgr", valued="lad"))


def vpc(args: list[str]) -> None:
    """Do what vpc_netusage.sh is asked for (contract.md); VPN traffic (-n) has no counters, which reads as zero."""
    _do(_options(args, "vpc_netusage.sh [-l IP] -c -v CIDR | -g | -r | -n | -d [-i HOST]", plain="cgrnd", valued="lv"))


def _options(args: list[str], usage: str, *, plain: str, valued: str) -> Options:
    """Read single-letter options; exactly one of them, besides -i, -l and -v, is the action.

    -i, with or without the address of a router, is for the script of that name on a host, which passes it on.
    """
    actions: list[str] = []
    values: dict[str, str] = {}
    words = iter(_without_host(args))
    for word in words:
        letter = word[1:] if re.fullmatch("-[a-z]", word) else ""
        if letter and letter in valued:
            values[letter] = next(words, "")
            if not re.fullmatch(r"[A-Za-z0-9.:/]+", values[letter]):
                raise vr.CommandError(f"usage: {usage}")
        elif not letter or letter not in plain:
            raise vr.CommandError(f"usage: {usage}")
        if letter not in "lv":
            actions.append(letter)
    if len(actions) != 1:
        raise vr.CommandError(f"usage: {usage}")
    return Options(actions[0], values.get("l"))


def _without_host(args: list[str]) -> list[str]:
    kept: list[str] = []
    for number, word in enumerate(args):
        if word != "-i" and not (number and args[number - 1] == "-i" and not word.startswith("-")):
            kept.append(word)
    return kept


def _do(options: Options) -> None:
    if options.action == "g":
        line = "".join(f"{count}:" for counts in _counts(options.address).values() for count in counts)
        if line:
            print(line)
    elif options.action == "r":
        _reset(options.address)
    # -c, -a, -d: the counters of a NIC are there as soon as the ruleset knows the NIC.


def _counts(address: str | None) -> dict[str, tuple[int, ...]]:
    """Return the bytes in the order of COUNTED per device, of all devices or of the one that has the address."""
    counted: dict[str, int] = {}
    for item in _nft_json("list", "counters", "table", *TABLE):
        counter = item.get("counter")
        if counter is not None:
            counted[counter["name"]] = counter["bytes"]
    devices = sorted({name.partition("_")[0] for name in counted if name.partition("_")[2] in COUNTED})
    if address is not None:
        device = device_of(address)
        devices = [device] if device in devices else []
    return {name: tuple(counted.get(f"{name}_{what}", 0) for what in COUNTED) for name in devices}


def _reset(address: str | None) -> None:
    """Set counters to zero; the kernel reads and clears each in one step, so no byte is lost between."""
    if address is None:
        _nft_json("reset", "counters", "table", *TABLE)
        return
    for device in _counts(address):
        for what in COUNTED:
            _nft_json("reset", "counter", *TABLE, f"{device}_{what}")


def _nft_json(*words: str) -> list[dict[str, Any]]:
    """Run nft and return the objects it lists; none when the table is not there (a router without public NIC)."""
    done = tool(["nft", "-j", *words])
    if done.returncode != 0:
        if "No such file or directory" in done.stderr:
            return []
        raise vr.CommandError(f"nft {' '.join(words)}: {done.stderr}")
    objects = json.loads(done.stdout)["nftables"] if done.stdout.strip() else []
    return [item for item in objects if isinstance(item, dict)]


def device_of(address: str, prefix: str | None = None) -> str | None:
    """Return the NIC that carries an address, with this prefix length if one is given.

    A gateway address that VRRP moves has the length 32 and link scope; the management server knows that of its network.
    """
    done = tool(["ip", "-json", "address", "show"])
    if done.returncode != 0:
        raise vr.CommandError(f"ip -json address show: {done.stderr}")
    for link in json.loads(done.stdout or "[]"):
        for entry in link.get("addr_info", ()):
            moved = (entry.get("scope"), entry.get("prefixlen")) == ("link", 32)
            same = entry.get("local") == address and (moved or prefix in (None, str(entry.get("prefixlen"))))
            if same and re.fullmatch(_DEVICE, link["ifname"]):
                return str(link["ifname"])
    return None
