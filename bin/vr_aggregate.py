# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take an aggregate: one converge for all its drops, then its other commands in order.

The format is in contract.md. Drops and their update_config.py and configure.py lines are the converge's; every other
``<script>`` is run here, as a program of /opt/cloud/bin with its words as arguments, never through a shell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import vr_command as vr
from vr_process import tool
from vr_queue import turn

# VMware and Hyper-V wait 600 s plus 0.6 s per answer, KVM no less: the number of answers is not known here.
LIMIT = 1790.0
_CONVERGE = (f"{vr.COMMANDS}/update_config.py", f"{vr.COMMANDS}/configure.py")


@dataclass(frozen=True)
class Command:
    """Hold one ``<script>`` of an aggregate: its place among all steps from 1 on, and its words."""

    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return vr.one_line(f"step {self.number}: {' '.join((os.path.basename(self.words[0]), *self.words[1:]))}")

    @property
    def converges(self) -> bool:
        """Tell whether the converge does this command's work."""
        return self.words[0] in _CONVERGE


def main(args: list[str]) -> None:
    """Converge for the aggregate that ``-c`` names, run its other commands, print a line."""
    if len(args) != 2 or args[0] != "-c":
        raise vr.CommandError(f"usage: vr_cfg.sh -c {vr.INBOX}/NAME")
    folder, name = os.path.split(args[1])
    if folder != vr.INBOX:
        raise vr.CommandError(f"{vr.one_line(ascii(args[1]))[:300]}: expected a file in {vr.INBOX}")
    vr.check_name(name)
    with turn(LIMIT) as left:
        if not vr.is_due(name):
            print(f"{name}: already processed")
            return
        commands, damage = _read(name)
        # A damaged file goes through the converge too: there it is recorded and set aside as failed.
        record = vr.converge(vr.Request(name, drop=False, aggregate=args[1]), left)
    if damage is not None:
        raise damage
    # Without the turn, which a command may want for itself.
    for command in commands:
        if not command.converges:
            _run(command)
    print(vr.summary(record))


def _read(name: str) -> tuple[list[Command], vr.CommandError | None]:
    """Return the commands of an aggregate, or none and what is wrong with the file."""
    vr.use_collection()
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import (
        ScriptStep,
        parse_aggregate,
    )
    from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError

    try:
        with open(vr.at(f"{vr.INBOX}/{name}"), "rb") as file:
            steps = parse_aggregate(name, file.read())
    except DropError as error:
        return [], vr.CommandError(vr.one_line(error))
    numbered = enumerate(steps, 1)
    return [Command(i, (step.command, *step.args)) for i, step in numbered if isinstance(step, ScriptStep)], None


def _run(command: Command) -> None:
    """Run a command of /opt/cloud/bin; whatever goes wrong names the step."""
    folder, program = os.path.split(command.words[0])
    if folder != vr.COMMANDS or not vr.is_command(program):
        raise vr.CommandError(f"{command}: expected a command in {vr.COMMANDS}")
    try:
        done = tool([vr.at(command.words[0]), *command.words[1:]], limit=vr.LIMIT)
    except vr.CommandError as error:
        raise vr.CommandError(f"{command}: {error}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no output"]
        raise vr.CommandError(f"{command}: exit status {done.returncode}: {vr.one_line(said[0])}")
