# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the kernel for tables of nftables, and remember what was loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files, generation
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.firewall import tables
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import File, LoadRuleset

NFT_REFUSED = 1
"""The exit status of nft for what it does not understand and what the kernel does not take."""


def is_open(host: Host) -> bool:
    """Tell whether there is nothing that filters, not even what the boot unit loads where nothing was saved."""
    if generation.current() == generation.remembered():
        return False
    return any("hook" not in _chain(host, name) for name in ("input", "forward"))


def _chain(host: Host, name: str) -> str:
    """Return the kernel's words for a chain of the packet filter, nothing when it is not there."""
    try:
        return host.run(("nft", "--stateless", "list", "chain", "inet", tables.TABLE, name))
    except CommandError as error:
        if "No such file or directory" not in error.output:
            raise
        return ""


def live_table(host: Host, name: str) -> tables.LiveTable:
    """Return what the kernel has of a table."""
    try:
        listing = list_table(host, name)
    except CommandError as error:
        if "No such file or directory" not in error.output:
            raise
        return tables.LiveTable(None)
    return tables.LiveTable(listing, **remembered(name))


def list_table(host: Host, name: str) -> str:
    """Return the kernel's own words for a table, without counter values."""
    return host.run(("nft", "--stateless", "list", "table", "inet", name))


def digest_file(name: str) -> Path:
    """Return where the digests of the last load of a table are kept."""
    return Path(tables.home(name)) / f"{name}.digest"


def remembered(name: str) -> dict[str, str]:
    """Return the digests of the last load; nothing, or damaged, means that the table is loaded anew."""
    found = files.read(str(digest_file(name)))
    try:
        known = json.loads(found.content) if found else {}
    except ValueError:
        known = {}
    return {key: str(known.get(key, "")) for key in ("loaded_digest", "listed_digest")}


def load(step: LoadRuleset, host: Host) -> None:
    """Change the table that is there; what the kernel refuses or does not hold then is loaded as a whole."""
    whole = step.text + step.cleanup
    try:
        parts = (whole,) if step.change is None else (step.change.fill, step.change.switch)
        listing = _nft(step, parts, host)
    except (CommandError, tables.TableError) as error:
        if step.change is None or (isinstance(error, CommandError) and error.returncode != NFT_REFUSED):
            raise
        host.run.log(f"table inet {step.table} could not be changed, load it as a whole: {error}")
        listing = _nft(step, (whole,), host)
    digests = {"loaded_digest": tables.digest(step.text), "listed_digest": tables.listed_digest(listing)}
    files.replace(File(str(digest_file(step.table)), json.dumps(digests), mode=0o600))


def _nft(step: LoadRuleset, parts: Iterable[str], host: Host) -> str:
    """Load the parts that say something, each in one transaction, and return what the kernel lists then."""
    for part in filter(None, parts):
        host.run(("nft", "--file", "-"), stdin=part)
        host.transactions.own += 1
    listing = list_table(host, step.table)
    tables.must_hold(listing, step.text, step.table)
    return listing
