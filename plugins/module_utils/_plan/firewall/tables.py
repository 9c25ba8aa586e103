# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare wanted nftables rulesets with what the kernel holds.

The kernel prints a ruleset in its own words, so the text that was loaded cannot be compared with the live one. What is
compared are digests: of the text that was loaded last, and of what the kernel listed right after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._model.router import Router
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import table_text
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall.ruleset import (
    TABLE,
    USAGE_TABLE,
    Ruleset,
    ruleset,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    File,
    LoadRuleset,
    Step,
    Wanted,
)

HEADER = "# Owned by cloudstack.virtual_router (firewall): do not edit."
DIRECTORY = "/var/lib/cloudstack/nftables"
TABLES = {TABLE: "ruleset.nft", USAGE_TABLE: "usage.nft"}
BINDING_TABLE = "cloudstack_bindings"
"""The table of which VM has which address, which changes with every VM; the service of DHCP has it."""


@dataclass(frozen=True, slots=True)
class LiveTable:
    """What the kernel lists of a table (None: it is not there), and the digests remembered at the last load."""

    listing: str | None
    loaded_digest: str = ""
    listed_digest: str = ""


def home(table: str) -> str:
    """Return the directory of what is kept of a table."""
    return DIRECTORY if table in TABLES else "/var/lib/cloudstack/bindings"


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def listed_digest(listing: str) -> str:
    """Return the digest of what the kernel lists of a table, however it came to it."""
    return digest(table_text.canonical(listing))


def wanted(
    router: Router, render: Callable[..., str], ftp: bool = True, protected: tuple[str, ...] = ()
) -> tuple[Ruleset, Wanted]:
    """Return the ruleset and its saved texts, in the order of TABLES; the boot unit loads the first.

    `ftp` says whether the kernel has a helper for FTP, `protected` by which devices packets of tunnels come.
    """
    rules = ruleset(router, ftp, protected)
    files = [
        File(
            f"{DIRECTORY}/{template}",
            render(f"nftables/{template}.j2", header=HEADER, table=name, ruleset=rules),
            0o600,
        )
        for name, template in TABLES.items()
    ]
    return rules, Wanted(tuple(files))


def seal(text: str) -> str:
    """Return what is saved for the next boot: the ruleset, and its digest as the last line.

    vr-firewall loads nothing else: not what a power cut has left, nor what anybody has put there or added.
    """
    return f"{text}# sha256 {digest(text)}\n"


def unsealed(content: str) -> str:
    """Return the ruleset in the content of a saved file; one that is not whole is no ruleset."""
    text, _mark, _digest = content.rpartition("# sha256 ")
    return text if content == seal(text) else ""


def counters(listing: str) -> set[str]:
    """Return the names of the counters in the listing of a table."""
    words = [line.split() for line in listing.splitlines()]
    return {line[1] for line in words if len(line) == 3 and line[0] == "counter" and line[2] == "{"}


def compare(
    table: str, text: str, saved: str | None, live: LiveTable, wanted_counters: Collection[str] = ()
) -> list[Step]:
    """Return the load that is due, with its reason: new rules, a missing table, or one changed behind our back."""
    if live.listing is None:
        return [LoadRuleset(table, text, saved, "it is not there")]
    untouched = live.listed_digest == listed_digest(live.listing)
    if untouched and live.loaded_digest == digest(text):
        return []
    reason = "the rules changed" if untouched else "it is not as it was loaded"
    change = None
    if table != USAGE_TABLE and untouched and saved is not None and live.loaded_digest == digest(saved):
        change = table_text.change(table, saved, text)
    stale = sorted(counters(live.listing) - set(wanted_counters))
    cleanup = "".join(f"delete counter inet {table} {name}\n" for name in stale)
    return [LoadRuleset(table, text, saved, reason, cleanup, change)]


class TableError(Exception):
    """The kernel does not hold what was loaded."""


def must_hold(listing: str, text: str, table: str) -> None:
    """Raise TableError unless the kernel lists as many rules and elements as were loaded, by chain, set and map (B3).

    nft prints rules and elements in words of its own, so they are counted, not compared.
    """
    loaded, listed = table_text.counts(text), table_text.counts(listing)
    for name in sorted(loaded.keys() | listed.keys()):
        if loaded.get(name, 0) != listed.get(name, 0):
            wanted_count, count = loaded.get(name, 0), listed.get(name, 0)
            raise TableError(f"table inet {table}: {name}: loaded {wanted_count} rules or elements, found {count}")
