# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry out the steps of a plan: first every check, then every step in order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply import files
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.host import Host
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.runner import CommandError, conceal
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._apply.service import Handler
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.steps import (
    RemoveDirectory,
    RemoveFile,
    Run,
    SetKnob,
    Step,
    WriteFile,
)


def check(steps: Iterable[Step], host: Host, checks: Mapping[type[Step], Handler]) -> None:
    """Let the daemons judge the candidates; raises CommandError with their words. Changes nothing.

    A ruleset needs no such question: nft loads the whole of it or nothing.
    """
    for step in steps:
        if type(step) in checks:
            checks[type(step)](step, host)


def apply(steps: Iterable[Step], host: Host, handlers: Mapping[type[Step], Handler]) -> None:
    """Carry out the steps in order; the first failure is raised."""
    for step in steps:
        handlers[type(step)](step, host)
    host.forget()


def _check_file(step: WriteFile, host: Host) -> None:
    if step.file.checker:
        path = files.candidate(step.file)
        try:
            _ask(host, [path if word == "{}" else word.format(path) for word in step.file.checker], step.file.hidden)
        finally:
            os.unlink(path)


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
    _ask(host, step.argv, step.hidden)


def _ask(host: Host, argv: Sequence[str], hidden: tuple[str, ...]) -> None:
    """Run a command; what it says when it fails is passed on without the hidden words."""
    try:
        host.run(argv)
    except CommandError as error:
        raise CommandError(error.argv, error.returncode, conceal(error.output, hidden)) from None


CHECKS: dict[type[Step], Handler] = {WriteFile: _check_file}
HANDLERS: dict[type[Step], Handler] = {
    WriteFile: _write_file,
    RemoveFile: _remove_file,
    RemoveDirectory: _remove_directory,
    SetKnob: _set_knob,
    Run: _run,
}
"""The steps that every service may have."""
