# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End the converge that holds the router, whoever runs it, and make the router whole: vr-unlock.

For a run that is stuck or lost and that nobody wants to wait for. Its process on this machine is killed, what it left
is finished or undone, and a converge from the databags puts right what it had applied. Its drops stay in the inbox.
"""

from __future__ import annotations

from vrlib import command as vr
from vrlib import converge, expected
from vrlib.queue import BusyError, turn

PATIENCE = 30.0
"""Seconds that whoever has the turn gets to end, before what it runs is ended, too."""


def main(args: list[str]) -> None:
    """End the converge and print who ran it, then converge and print a line about that."""
    if args:
        raise vr.CommandError("usage: vr-unlock")
    _end()
    while True:
        try:
            # A command whose converge was ended tries once more, and has the turn meanwhile.
            with turn(PATIENCE) as left:
                limit = max(left, vr.LIMIT - PATIENCE)
                print(converge.summary(converge.converge(converge.FROM_DATABAGS, limit)))
            return
        except BusyError:
            _end()


def _end() -> None:
    """End who holds the router, and say who it was."""
    store = expected.store()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import TransactionError

    try:
        ended = store.revoke()
    except TransactionError as error:
        raise vr.CommandError(str(error)) from None
    print(f"ended: {ended}" if ended else "no converge holds this router", flush=True)
