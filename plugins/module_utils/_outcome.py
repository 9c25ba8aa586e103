# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End a transaction: put the staged databags into force or give them up, and write down what came of the drops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.system import write_log
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._phases import Phases


@dataclass(frozen=True)
class Outcome:
    """What a converge was about, for its record.

    `names` are files of the inbox: drops, and the aggregate they may have come in. `started` is in seconds since the
    epoch. `phases` and `commands` are what the task that ends the transaction has spent itself: what those before it
    have is in the lease.
    """

    names: Sequence[str]
    started: float
    changed: Sequence[str] = ()
    pending: Sequence[str] = ()
    warnings: Sequence[str] = ()
    commands: int = 0
    phases: Phases = field(default_factory=Phases)


def names_of(drops: Sequence[str], aggregate: str | None) -> list[str]:
    """Return the files of the inbox that hold these drops; an aggregate is given by its path."""
    return [*drops, *([aggregate.rsplit("/", 1)[-1]] if aggregate else [])]


def commit(store: Store, outcome: Outcome, *, keep: bool) -> list[str]:
    """Put the staged databags into force, archive the drops and end the transaction; return the databags' names.

    If this fails the transaction goes on: the caller gives it up, after the play has put the previous state back in it.
    """
    with outcome.phases.time("commit"):
        if keep:
            for name in outcome.names:
                store.copy_drop(name)
        databags = store.commit()
        for name in outcome.names:
            store.remove_drop(name)
    _record(store, outcome, None)
    store.end()
    return databags


def refuse(store: Store, outcome: Outcome, reason: str) -> None:
    """Give the staged databags up, keep the drops with the reason, and let the next converge in."""
    try:
        store.discard()
        with outcome.phases.time("commit"):
            for name in outcome.names:
                store.fail(name, _about(name, reason))
        _record(store, outcome, reason)
    finally:
        store.end()


def judge_nobody(store: Store, along: Sequence[str], reason: str) -> None:
    """Leave all drops where they are: whose fault it was is seen when each is converged alone."""
    try:
        store.discard()
        write_log(f"failed with {', '.join(along)} taken along, each is converged alone: {reason}")
    finally:
        store.end()


def _record(store: Store, outcome: Outcome, reason: str | None) -> None:
    """Write the record that the management server's commands read."""
    noted = store.noted()
    phases, commands = noted.phases.plus(outcome.phases), noted.commands + outcome.commands
    record = {
        "rc": 0 if reason is None else 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(outcome.started)),
        "duration": round(time.time() - outcome.started, 3),
        "phases": {name: round(seconds, 4) for name, seconds in phases.items()},
        "commands": commands,
        "drops": len(outcome.names),
        "changed": list(outcome.changed),
        "pending": list(outcome.pending),
        "warnings": list(outcome.warnings),
    }
    for name in outcome.names or ["converge"]:
        why = None if reason is None else _about(name, reason)
        store.write_result(name, {"name": name, "reason": why, **record})
        result = f"failed: {reason}" if reason else "done"
        write_log(f"{name}: {result} in {record['duration']:.3f} s, {commands} commands: {phases}")


def _about(name: str, reason: str) -> str:
    """Return a reason that begins with the name of its drop: what a daemon says about its own files names none.

    A service that refuses knows the kind of drop, `load_balancer.json`, but not its file.
    """
    named, _colon, rest = reason.partition(": ")
    return f"{name}: {rest if rest and name.startswith(named) else reason}"
