# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take an aggregate: one converge for all its drops, then its other commands in order.

The format is in contract.md. Drops and their update_config.py and configure.py lines are the converge's; every other
``<script>`` is run here, as a program of /opt/cloud/bin with its words as arguments, never through a shell.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vrlib import command as vr
from vrlib import converge
from vrlib.process import tool
from vrlib.queue import turn

# VMware and Hyper-V wait 600 s plus 0.6 s per answer, KVM no less: the number of answers is not known here.
LIMIT = 1790.0
# Where it is written down which commands of an aggregate have not succeeded, and of how many aggregates.
LEFT = "/var/lib/cloudstack/commands"
MOST_LEFT = 20
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
        if vr.is_due(name):
            record, commands = _converge(name, args[1], left)
            said = converge.summary(record)
        else:
            said, commands = f"{name}: already processed", _left(name)
    # Without the turn, which a command may want for itself.
    while commands:
        _run(commands[0])
        commands = commands[1:]
        _leave(name, commands)
    print(said)


def _converge(name: str, path: str, limit: float) -> tuple[dict[str, Any], list[Command]]:
    """Converge for an aggregate and return its record, and the commands that are to run after that.

    They are written down before: the file is archived by the converge, and whatever ends us or a command then, the
    same aggregate asked for again must not count as done.
    """
    steps, damage = _read(name)
    commands = [command for command in steps if not command.converges]
    _leave(name, commands)
    try:
        # A damaged file goes through the converge too: there it is recorded and set aside as failed.
        record = converge.converge(converge.Request(name, drop=False, aggregate=path), limit)
    except vr.CommandError:
        if not os.path.exists(vr.at(f"{vr.INBOX}/processed/{name}.gz")):
            _leave(name, [])
        raise
    if damage is not None:
        raise damage
    return record, commands


def _leave(name: str, commands: list[Command]) -> None:
    """Write down which commands of an aggregate have not succeeded yet; nothing is written down of none."""
    path = vr.at(f"{LEFT}/{name}.json")
    if commands:
        os.makedirs(vr.at(LEFT), mode=0o700, exist_ok=True)
        text = json.dumps([[command.number, *command.words] for command in commands])
        vr.write_atomically(path, text.encode())
        _prune()
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _left(name: str) -> list[Command]:
    """Return the commands of a processed aggregate that have not succeeded."""
    try:
        with open(vr.at(f"{LEFT}/{name}.json"), encoding="utf-8") as file:
            return [Command(number, tuple(words)) for number, *words in json.load(file)]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise vr.CommandError(f"{LEFT}/{name}.json: damaged: {error}") from None


def _prune() -> None:
    """Forget the oldest aggregates of which nobody has asked for the rest."""
    found = sorted(os.scandir(vr.at(LEFT)), key=lambda entry: entry.stat().st_mtime)
    for entry in found[:-MOST_LEFT]:
        os.unlink(entry.path)


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
