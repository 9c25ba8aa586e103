# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry out the steps of a plan: first every check, then every step in order."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import (
    files,
    haproxy,
    listeners,
    metadata_tree,
    network,
    passwords,
    redundancy,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.connections import Connections
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.shadow import root_shadow
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.tables import digest_file, list_table
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan import (
    conntrack,
    dhcp_dns,
    flow_patterns,
    system,
    tables,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.flow_verdicts import Verdicts
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.listeners import AwaitListeners
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.metadata import PublishMetadata
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.passwords import StorePasswords
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.redundancy import AwaitRelease
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    Announce,
    CloseRouter,
    File,
    HaproxyService,
    IpBatch,
    LoadRuleset,
    ReleaseLease,
    RemoveDirectory,
    RemoveFile,
    Run,
    SetKnob,
    SetRootPassword,
    Step,
    WriteFile,
)

NFT_REFUSED = 1
"""The exit status of nft for what it does not understand and what the kernel does not take."""

LOCKDOWN = "/opt/cloud/bin/lockdown.nft"
"""What a router lets through without a ruleset of its own; the boot unit loads the same."""

LEASE_WAIT = 2.0
"""How long dnsmasq may take to write its lease file after a release, in seconds."""


def check(steps: Iterable[Step], host: Host) -> None:
    """Let the daemons judge the candidates; raises CommandError with their words. Changes nothing.

    A ruleset needs no such question: nft loads the whole of it or nothing.
    """
    for step in steps:
        if isinstance(step, HaproxyService):
            haproxy.check(step, host)
        elif isinstance(step, WriteFile) and step.file.checker:
            path = files.candidate(step.file)
            try:
                host.run([path if word == "{}" else word.format(path) for word in step.file.checker])
            finally:
                os.unlink(path)


def apply(steps: Iterable[Step], host: Host) -> None:
    """Carry out the steps in order; the first failure is raised."""
    for step in steps:
        _ACTIONS[type(step)](step, host)
    host.forget()


def _write_file(step: WriteFile, host: Host) -> None:
    files.replace(step.file)
    host.run.log(step.summary)


def _remove_file(step: RemoveFile, host: Host) -> None:
    os.unlink(step.path)
    host.run.log(step.summary)


def _remove_directory(step: RemoveDirectory, host: Host) -> None:
    shutil.rmtree(step.path)
    host.run.log(step.summary)


def _set_knob(step: SetKnob, host: Host) -> None:
    files.set_knob(step.path, step.value)
    host.run.log(step.summary)


def _run(step: Run, host: Host) -> None:
    host.run(step.argv)


def _ip_batch(step: IpBatch, host: Host) -> None:
    for line in step.lines:
        host.run.log(f"ip {line}")
    host.run(("ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in step.lines))
    host.forget()


def _announce(step: Announce, host: Host) -> None:
    macs = {nic.name: nic.mac for nic in host.nics}
    network.announce(step.addresses, macs, host.run.log)


def _close_router(step: CloseRouter, host: Host) -> None:
    found = files.read(LOCKDOWN)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), LOCKDOWN)
    control = "".join(f"add element inet {tables.TABLE} control_nics {{ {nic} }}\n" for nic in step.control)
    host.run(("nft", "--file", "-"), stdin=found.content + control)
    host.run.log(step.summary)


def _load_ruleset(step: LoadRuleset, host: Host) -> None:
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


def _cut_flows(step: conntrack.CutFlows, host: Host) -> None:
    """Delete the entries; the new rules are in force already, so nothing that they refuse comes after the list."""
    verdicts, count = Verdicts(step.olds, step.new), 0
    with Connections() as kernel:
        for pattern in flow_patterns.patterns(step.olds, step.new):
            count += kernel.cut(pattern, verdicts.cuts)
    host.run.log(f"cut {count} connections")


def _release_lease(step: ReleaseLease, host: Host) -> None:
    """Release through D-Bus: unlike a DHCPRELEASE packet it works on every address of a NIC (F3)."""
    server = dhcp_dns.Server(step.server)
    host.run(server.call("DeleteDhcpLease", "s", step.ip))
    deadline = time.monotonic() + LEASE_WAIT
    while time.monotonic() < deadline:
        found = files.read(server.lease_file)
        leases = dhcp_dns.parse_leases(found.content if found else "")
        if not any((lease.ip, lease.mac) == (step.ip, step.mac) for lease in leases):
            return
        time.sleep(0.02)


def _set_root_password(step: SetRootPassword, host: Host) -> None:
    host.run(("chpasswd",), stdin=f"root:{step.password}\n")
    mark = system.password_mark(step.password, root_shadow())
    files.replace(File(system.PASSWORD_MARK, f"{mark}\n", mode=0o600))


def _publish_metadata(step: PublishMetadata, host: Host) -> None:
    metadata_tree.publish(step)
    host.run.log(step.summary)


def _store_passwords(step: StorePasswords, host: Host) -> None:
    passwords.store(step)
    host.run.log(step.summary)


def _await_listeners(step: AwaitListeners, _host: Host) -> None:
    listeners.wait(step)


def _await_release(step: AwaitRelease, host: Host) -> None:
    redundancy.await_release(step.addresses, host.run)
    host.forget()


_ACTIONS: dict[type[Step], Callable[[Any, Host], None]] = {
    WriteFile: _write_file,
    RemoveFile: _remove_file,
    RemoveDirectory: _remove_directory,
    SetKnob: _set_knob,
    Run: _run,
    IpBatch: _ip_batch,
    Announce: _announce,
    CloseRouter: _close_router,
    LoadRuleset: _load_ruleset,
    conntrack.CutFlows: _cut_flows,
    ReleaseLease: _release_lease,
    SetRootPassword: _set_root_password,
    PublishMetadata: _publish_metadata,
    StorePasswords: _store_passwords,
    AwaitListeners: _await_listeners,
    HaproxyService: haproxy.serve,
    AwaitRelease: _await_release,
}
