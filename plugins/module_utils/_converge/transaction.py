# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Begin a transaction or join it, put what is staged into force or abort it, and record what came of the drops."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.log import about, write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.drops import expected_drops
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.phases import Phases
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Agenda, Store


def begun(call: Call) -> str:
    """Begin a transaction, or go on with the given one: the way back, with nothing left to do but that."""
    store, params, given = call.store, call.params, call.params.get("transaction")
    if given:
        lock = store.resume(given)
        about(transaction=lock.id, drops=lock.agenda.files)
        store.make_room()
        store.agree(replace(lock.agenda, left=()))
        if refused := store.set_aside():
            write_log(f"what came in by the failed converge is not cut: what was staged is not remembered: {refused}")
        return str(given)
    aggregate = os.path.basename(params["aggregate"]) if params["aggregate"] else None
    agenda = Agenda(aggregate=aggregate, keep=params["keep"], started=time.time(), begun=time.monotonic())
    lock = store.begin("playbook", agenda, pid=call.owner_pid)
    # Only now: whoever was waited for may have taken the boot arguments that lay in the inbox.
    agenda = replace(agenda, drops=tuple(expected_drops(store, params["drops"])))
    store.agree(agenda)
    about(transaction=lock.id, drops=agenda.files)
    return lock.id


@contextmanager
def joined(call: Call) -> Iterator[Agenda]:
    """Join the play's transaction, or hold one of its own when the module is called by itself; yield its agenda."""
    given = call.params.get("transaction")
    if call.check_mode:
        yield Agenda()
    elif given:
        yield call.store.resume(given).agenda
    else:
        call.store.begin("module", pid=call.owner_pid)
        try:
            yield Agenda()
        finally:
            call.store.end()


def commit(store: Store) -> list[str]:
    """Put the staged databags into force, record it, archive the drops and end the transaction; return the databags.

    If they do not come into force, the transaction goes on: the play puts the previous state back, then aborts it. If
    it is killed after this point, either the drop is still in the inbox (taking it twice is harmless) or its record
    exists.
    """
    agenda, phases = store.lock().agenda, Phases()
    with phases.time("commit"):
        if agenda.keep:
            for name in agenda.files:
                if not store.already_processed(name):
                    store.copy_drop(name)
        databags = store.commit()
    # What goes wrong from here on is no reason to call failed what is in force.
    trouble = f"in force, but not recorded or still in the inbox: {', '.join(agenda.files)}"
    for act in (lambda: _record(store, phases, None), lambda: store.remove_drops(agenda.files), store.end):
        try:
            act()
        except OSError as error:
            write_log(f"{trouble}: {error}")
    return databags


def abort(store: Store, reason: str) -> None:
    """Discard the staged databags, keep the drops with the reason, and let the next converge in.

    When drops of others were taken along, all drops stay in the inbox: each is converged alone, which shows whose
    fault it was.
    """
    agenda, phases = store.lock().agenda, Phases()
    try:
        store.discard()
        if agenda.waiting:
            write_log(f"failed with {', '.join(agenda.waiting)} taken along, each is converged alone: {reason}")
            return
        with phases.time("commit"):
            for name in agenda.files:
                if not store.already_processed(name):
                    _set_aside(store, name, _about(name, reason))
        _record(store, phases, reason)
    finally:
        store.end()


def _set_aside(store: Store, name: str, reason: str) -> None:
    """Move a drop to failed/ with its reason; where the disk does not let us, the record tells it all the same."""
    try:
        store.fail(name, reason)
    except OSError:
        store.make_room()
        try:
            store.fail(name, reason)
        except OSError as error:
            write_log(f"{name}: not set aside with its reason: {error}")


def _record(store: Store, phases: Phases, reason: str | None) -> None:
    """Write the record that the management server's commands read; `phases` are those that are not noted yet."""
    lock = store.lock()
    agenda, phases = lock.agenda, lock.phases.plus(phases)
    # The last service commits, and the record is none of its own.
    about(transaction=lock.id, drops=agenda.files, service="")
    done = agenda if reason is None else Agenda()
    record = {
        "rc": 0 if reason is None else 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(agenda.started)),
        "duration": round(time.monotonic() - agenda.begun, 3),
        "phases": {name: round(seconds, 4) for name, seconds in phases.items()},
        "commands": lock.commands,
        "drops": len(agenda.files),
        "changed": list(done.services),
        "pending": list(done.pending),
        "warnings": list(done.warnings),
    }
    for name in agenda.files or ("converge",):
        why = None if reason is None else _about(name, reason)
        store.write_result(name, {"name": name, "reason": why, **record})
        result = f"failed: {reason}" if reason else "done"
        write_log(f"{name}: {result} in {record['duration']:.3f} s, {lock.commands} commands: {phases}")
        for warning in done.warnings:
            write_log(f"{name}: warning: {warning}")


def _about(name: str, reason: str) -> str:
    """Return a reason that begins with the name of its drop: what a daemon says about its own files names none.

    A service that refuses knows the kind of drop, `load_balancer.json`, but not its file.
    """
    named, _colon, rest = reason.partition(": ")
    return f"{name}: {rest if rest and name.startswith(named) else reason}"
