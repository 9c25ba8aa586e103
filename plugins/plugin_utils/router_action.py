# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a module's work in Ansible's own process when it is for this machine: 0.02 s instead of 0.2 s."""

from __future__ import annotations

import ctypes
import functools
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils import bytecode

bytecode.keep()

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge import parcel  # noqa: E402
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.call import Call, VrError  # noqa: E402
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._converge.entry import ENTRIES, SPECS  # noqa: E402
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.render import Renderer  # noqa: E402

PR_SET_PDEATHSIG = 1
"""prctl(2)."""
TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def read_templates(directory: Path = TEMPLATES) -> dict[str, str]:
    """Return the collection's templates by path below ``templates/``: the one place that knows where they are."""
    return {str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*.j2"))}


@functools.cache
def renderer() -> Renderer:
    """Return the renderer of this process: what it has compiled, a process that is forked later has as well."""
    return Renderer(read_templates())


def _play_pid() -> int:
    """Return the process that plays, which forked this one for a task.

    As it was at the fork: a play that was killed since must not be mistaken for whoever adopted its orphan.
    """
    play = multiprocessing.parent_process()
    return os.getpid() if play is None or play.pid is None else play.pid


def _end_with(play: int) -> None:
    """Have the kernel end this process with the one that plays, if that is another one.

    Else the work of a play that was killed would go on beside the next converge, which has the lock by then.
    """
    if play == os.getpid():
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != play:
        os._exit(1)


class RouterAction(ActionBase):
    """Base of the action plugins: the same entry as the module's, in-process or sent to the router."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result = super().run(tmp, task_vars)
        name = self._task.action.rsplit(".", 1)[-1]
        if not self._runs_here():
            arguments = {**self._task.args, "_templates": parcel.packed(read_templates())}
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            return result
        _checked, parameters = self.validate_argument_spec(SPECS[name])
        play = _play_pid()
        _end_with(play)
        # Ansible's values are subclasses that carry tags; the work is done on plain ones.
        plain = json.loads(json.dumps(parameters))
        call = Call(
            plain,
            renderer(),
            check_mode=self._task.check_mode,
            diff=self._task.diff,
            owner_pid=play,
        )
        try:
            result.update(ENTRIES[name](call))
        except VrError as error:
            result.update(failed=True, msg=str(error))
        return result

    def _runs_here(self) -> bool:
        """Tell whether the router is this machine and no other user has to be become."""
        return self._connection.transport == "local" and not self._play_context.become
