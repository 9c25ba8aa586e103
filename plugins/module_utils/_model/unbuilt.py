# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the management server may ask for and no service does yet, so that whoever asks is told.

This is the one list of it. README.md shows it, and `tests/checks/documents.py` compares the two. Whoever builds a
service takes its rows out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model import values

Bags = Mapping[str, Any]
MAX_LABELS = 5
"""How many records a warning names; it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One thing that is not built: what asks for it, what follows, and the records of the databags that ask now."""

    kind: str
    effect: str
    asking: Callable[[Bags], Iterable[str]]


def _config(bags: Bags) -> Mapping[str, Any]:
    config: Mapping[str, Any] = bags.get("cmdline", {}).get("config", {})
    return config


def _records(bag: str) -> Callable[[Bags], Iterator[str]]:
    """Make what lists the records of a databag; one that only ever held removals has none."""
    return lambda bags: (key for key in sorted(bags.get(bag, {})) if key != "id")


def _arguments(*names: str) -> Callable[[Bags], list[str]]:
    """Make what lists those of the boot arguments that have a value, and one other than "false"."""

    def asking(bags: Bags) -> list[str]:
        config = _config(bags)
        return [name for name in names if values.text(config.get(name)) not in (None, "false")]

    return asking


UNBUILT = (
    Unbuilt("remoteaccessvpn", "no VPN server runs", _records("remoteaccessvpn")),
    Unbuilt("vpnuserlist", "the users of a VPN are kept and cannot log in", _records("vpnuserlist")),
    Unbuilt("userdata", "the router's own user data (a boot argument) is not run", _arguments("userdata")),
    Unbuilt("sshonguest", "sshd listens on the control NIC only", _arguments("sshonguest")),
    Unbuilt(
        "baremetal",
        "nobody tells the management server that a bare-metal host is provisioned",
        _arguments("baremetalnotificationsecuritykey", "baremetalnotificationapikey"),
    ),
    Unbuilt("ntpserverlist", "the clock is not set by these servers", _arguments("ntpserverlist")),
)
"""What drops and boot arguments may ask for."""

COMMANDS: dict[str, str] = {}
"""The commands of the management server that are not in /opt/cloud/bin: it gets "not found", exit status 127."""


def warnings(bags: Bags) -> tuple[str, ...]:
    """Return one line for each kind of thing that the databags ask for in vain, with the records that do."""
    found = ((unbuilt, list(unbuilt.asking(bags))) for unbuilt in UNBUILT)
    return tuple(f"not built yet: {u.kind} ({_named(labels)}): {u.effect}" for u, labels in found if labels)


def _named(labels: list[str]) -> str:
    more = len(labels) - MAX_LABELS
    return ", ".join(labels[:MAX_LABELS]) + (f" and {more} more" if more > 0 else "")
