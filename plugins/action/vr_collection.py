# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action plugin of vr_collection: pack the collection that runs here, and send it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.cloudstack.virtual_router.plugins.plugin_utils.collection_archive import pack


class ActionModule(ActionBase):
    """Run vr_collection."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result; an archive that is named is on the router already."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not arguments.get("archive"):
            shell = self._connection._shell
            path = shell.join_path(shell.tmpdir, "collection.tar.gz")
            self._transfer_data(path, pack())
            self._fixup_perms2((shell.tmpdir, path))
            arguments["archive"] = path
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
